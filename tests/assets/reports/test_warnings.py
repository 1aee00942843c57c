"""What the checks of the data warn of stands on the page of labels, with the constant tasks marked in its tables."""

import dagster as dg

from assets.study import open_study
from pipelines.definitions import study_definitions
from pipelines.reconcile import Request, reconcile
from resources.home import Home


def test_constant_tasks_are_warned_of_and_marked(table_study, home: Home) -> None:
    table_study.columns["flat"] = ["no"] * 80
    table_study.write()
    content = table_study.content
    content["dataset"]["options"]["tasks"].append("flat")
    study = open_study("shapes", content, table_study.table.parent)
    definitions = dg.Definitions.merge(study_definitions(study), dg.Definitions(resources={"home": home}))
    outcome = reconcile(study, home, definitions, dg.DagsterInstance.ephemeral(), Request(only="statistics"))
    assert not outcome.failed
    page = (home.reports / "shapes-labels" / "index.html").read_text()
    assert "Constant in train: flat. Expected: no task is constant in train." in page
    assert page.count("so there is nothing to predict") == 1
    assert 'data-v="flat">flat<span class="detail">constant</span>' in page


def test_a_study_without_faults_has_no_warning(made, home: Home) -> None:
    page = (home.reports / "shapes-labels" / "index.html").read_text()
    assert "checks of the data warn" not in page
    assert "nothing to predict" not in page
