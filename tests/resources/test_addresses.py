"""Links lead to where the pages are served, whoever makes them."""

from pathlib import Path

import pytest

from resources.addresses import chosen_port, note_ports, page_address
from resources.errors import StoreError
from resources.home import Home


def test_links_use_the_ports_that_were_noted_in_the_home_folder(tmp_path: Path) -> None:
    home = Home(path=str(tmp_path))
    assert (home.dagster_address, home.tracking.ui) == ("http://127.0.0.1:3000", "http://127.0.0.1:5000")
    note_ports(tmp_path, {"dagster": 4001, "mlflow": 4002})
    assert (home.dagster_address, home.tracking.ui) == ("http://127.0.0.1:4001", "http://127.0.0.1:4002")


def test_a_port_chosen_by_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_ports(tmp_path, {"dagster": 4001, "mlflow": 4002})
    monkeypatch.setenv("TRANSFERABILITY_UI_PORT", "4100")
    assert page_address(tmp_path, "dagster") == "http://127.0.0.1:4100"


@pytest.mark.parametrize("content", ["", "[1]", '{"dagster": "x"}', "\0\0", '"3"'])
def test_a_damaged_note_stops_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "ui.json").write_text(content)
    assert page_address(tmp_path, "dagster") == "http://127.0.0.1:3000"


@pytest.mark.parametrize("text", ["http", "-1", "0", "70000", "٣"])
def test_what_is_no_port_is_said(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERABILITY_MLFLOW_PORT", text)
    assert page_address(tmp_path, "mlflow") == "http://127.0.0.1:5000", "and no reason to stop a run"
    with pytest.raises(StoreError, match=r"TRANSFERABILITY_MLFLOW_PORT: .* is no port"):
        chosen_port("mlflow")
