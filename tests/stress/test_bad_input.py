"""The kept corpus of malformed inputs, through the command line."""

from pathlib import Path

import pytest

from tests.stress.bad_input import examine


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_malformed_inputs_are_refused_in_one_line_and_cost_no_earlier_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TRANSFERABILITY_HOME", "MLFLOW_TRACKING_URI", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")  # so that they are put back
    counts, wrong = examine(tmp_path)
    assert not wrong
    assert counts["refused"] + counts["healed"] >= 60
