"""Sources that are brought along carry the labels of the task they name, or none, and follow from just those."""

import json
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.labels.assets import LABELS, PIXELS, needs_images
from assets.labels.sources import NO_SOURCE_LABELS, label_columns, with_reasons, with_representations
from assets.materialize import stage_asset
from assets.models.assets import EMBEDDING, SOURCE_MODEL
from assets.study import Study, open_study
from resources.home import Home

BROUGHT = {"clip": {"file": "clip.npy"}, "net": {"file": "net.onnx", "task": "digit"}}


def study(tiny_content, **changes) -> Study:
    return open_study("brought", {**tiny_content, "representations": BROUGHT, **changes}, Path("unused"))


def test_labels_and_reasons_of_representations(tiny_content) -> None:
    opened = study(tiny_content)
    labels = pl.DataFrame({"digit": [3, None, 7], "is_0": [0, 1, 0]})
    more = with_representations(opened, labels)
    assert label_columns(opened)[-2:] == ("clip", "net")
    assert more["net"].to_list() == [3, None, 7]
    assert more["clip"].to_list() == [None] * 3
    pairs = pl.DataFrame({"source": ["clip", "net"], "undefined_because": ["no row", None]})
    assert with_reasons(opened, pairs)["undefined_because"].to_list() == [NO_SOURCE_LABELS, None]


def test_a_source_waits_for_its_own_labels_only(tiny_content) -> None:
    opened = study(tiny_content)
    needed = {source: SOURCE_MODEL.needed(opened, LABELS, source) for source in opened.sources}
    assert needed["even"] == ("even",)
    assert needed["net"] == ("digit",)
    assert needed["clip"] == ()
    assert SOURCE_MODEL.needed(opened, PIXELS, "clip") == (None,)
    assert EMBEDDING.needed(opened, SOURCE_MODEL, "clip") == ("clip",)


@pytest.mark.parametrize(
    ("brought", "images"),
    [(BROUGHT, True), ({"clip": {"file": "clip.npy"}}, False)],
    ids=["a network", "features alone"],
)
def test_the_assets_of_a_study_that_trains_nothing(tiny_content, brought, images) -> None:
    opened = study(tiny_content, sources=[], representations=brought)
    assert needs_images(opened) is images
    keys = stage_asset(SOURCE_MODEL, opened).partitions_def
    assert isinstance(keys, dg.StaticPartitionsDefinition)
    assert keys.get_partition_keys() == list(brought)


def test_a_users_file_stands_in_the_identity_by_name_and_content_not_by_its_folder(
    tiny_content, tmp_path: Path
) -> None:
    home = Home(path=str(tmp_path / "home"), mlflow_uri="http://127.0.0.1:9")

    def settings_and_content(folder: Path, content: bytes) -> tuple[str, object, str]:
        folder.mkdir(exist_ok=True)
        for name in ("w.pth", "net.onnx"):
            (folder / name).write_bytes(content)
        opened = study(
            tiny_content,
            networks={"even": {"weights": str(folder / "w.pth")}},
            representations={"net": {"file": str(folder / "net.onnx")}},
        )
        assert SOURCE_MODEL.outside is not None
        shown = json.dumps([dict(SOURCE_MODEL.settings(opened, source)) for source in ("even", "net")])
        return shown, SOURCE_MODEL.outside(opened, home)["even"], SOURCE_MODEL.code_version(opened)

    shown, content, code_version = settings_and_content(tmp_path / "here", b"one")
    assert "w.pth" in shown
    assert "net.onnx" in shown
    assert str(tmp_path) not in shown
    assert settings_and_content(tmp_path / "there", b"one") == (shown, content, code_version)
    assert settings_and_content(tmp_path / "there", b"two")[1] != content


def test_the_files_content_is_part_of_the_identity_and_a_missing_file_is_only_its_sources_matter(
    tiny_content, tmp_path: Path
) -> None:
    content = {
        **tiny_content,
        "representations": BROUGHT,
        "networks": {"even": {"weights": str(tmp_path / "w.pth")}},
    }
    opened = open_study("brought", content, tmp_path)
    home = Home(path=str(tmp_path / "home"), mlflow_uri="http://127.0.0.1:9")
    assert SOURCE_MODEL.outside is not None

    def versions() -> dict[str | None, object]:
        assert SOURCE_MODEL.outside is not None
        return dict(SOURCE_MODEL.outside(opened, home))

    before = versions()
    assert (before["digit"], before["clip"], before["even"]) == (None, "missing", "missing")
    (tmp_path / "clip.npy").write_bytes(b"one")
    (tmp_path / "w.pth").write_bytes(b"two")
    first = versions()
    (tmp_path / "clip.npy").write_bytes(b"two")
    second = versions()
    assert len({before["clip"], first["clip"], second["clip"]}) == 3
    assert first["even"] == second["even"] == second["clip"], "the content decides"
    assert (first["net"], first["digit"]) == ("missing", None)
