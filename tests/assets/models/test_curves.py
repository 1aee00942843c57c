"""The curves of a source model in MLflow are whole, whatever came between its epochs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow.tracking import MlflowClient

from assets.models.training import TrainingLoop
from assets.study import open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from resources.home import Home

CURVES = ("train_loss", "train_accuracy", "learning_rate", "images_per_second")


def test_a_resumed_training_has_the_epochs_of_the_interrupted_one_in_its_curves(
    tiny_content: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"image_size": 8, "epochs": 4, "batch_size": 16}
    content = {
        **tiny_content,
        "sources": ["even"],
        "recipe": recipe,
        "network": {"backbone": "shufflenet_v2_x0_5"},
    }
    study, home = open_study("tiny", content, Path("unused")), Home(path=str(tmp_path / "home"))
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    instance, whole = dg.DagsterInstance.ephemeral(), TrainingLoop._epoch

    def interrupted(loop: TrainingLoop, epoch: int) -> Any:
        if epoch == 2:
            raise KeyboardInterrupt
        return whole(loop, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reconcile(study, home, definitions, instance, Request(only="models"))
    assert not reconcile(study, home, definitions, instance, Request(only="models")).failed

    client = MlflowClient(tracking_uri=home.tracking.tracking_uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    first, second = [run for run in runs if run.info.run_name == "source_model/even"]
    assert (first.info.status, second.info.status) == ("KILLED", "FINISHED")
    for name in CURVES:
        before = {m.step: m.value for m in client.get_metric_history(first.info.run_id, name)}
        after = {m.step: m.value for m in client.get_metric_history(second.info.run_id, name)}
        assert list(before) == [1, 2], name
        assert list(after) == [1, 2, 3, 4], name
        assert {step: after[step] for step in before} == before, name
