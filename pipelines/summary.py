"""The short summary that `transferability run` ends with; every number of it is read from the warehouse."""

import duckdb

from assets.study import Study
from resources.home import Home

_SHOWN = 3  # tasks and targets named a line
_BEST = """
SELECT source, corrected_normalised, test_error FROM best_sources
WHERE split = $1 AND target = $2 AND NOT wide AND NOT near_unique AND NOT equivalent
ORDER BY rank LIMIT 3
"""


def summary_lines(study: Study, home: Home) -> list[str]:
    """The summary as far as the study's tables go, and where its page lies."""
    if not home.warehouse.path(study.name).exists():
        return []
    lines = [""]
    with home.warehouse.reading(study.name) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if "overall_correlation" in tables:
            lines += _correlations(connection)
        if "transfer" in tables:
            lines += _unconverged(connection)
        if "hardness" in tables:
            lines += _hardness(connection)
        if "best_sources" in tables:
            lines += _best_sources(connection)
    for folder in (study.name, f"{study.name}-labels"):
        page = home.reports / folder / "index.html"
        if page.exists():
            return [*lines, f"report: {page}"]
    return lines


def _correlations(connection: duckdb.DuckDBPyConnection) -> list[str]:
    row = connection.execute(
        "SELECT median_r, min_r, max_r, n_significant, n_defined, target_values, median_entropy_r, undefined_because "
        "FROM overall_correlation WHERE split = 'train' ORDER BY n_pairs DESC NULLS LAST LIMIT 1"
    ).fetchone()
    if row is None:
        return []
    median, low, high, significant, defined, values, baseline, reason = row
    if median is None:
        return [f"correlation of H(Y|Z) with the test error: not defined ({reason})"]
    lines = [
        f"correlation of H(Y|Z) with the probes' test error, {values}-valued targets: median r {median:.2f}, "
        f"from {low:.2f} to {high:.2f}; significant for {significant} of {defined} sources"
    ]
    if baseline is not None:
        lines.append(f"  the target's own entropy H(Y) alone, for comparison: median r {baseline:.2f}")
    hardness = connection.execute(
        "SELECT pearson_r, pearson_p, n_tasks FROM hardness_correlation "
        "WHERE split = 'train' AND pearson_r IS NOT NULL ORDER BY n_tasks DESC LIMIT 1"
    ).fetchone()
    if hardness:
        r, p, n = hardness
        lines.append(
            f"correlation of hardness with the dedicated networks' test error: r {r:.2f} (p {p:.2g}, {n} tasks)"
        )
    return lines


def _unconverged(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """How many probes are not the optima that they stand for; nothing where all are."""
    (short, pairs, named) = connection.execute(
        "SELECT count(*) FILTER (NOT converged), count(converged), "
        "list(source || ' → ' || target ORDER BY gradient_norm ** 2 / objective DESC) FILTER (NOT converged) "
        "FROM transfer"
    ).fetchall()[0]
    if not short:
        return []
    shown = ", ".join(named[:_SHOWN]) + (", …" if short > _SHOWN else "")
    return [
        f"{short} of {pairs} probes stopped short of probe.tolerance ({shown}): their errors are not quite the optima's"
    ]


def _hardness(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        "SELECT task, hardness FROM hardness WHERE split = (SELECT CASE WHEN bool_or(split = 'train') THEN 'train' "
        "ELSE 'all' END FROM hardness) AND hardness IS NOT NULL ORDER BY hardness DESC, task"
    ).fetchall()
    named = [f"{task} {value:.3f}" for task, value in rows]
    if not named:
        return []
    return [
        f"hardest tasks (H(Z) in nats): {', '.join(named[:_SHOWN])}",
        f"easiest tasks: {', '.join(named[::-1][:_SHOWN])}",
    ]


def _best_sources(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """For the first three targets in the study's order that have sources to rank."""
    targets = connection.execute(
        "SELECT DISTINCT target, position FROM best_sources JOIN tasks ON task = target "
        "WHERE NOT wide AND NOT near_unique AND NOT equivalent AND rank IS NOT NULL ORDER BY position LIMIT $1",
        [_SHOWN],
    ).fetchall()
    lines = []
    for target, _ in targets:
        named = [
            f"{source} ({share:.2f}" + (f", error {error:.3f})" if error is not None else ")")
            for source, share, error in connection.execute(_BEST, ["train", target]).fetchall()
            if share is not None
        ]
        lines.append(f"best sources for {target}, by corrected H(Y|Z)/H(Y): {', '.join(named)}")
    return lines
