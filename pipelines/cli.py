"""`transferability …`: the parser, and errors in one line. What each command does lives in `pipelines.commands`."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from resources.errors import TransferabilityError, one_line


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, as all errors are."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit code 2."""
        self.exit(2, f"transferability: {message} (see `{self.prog} --help`)\n")


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    root = _Parser(
        prog="transferability",
        description="Which classification tasks are hard, and which trained model will serve which task: "
        "estimated from labels, measured on images.",
    )
    root.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_estimate(commands)
    new = commands.add_parser("new-study", help="write a commented study file from a table's columns")
    new.add_argument("name", help="the study's name, [a-z][a-z0-9_]*")
    new.add_argument("table", help="a .csv, .tsv, .parquet or .duckdb file")
    new.add_argument("--query", metavar="SQL", help="what to read of a .duckdb file, one row an image")
    new.add_argument(
        "--expand", metavar="A,B", help="multi-class columns to expand into one-vs-rest binary tasks"
    )
    new.add_argument(
        "--min-count", type=int, default=30, help="rows a value needs to become a task (default: 30)"
    )
    commands.add_parser("studies", help="list the studies and how each stands")
    ui = commands.add_parser("ui", help="open Dagster's and MLflow's pages on 127.0.0.1")
    ui.add_argument("--port", type=int, help="Dagster's port (default: TRANSFERABILITY_UI_PORT or 3000)")
    ui.add_argument(
        "--mlflow-port", type=int, help="MLflow's port (default: TRANSFERABILITY_MLFLOW_PORT or 5000)"
    )
    export = commands.add_parser("export", help="write every table of a study as Parquet and CSV")
    export.add_argument("study")
    export.add_argument("--to", required=True, metavar="DIR", help="the folder to write to")
    for command in commands.choices.values():
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return root


def _add_run(commands: "argparse._SubParsersAction[_Parser]") -> None:
    run = commands.add_parser("run", help="bring a study up to date and print what it found")
    run.add_argument("study", nargs="?", default="digits", help="the study (default: digits)")
    run.add_argument(
        "--only",
        choices=["statistics", "models", "probes", "reports", "sample-efficiency"],
        help="this stage and what it needs",
    )
    run.add_argument("--sources", metavar="A,B", help="only these source tasks")
    run.add_argument(
        "--force", action="store_true", help="make everything again even where nothing has changed"
    )


def _add_estimate(commands: "argparse._SubParsersAction[_Parser]") -> None:
    estimate = commands.add_parser(
        "estimate", help="hardness and transferability of any table of labels, in seconds"
    )
    estimate.add_argument("table", help="a .csv, .tsv or .parquet file, one row an example")
    estimate.add_argument("--tasks", metavar="A,B", help="only these columns")
    estimate.add_argument("--split-column", metavar="C", help="the column that says train or test")
    estimate.add_argument(
        "--split", metavar="S", help="show this split (default: train if there is one, else all)"
    )
    estimate.add_argument("--by-target", action="store_true", help="list the best sources of every target")
    estimate.add_argument("--out", metavar="DIR", help="write the tables there as Parquet")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 only for success, 1 for an error that is said in one line, 130 when interrupted."""
    options = parser().parse_args(arguments)
    _quiet()
    command = import_module(f"pipelines.commands.{options.command.replace('-', '_')}")
    try:
        return int(command.main(options))
    except TransferabilityError as error:
        if options.debug:
            raise
        print(f"transferability: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("transferability: interrupted; run again to go on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, `head` for one, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.debug:
            raise
        first = one_line((str(error).strip().splitlines() or [""])[0])
        print(
            f"transferability: unexpected {type(error).__name__}: {first} (--debug shows where)",
            file=sys.stderr,
        )
        return 1


def entry() -> NoReturn:
    """The console script: `main`, then an end without the interpreter's clean-up.

    DuckDB's bindings complain on standard error about objects that torch keeps alive while the interpreter is taken
    down. By now every file is closed and every lock released, so there is nothing to clean up.
    """
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _quiet() -> None:
    """Libraries' remarks to developers are not for the people who run this."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    for category in (DeprecationWarning, FutureWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(dagster|mlflow|pydantic|torch)")
    warnings.filterwarnings("ignore", message=".*(is currently in beta|superseded|preview).*")


if __name__ == "__main__":
    entry()
