"""The code location loads fast and light, whole or in parts, and says of every asset what it is."""

import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.definitions import build_definitions
from pipelines.studies import Studies, find_studies
from resources.home import PROJECT_ROOT, Home

HEAVY = (
    "torch",
    "torchvision",
    "mlflow",
    "matplotlib",
    "seaborn",
    "plotly",
    "sklearn",
    "scipy.stats",
    "onnxruntime",
)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    folder = tmp_path_factory.mktemp("home")
    return build_definitions(find_studies(folder, folder / "data"), Home(path=str(folder)))


def test_importing_the_code_location_loads_nothing_heavy() -> None:
    script = (
        "import sys, pipelines.definitions as d; d.defs()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_the_command_lines_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\nfrom pipelines.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('dagster', 'polars', 'duckdb', 'torch', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_dagsters_own_check_passes_in_seconds() -> None:
    """Four seconds of work on a machine of its own; a busy one needs more for the same work."""
    program = [str(Path(sys.executable).with_name("dg")), "check", "defs"]
    if not Path(program[0]).exists():
        program = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "pipelines.definitions"]
    before, began = os.times(), time.monotonic()
    done = subprocess.run(program, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False, timeout=120)
    after = os.times()
    assert done.returncode == 0, done.stderr
    work = after.children_user + after.children_system - before.children_user - before.children_system
    assert work < 6.0, f"{work:.1f} s of work, {time.monotonic() - began:.1f} s on the clock"


def test_workspace_and_pyproject_name_the_same_module() -> None:
    workspace = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    (location,) = workspace["load_from"]
    assert (
        location["python_module"]["module_name"]
        == project["code_location_target_module"]
        == "pipelines.definitions"
    )
    assert location["python_module"]["location_name"] == project["code_location_name"]


def test_every_asset_describes_itself(shipped: dg.Definitions) -> None:
    place = re.compile(r"Eq\. ?\d|Fig\. ?\d|Table \d|Sec\. ?\d|§ ?\d|Theorem \d")
    whole = re.compile(r"\b(page|report|table|image|label)", re.IGNORECASE)
    for spec in shipped.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert place.search(spec.description) or whole.search(spec.description), f"{name}: {spec.description}"
        assert spec.group_name, name
        assert spec.kinds, name
        assert spec.owners, name
        assert spec.code_version, name


def test_every_asset_with_a_table_shows_its_columns(shipped: dg.Definitions) -> None:
    with_tables = [spec for spec in shipped.resolve_all_asset_specs() if "tables" in spec.metadata]
    assert len(with_tables) >= 4 * 10
    for spec in with_tables:
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema)
        assert all(column.description for column in schema.columns), spec.key


def test_the_table_of_an_asset_is_the_one_of_its_name(shipped: dg.Definitions) -> None:
    checked = set()
    for spec in shipped.resolve_all_asset_specs():
        name = spec.key.path[-1]
        if name in str(spec.metadata.get("tables", "")).split(", "):
            assert spec.metadata["dagster/table_name"] == f"main.{name}"
            checked.add(name)
    assert {"transfer_correlation", "hardness_correlation", "conditional_entropy", "transfer"} <= checked


def test_the_four_studies_are_groups_with_their_jobs_sensors_and_schedules(shipped: dg.Definitions) -> None:
    studies = {"digits", "celeba", "awa2", "cub"}
    assert studies <= {spec.group_name for spec in shipped.resolve_all_asset_specs()}
    jobs = {job.name for job in shipped.jobs or ()}
    assert {f"{s}_{what}" for s in studies for what in ("statistics", "study")} <= jobs
    sensors = {sensor.name for sensor in shipped.sensors or ()}
    for what in ("labels_changed", "statistics_refresh", "training_refresh"):
        assert {f"{s}_{what}" for s in studies} <= sensors
    assert {f"{s}_nightly" for s in studies} <= {schedule.name for schedule in shipped.schedules or ()}
    dg.Definitions.validate_loadable(shipped)


def test_what_trains_is_off_and_what_only_counts_is_on(shipped: dg.Definitions) -> None:
    for sensor in shipped.sensors or ():
        running = sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert running != sensor.name.endswith("_training_refresh"), sensor.name
    for schedule in shipped.schedules or ():
        if schedule.name.endswith("_nightly"):
            assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_study_that_dagster_refuses_does_not_take_the_others_down(tiny, tmp_path: Path) -> None:
    settings = tiny.settings.model_copy(update={"owner": "nobody in particular"})
    refused = type(tiny)("refused", settings, tiny.dataset)
    studies = Studies({"refused": refused, "tiny": tiny}, {"broken": "broken.yaml, line 1: is not YAML"})
    definitions = build_definitions(studies, Home(path=str(tmp_path)))
    assert {spec.group_name for spec in definitions.resolve_all_asset_specs()} & {"refused", "tiny"} == {
        "tiny"
    }
    assert "line 1" in definitions.metadata["broken study broken"].value
    assert "nobody in particular" in definitions.metadata["broken study refused"].value
