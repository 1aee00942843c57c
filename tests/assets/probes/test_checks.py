"""The check of Theorem 1 fails where the theorem's code is wrong, and only there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest

from assets.probes import bound, tables
from assets.probes.checks import theorem_1
from assets.study import Study, open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Outcome, Request, reconcile
from resources.errors import StudyError
from resources.home import Home

PAIR = {
    "source": "even", "target": "prime", "n": 40, "source_log_likelihood": -0.5, "conditional_entropy": 0.2,
    "kbar_log_likelihood": -0.3, "probe_log_likelihood": -0.1, "slack": 0.4, "slack_check": 0.4, "n_violations": 0,
    "n_checked": 40,
}  # fmt: skip


def look(study: Study, *pairs: Mapping[str, Any]) -> Any:
    frame = tables.BOUND.frame([dict(pair) for pair in pairs])
    reader: Callable[..., pl.DataFrame] = lambda _table, _stage=None: frame  # noqa: E731
    return theorem_1(study, reader)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"n_violations": 1}, "fails on 1 of 40 rows"),
        ({"slack": -1e-6, "slack_check": -1e-6}, "slack -1e-06"),
        ({"slack_check": 0.4 + 1e-6}, "the other way 0.400001"),
        ({"slack_check": None}, "not checked"),
        ({"n_checked": 0}, "not checked"),
        ({"n_checked": None}, "not checked"),
        ({"slack": None}, "not checked"),
        ({"n_violations": None}, "even → prime"),
    ],
)
def test_a_pair_that_is_wrong_or_was_not_checked_is_named(
    tiny: Study, wrong: Mapping[str, Any], said: str
) -> None:
    found = look(tiny, PAIR | {"target": "digit"}, PAIR | wrong)
    assert not found.passed
    assert not found.warning
    assert found.text.startswith("even → prime: ")
    assert said in found.text
    assert found.values["violations"] == 1


def test_pairs_that_hold_and_pairs_with_a_reason_pass(tiny: Study) -> None:
    none = dict.fromkeys(["slack", "slack_check", "n_checked", "n_violations", "kbar_log_likelihood"])
    found = look(tiny, PAIR, PAIR | none | {"undefined_because": "no network"})
    assert found.passed
    assert found.values == {
        "pairs": 1, "violations": 0, "least_slack": 0.4, "rows_checked_both_ways": 40
    }  # fmt: skip


@pytest.fixture(scope="module")
def trained(tiny_content: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Home]:
    """One real network, with its probes."""
    study = open_study("tiny", {**tiny_content, "sources": ["even"]}, Path("unused"))
    home = Home(path=str(tmp_path_factory.mktemp("trained")), mlflow_uri="http://127.0.0.1:9")
    bring(study, home)
    return study, home


def bring(study: Study, home: Home) -> Outcome:
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    return reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="probes"))


def remake_bound(study: Study, home: Home) -> None:
    for path in home.folder.glob("store/tiny/bound/*"):
        path.unlink()
    assert not bring(study, home).failed


def lower_kbar(log_p: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    kbar = _log_kbar(log_p, *rest)
    kbar[:1] -= 100.0  # one row of each pair
    return kbar


def higher_kbar(log_p: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    return _log_kbar(log_p, *rest) + 1e-3  # no violation, but another slack


_log_kbar = bound._log_kbar


@pytest.mark.parametrize(
    ("mistake", "said"), [(lower_kbar, "fails on 1 of"), (higher_kbar, "computed the other way")]
)
def test_a_mistake_in_the_code_stops_the_run(
    trained: tuple[Study, Home], monkeypatch: pytest.MonkeyPatch, mistake: Callable[..., Any], said: str
) -> None:
    study, home = trained
    remake_bound(study, home)
    with monkeypatch.context() as patch:
        patch.setattr(bound, "_log_kbar", mistake)
        with pytest.raises(StudyError, match=f"check theorem_1 failed: even → is_0: .*{said}"):
            remake_bound(study, home)
    remake_bound(study, home)
