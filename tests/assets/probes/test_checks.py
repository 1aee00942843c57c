"""Theorem 1 as a check: sound bounds pass, and each way in which a wrong one shows stops the run."""

import polars as pl
import pytest

from assets.probes.checks import theorem_1

SOUND = pl.DataFrame({
    "source": ["a", "a", "b"], "target": ["b", "c", "c"], "slack": [0.2, 0.0, None], "slack_check": [0.2, 0.0, None],
    "kbar_log_likelihood": [-0.4, -0.6, None], "n_violations": [0, 0, 0],
})  # fmt: skip


def test_a_sound_bound_passes() -> None:
    found = theorem_1(None, lambda *_: SOUND)  # type: ignore[arg-type]
    assert (found.passed, dict(found.values)) == (True, {"pairs": 2, "violations": 0, "least_slack": 0.0})


@pytest.mark.parametrize(
    "damage",
    [{"slack": [0.2, -1e-6, None]}, {"slack_check": [0.2, 0.1, None]}, {"n_violations": [0, 3, 0]}],
    ids=lambda damage: next(iter(damage)),
)
def test_a_violation_is_found_and_named(damage: dict[str, list[float | None]]) -> None:
    frame = SOUND.with_columns(**{name: pl.Series(values) for name, values in damage.items()})
    found = theorem_1(None, lambda *_: frame)  # type: ignore[arg-type]
    assert (found.passed, found.warning) == (False, False)
    assert found.text.startswith("a → c: slack ")
