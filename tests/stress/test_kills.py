"""Kills in the stages that compute, as kills.py makes them by the dozen: what is made in the end is the same, bit by bit."""

from pathlib import Path

import pytest

from tests.stress.kills import Stress


@pytest.mark.slow
def test_a_study_that_is_killed_ends_as_one_that_is_not(tmp_path: Path) -> None:
    stress = Stress(tmp_path, seed=1)
    stress.chain_round(["joint_counts", "source_model", "embedding", "transfer"])
    assert stress.wrong == []
    assert len(stress.hits) >= 3, "an aimed-at stage may be over before its kill"
