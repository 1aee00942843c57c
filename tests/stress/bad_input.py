"""Runs the command line over malformed label files, images, studies, model files, manifests and tables of its store.

`python -m tests.stress.bad_input` prints how many were tried, refused in one line that names the place, or healed, and
each that was not (`labels`, `mutated`, `studies`, `images`, `models` or `store` after it chooses). A small study of every reader is brought up to date once; every case damages a copy of one thing, runs,
and compares all earlier results byte for byte.
"""

import contextlib
import io
import os
import pickle
import random
import re
import shutil
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from pipelines.cli import main as command_line
from resources.datasets import open_dataset
from resources.errors import TransferabilityError
from tests.resources.datasets.official_formats import write_awa2, write_celeba, write_cub
from tests.stress.mutate import damage_folder

SEED = 0
MUTATED = 8  # of the label files of each official reader
SMALL = "recipe: {image_size: 16, epochs: 1, batch_size: 8}\nuncertainty: {permutations: 20}\n"
STUDIES = {
    "faces": "dataset: {reader: celeba, options: {tasks: [Male, Young, Smiling]}}\n",
    "animals": "dataset: {reader: awa2, options: {tasks: [black, white, class]}}\n",
    "birds": "dataset: {reader: cub, options: {tasks: [has_bill_shape::dagger, has_wing_color::blue, class]}}\n",
    "shapes": "dataset: {reader: table, options: {table: shapes/labels.csv, image_column: picture,\n"
    "  tasks: [colour, round, big]}}\n",
}
ATTRIBUTES, PARTITION, IDENTITY = (
    "celeba/list_attr_celeba.txt", "celeba/list_eval_partition.txt", "celeba/identity_CelebA.txt",
)  # fmt: skip
CUB = "cub/CUB_200_2011/"
TABLE = "shapes/labels.csv"
WARNED = ("Traceback", 'File "')


@dataclass(frozen=True)
class Case:
    """One malformed thing: what is damaged (below the home folder), what is run, and a word that the error says."""

    name: str
    study: str
    damage: Callable[[Path], None]
    says: str
    only: str = "statistics"
    heals: bool = False


def content(path: str, new: bytes | Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A damage: other bytes in a file."""

    def damage(home: Path) -> None:
        target = home / path
        target.write_bytes(new if isinstance(new, bytes) else new(target.read_bytes()))

    return damage


def line(path: str, number: int, text: str | None) -> Callable[[Path], None]:
    """A damage: another line (from 1), or None for one line less."""

    def change(old: bytes) -> bytes:
        lines = old.split(b"\n")
        lines[number - 1 : number] = [] if text is None else [text.encode()]
        return b"\n".join(lines)

    return content("data/" + path, change)


def label_files() -> Iterator[Case]:
    """By hand: what goes wrong in the official files and in tables."""
    for study, paths in {
        "faces": (ATTRIBUTES, PARTITION, IDENTITY),
        "animals": ("awa2/classes.txt", "awa2/predicate-matrix-binary.txt", "awa2/AwA2-labels.txt"),
        "birds": (
            CUB + "images.txt",
            CUB + "train_test_split.txt",
            CUB + "attributes/image_attribute_labels.txt",
        ),
        "shapes": (TABLE,),
    }.items():
        for path in paths:
            name = re.escape(Path(path).name)
            if path != IDENTITY:  # the study has no task of it
                yield Case(f"{name} empty", study, content("data/" + path, b""), f"{name}: empty")
                yield Case(f"{name} a web page", study, content("data/" + path, b"<html>Quota</html>"), name)
                yield Case(
                    f"{name} not UTF-8",
                    study,
                    content("data/" + path, lambda b: b[:9] + b"\xe9" + b[9:]),
                    name,
                )
                yield Case(
                    f"{name} with NUL", study, content("data/" + path, lambda b: b[:9] + b"\0" + b[9:]), name
                )
                yield Case(f"{name} gone", study, _remove("data/" + path), name)
    lines = [
        ("faces", ATTRIBUTES, 1, "9" * 5000, "line 1"),
        ("faces", ATTRIBUTES, 5, "000003.jpg" + " 1" * 39 + " 0", "line 5"),
        ("faces", ATTRIBUTES, 5, "../3.jpg" + " 1" * 40, "line 5"),
        ("faces", PARTITION, 4, "000004.jpg 3", "line 4"),
        ("faces", PARTITION, 4, "000004.jpg \x1b[31m", "line 4"),
        ("faces", PARTITION, 4, None, "000004"),
        ("animals", "awa2/AwA2-labels.txt", 3, "99", "line 3"),
        ("animals", "awa2/predicate-matrix-binary.txt", 4, "0 1 1", "line 4"),
        ("birds", CUB + "images.txt", 3, "2147483647 a.jpg", "line 3"),
        ("birds", CUB + "images.txt", 3, "3 /etc/passwd", "line 3"),
        ("birds", CUB + "train_test_split.txt", 3, "3 2", "line 3"),
        ("shapes", TABLE, 3, "1.png,red,yes", "line 3"),
        ("shapes", TABLE, 3, '1.png,"red,yes,no', "quotation mark"),
        ("shapes", TABLE, 3, "../1.png,red,yes,no", "line 3"),
        ("shapes", TABLE, 3, "0.png,red,yes,no", "line 3"),
        ("shapes", TABLE, 1, "picture,colour,round,round", "line 1"),
        ("shapes", TABLE, 1, "picture,colour,round,large", "big"),
        ("shapes", TABLE, 1, 'picture,"colour\n",round,big', "line 1"),
    ]
    for study, path, number, text, says in lines:
        shown = "dropped" if text is None else ascii(text[:24])
        yield Case(f"{Path(path).name}, line {number}: {shown}", study, line(path, number, text), says)


def mutated_label_files(data: Path, work: Path) -> Iterator[Case]:
    """By the seeded mutator: damages that a reader refuses; those that it may read are the fuzzing script's matter."""
    generator = random.Random(SEED)  # noqa: S311 - of damage, not of secrets
    for study, reader in (("faces", "celeba"), ("animals", "awa2"), ("birds", "cub")):
        found = 0
        while found < MUTATED:
            state = generator.randrange(2**32)
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(data, work)
            what = damage_folder(work / reader, random.Random(state))  # noqa: S311
            try:
                open_dataset(reader, work, _tasks_of(study)).read()
            except TransferabilityError:
                found += 1
                yield Case(f"{reader}, mutated {what} ({state})", study, _mutate(reader, state), "")


def _tasks_of(study: str) -> dict[str, list[str]]:
    tasks = re.search(r"tasks: \[([^]]*)\]", STUDIES[study])
    assert tasks
    return {"tasks": tasks.group(1).split(", ")}


def _mutate(reader: str, state: int) -> Callable[[Path], None]:
    return lambda home: void(damage_folder(home / "data" / reader, random.Random(state)))  # noqa: S311


def void(_: object) -> None:
    """Nothing, of anything."""


def studies() -> Iterator[Case]:
    """Study files that are no studies."""
    texts = {
        "empty": ("", "mapping"), "a list": ("- a\n", "mapping"), "no YAML": ("dataset: [", "line"),
        "a tab": ("dataset:\n\treader: digits\n", "line 2"), "an object": ("a: !!python/object:os.x {}\n", "line 1"),
        "unknown key": ("dataset: {reader: digits}\nepochs: 1\n", "line 2"),
        "unknown reader": ("dataset: {reader: imagenet}\n", "imagenet"),
        "unknown task": (STUDIES["shapes"].replace("big", "huge"), "huge"),
        "a key twice": ("title: a\ntitle: b\n", "line 2"), "epochs 0": (STUDIES["shapes"] + "recipe: {epochs: 0}\n", "epochs"),
        "a rate without end": (STUDIES["shapes"] + "recipe: {learning_rate: .inf}\n", "learning_rate"),
        "a seed too large": (STUDIES["shapes"] + "recipe: {seed: 99999999999999999999}\n", "seed"),
        "a grid with 0": (STUDIES["shapes"] + "probe: {c_grid: [0]}\n", "c_grid"),
        "a table elsewhere": (STUDIES["shapes"].replace("shapes/", "nowhere/"), "no such file"),
    }  # fmt: skip
    for name, (text, says) in texts.items():
        yield Case(f"study: {name}", "shapes", content("studies/shapes.yaml", text.encode()), says)
    yield Case("study: bytes", "shapes", content("studies/shapes.yaml", bytes(range(256))), "shapes.yaml")
    yield Case("study: NUL", "shapes", content("studies/shapes.yaml", b"title: \0"), "shapes.yaml")


def bomb() -> bytes:
    """A PNG that says it has 30,000 × 30,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    end = chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


def images() -> Iterator[Case]:
    """Image files that are none."""
    jpeg = io.BytesIO()
    Image.new("RGB", (20, 20)).save(jpeg, "JPEG")
    damages: dict[str, bytes | Callable[[bytes], bytes]] = {
        "cut": lambda old: old[: len(old) // 2], "empty": b"", "text": b"no image", "a web page": b"<html></html>",
        "false extension": jpeg.getvalue(), "a bomb": bomb(), "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "flipped": lambda old: old[:40] + bytes(255 - byte for byte in old[40:60]) + old[60:],
    }  # fmt: skip
    for name, new in damages.items():
        yield Case(f"image: {name}", "shapes", content("data/shapes/3.png", new), r"3\.png", "models")
    yield Case("image: gone", "shapes", _remove("data/shapes/3.png"), r"3\.png", "models")
    yield Case("image: a folder", "shapes", _folder("data/shapes/3.png"), r"3\.png", "models")
    yield Case("image: a pipe", "shapes", _pipe("data/shapes/3.png"), r"3\.png", "models")


class Surprise:
    """What an attacker would pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Run a command when unpickled."""
        return (os.system, ("touch PWNED",))


def model_files() -> Iterator[Case]:
    """Weights to start from that are none."""
    header = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    files = {
        "w.safetensors empty": b"", "w.safetensors text": b"weights", "w.safetensors header": struct.pack("<Q", 2**62),
        "w.safetensors cut": struct.pack("<Q", len(header)) + header + b"\0" * 4,
        "w.safetensors others": struct.pack("<Q", len(header)) + header + b"\0" * 16,
        "w.pth empty": b"", "w.pth text": b"weights", "w.pth pickle": pickle.dumps(Surprise(), protocol=2),
        "w.pth array": pickle.dumps(np.zeros(3)), "w.onnx text": b"weights",
    }  # fmt: skip
    for name, new in files.items():
        yield Case(
            f"model file: {name}",
            "shapes",
            _weights(name.split()[0], new),
            re.escape(name.split()[0]),
            "models",
        )
    yield Case("model file: gone", "shapes", _weights("w.safetensors", None), r"w\.safetensors", "models")


def _weights(name: str, new: bytes | None) -> Callable[[Path], None]:
    def damage(home: Path) -> None:
        if new is not None:
            (home / name).write_bytes(new)
        study = home / "studies" / "shapes.yaml"
        study.write_text(study.read_text() + f"network: {{weights: {home / name}}}\n")

    return damage


def stored() -> Iterator[Case]:
    """Manifests, pieces and the warehouse: what is damaged there is made again, with the same results."""
    manifest = "store/shapes/hardness/_.manifest.json"
    damages: dict[str, bytes | Callable[[bytes], bytes]] = {
        "cut": lambda old: old[:100], "empty": b"", "no JSON": b"\xff\0", "a list": b"[]", "a number": b"1",
        "deep": b"[" * 100_000, "edited": lambda old: old.replace(b'"bytes"', b'"bites"'),
        "of the future": lambda old: old.replace(b'"format": 1', b'"format": 99'), "null": b"null",
    }  # fmt: skip
    for name, new in damages.items():
        yield Case(f"manifest: {name}", "shapes", content(manifest, new), "", heals=True)
    other = "store/shapes/joint_counts/_.manifest.json"
    yield Case(
        "manifest: another's",
        "shapes",
        lambda home: void(shutil.copy(home / other, home / manifest)),
        "",
        heals=True,
    )
    piece = "store/shapes/tables/hardness/_.parquet"
    yield Case("piece: cut", "shapes", content(piece, lambda old: old[:-20]), "", heals=True)
    yield Case("piece: other bytes", "shapes", content(piece, lambda old: b"x" * len(old)), "", heals=True)
    yield Case("piece: gone", "shapes", _remove(piece), "", heals=True)
    warehouse = "warehouse/shapes.duckdb"
    yield Case("warehouse: cut", "shapes", content(warehouse, lambda old: old[:5000]), "", heals=True)
    yield Case("warehouse: text", "shapes", content(warehouse, b"no database"), "", heals=True)
    yield Case("warehouse: gone", "shapes", _remove(warehouse), "", heals=True)


def _remove(path: str) -> Callable[[Path], None]:
    return lambda home: (home / path).unlink()


def _folder(path: str) -> Callable[[Path], None]:
    return lambda home: ((home / path).unlink(), (home / path).mkdir())[1]


def _pipe(path: str) -> Callable[[Path], None]:
    return lambda home: ((home / path).unlink(), os.mkfifo(home / path))[1]


def prepare(home: Path) -> None:
    """Data of every reader, a study of each, and their statistics."""
    data = home / "data"
    write_celeba(data / "celeba", 40, images=False)
    write_awa2(data / "awa2", 40, images=False)
    write_cub(data / "cub" / "CUB_200_2011", 20, images=False)
    (data / "shapes").mkdir(parents=True)
    rows = [
        (f"{i}.png", ("red", "green")[i % 2], ("yes", "no")[i // 2 % 2], ("yes", "no")[i // 4 % 2])
        for i in range(24)
    ]
    pl.DataFrame(rows, schema=["picture", "colour", "round", "big"], orient="row").write_csv(data / TABLE)
    for i in range(24):
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 20, 3), np.uint8)).save(
            data / "shapes" / f"{i}.png"
        )
    (home / "studies").mkdir()
    for name, text in STUDIES.items():
        (home / "studies" / f"{name}.yaml").write_text(text + SMALL)
        code, out, err = run(name, "statistics")
        assert code == 0, out + err


def run(study: str, only: str) -> tuple[int, str, str]:
    """`transferability run`, in this process: exit code, standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(["run", study, "--only", only])
    return code, out.getvalue(), err.getvalue()


def results(home: Path) -> dict[str, bytes]:
    """All finished results: manifests and the files they name, pages and warehouses."""
    folders = [home / "store", home / "reports", home / "warehouse"]
    kept = [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"
    ]
    return {path.relative_to(home).as_posix(): path.read_bytes() for path in kept}


def tables(home: Path) -> dict[str, list[tuple[object, ...]]]:
    """The rows of the damaged study's tables, through DuckDB."""
    import duckdb

    with duckdb.connect(home / "warehouse" / "shapes.duckdb", read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        return {
            name: connection.execute(f'FROM "{name}"').fetchall() for name in names if name != "publications"
        }


def judge(case: Case, home: Path) -> str:
    """Damage, run, and say what is wrong with what came of it; empty if nothing is."""
    if case.heals:
        rows = tables(home)
        case.damage(home)
        code, _, err = run(case.study, case.only)
        return (
            ""
            if code == 0 and tables(home) == rows
            else f"not healed (exit code {code}): {err.strip()[-300:]}"
        )
    before = results(home)
    case.damage(home)
    code, out, err = run(case.study, case.only)
    after = results(home)
    errors = [text for text in err.splitlines() if text.startswith(("failed: ", "transferability: "))]
    if code == 0:
        return "passed silently"
    if any(word in out + err for word in WARNED):
        return f"a traceback: {err[-300:]}"
    if not errors or not all(text.isprintable() for text in errors):
        return f"no clean line: {err[-300:]!r}"
    if not re.search(case.says, errors[0]):
        return f"does not name the place ({case.says}): {errors[0]}"
    lost = [name for name, old in before.items() if after.get(name) != old]
    return f"changed earlier results: {lost[:5]}" if lost else ""


def examine(root: Path, groups: Sequence[str] = ()) -> tuple[Counter[str], list[str]]:
    """Every case on a fresh copy of the prepared home; the counts and what was wrong."""
    home, pristine = root / "home", root / "pristine"
    os.environ |= {"TRANSFERABILITY_HOME": str(home), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    os.environ.pop("TRANSFERABILITY_DATA", None)
    prepare(home)
    shutil.copytree(home, pristine)
    corpus: dict[str, Callable[[], Iterator[Case]]] = {
        "labels": label_files,
        "mutated": lambda: mutated_label_files(pristine / "data", root / "work"),
        "studies": studies,
        "images": images,
        "models": model_files,
        "store": stored,
    }
    cases = [case for group in groups or corpus for case in corpus[group]()]
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for case in cases:
        shutil.rmtree(home)
        shutil.copytree(pristine, home)
        fault = judge(case, home)
        counts["wrong" if fault else "healed" if case.heals else "refused"] += 1
        if fault:
            wrong.append(f"{case.name}: {fault}")
            print(wrong[-1], flush=True)
    if Path("PWNED").exists():
        wrong.append("a pickle was run")
    return counts, wrong


def main() -> int:
    """The command line of this script."""
    with tempfile.TemporaryDirectory() as name:
        counts, wrong = examine(Path(name), sys.argv[1:])
    print(
        f"{counts.total()} malformed inputs: {counts['refused']} refused in one line with earlier results unchanged, "
        f"{counts['healed']} healed, {counts['wrong']} wrong"
    )
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
