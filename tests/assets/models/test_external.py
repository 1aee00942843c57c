"""A user's own representation: features and ONNX networks become embedding files; what does not fit is refused."""

import struct

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from assets.models.embedding import load_embedding
from assets.models.external import import_representation
from assets.models.networks import normalise
from resources.errors import DataError, StoreError
from tests.onnx_files import onnx_network

FEATURES = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
PIXELS = np.random.default_rng(1).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)


def write(folder, kind):
    path = folder / f"features.{kind}"
    if kind == "npy":
        np.save(path, FEATURES)
    elif kind == "safetensors":
        save_file({"mine": FEATURES}, path)
    elif kind == "parquet":
        pl.DataFrame(FEATURES, schema=list("abcd")).write_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
def test_features_become_an_embedding(kind, tmp_path):
    import_representation(write(tmp_path, kind), tmp_path / "e", n_images=6)
    np.testing.assert_array_equal(load_embedding(tmp_path / "e"), FEATURES)


@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.Array(pl.Float32, 4)])
def test_parquet_of_lists_in_the_order_of_image_id(dtype, tmp_path):
    order = [3, 1, 0, 5, 4, 2]
    rows = pl.Series("vector", FEATURES[order].tolist(), dtype=dtype)
    pl.DataFrame({"image_id": order, "vector": rows}).write_parquet(tmp_path / "f.parquet")
    import_representation(tmp_path / "f.parquet", tmp_path / "e", n_images=6)
    np.testing.assert_array_equal(load_embedding(tmp_path / "e"), FEATURES)


def test_bfloat16_features_become_the_float32_of_the_same_values(tmp_path):
    features = torch.from_numpy(FEATURES).to(torch.bfloat16)
    save_tensors({"mine": features, "embedding": 2 * features}, tmp_path / "f.safetensors")
    import_representation(tmp_path / "f.safetensors", tmp_path / "e", n_images=6)
    embedding = load_embedding(tmp_path / "e")
    assert embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding, (2 * features).float().numpy())


def test_a_bfloat16_feature_that_is_not_finite_or_a_cut_file_is_refused(tmp_path):
    features = torch.from_numpy(FEATURES).to(torch.bfloat16)
    features[3, 1] = torch.inf
    save_tensors({"mine": features}, tmp_path / "f.safetensors")
    with pytest.raises(DataError, match="row 3 holds something that is not a finite float32"):
        import_representation(tmp_path / "f.safetensors", tmp_path / "e", n_images=6)
    content = (tmp_path / "f.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-2])
    with pytest.raises(StoreError, match="truncated"):
        import_representation(tmp_path / "cut.safetensors", tmp_path / "e", n_images=6)


def test_integer_features_are_numbers_too(tmp_path):
    np.save(tmp_path / "f.npy", np.arange(12).reshape(6, 2))
    import_representation(tmp_path / "f.npy", tmp_path / "e", n_images=6)
    np.testing.assert_array_equal(load_embedding(tmp_path / "e"), np.arange(12).reshape(6, 2))


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], [4, 3, 8, 8], [1, 3, 8, 8]])
def test_an_onnx_network_is_run_on_the_images(shape, tmp_path):
    (tmp_path / "n.onnx").write_bytes(onnx_network("GlobalAveragePool", shape))
    import_representation(tmp_path / "n.onnx", tmp_path / "e", n_images=6, pixels=PIXELS)
    expected = normalise(torch.from_numpy(PIXELS)).mean((2, 3)).numpy()
    np.testing.assert_allclose(load_embedding(tmp_path / "e"), expected, atol=1e-5)


def test_an_onnx_network_of_another_side_gets_resized_images(tmp_path):
    (tmp_path / "n.onnx").write_bytes(onnx_network("Relu", ["n", 3, 4, 4]))
    import_representation(tmp_path / "n.onnx", tmp_path / "e", n_images=6, pixels=PIXELS)
    assert load_embedding(tmp_path / "e").shape == (6, 48)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (None, "not an ONNX network that can be run"),
        (("Relu", ["n", 1, 8, 8]), r"wanted is one input of \(batch, 3, H, W\)"),
        (("Relu", ["n", "d"]), r"wanted is one input of \(batch, 3, H, W\)"),
        (("Size", ["n", 3, "h", "w"]), "not an ONNX network|fails on images|one row an image"),
    ],
)
def test_onnx_files_that_do_not_fit_are_refused(network, says, tmp_path):
    (tmp_path / "n.onnx").write_bytes(onnx_network(*network) if network else b"nonsense")
    with pytest.raises(DataError, match=says) as caught:
        import_representation(tmp_path / "n.onnx", tmp_path / "e", n_images=6, pixels=PIXELS)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_an_onnx_network_needs_images(tmp_path):
    (tmp_path / "n.onnx").write_bytes(onnx_network("Relu", ["n", 3, 8, 8]))
    with pytest.raises(DataError, match="needs the images"):
        import_representation(tmp_path / "n.onnx", tmp_path / "e", n_images=6)


def test_features_that_do_not_fit_are_refused(tmp_path):
    def refused(name: str, says: str, n_images: int = 6) -> None:
        with pytest.raises(DataError, match=says) as caught:
            import_representation(tmp_path / name, tmp_path / "e", n_images=n_images)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "e").exists()

    refused("absent.npy", "no such file")
    refused(write(tmp_path, "npy").name, "has 6 rows for 7 images", n_images=7)
    (tmp_path / "model.pt").write_bytes(b"x")
    refused("model.pt", "pickled or scripted models are not read")
    np.save(tmp_path / "o.npy", np.array([[{}]] * 6, dtype=object), allow_pickle=True)
    refused("o.npy", "without pickle")
    np.save(tmp_path / "flat.npy", FEATURES[:, 0])
    refused("flat.npy", r"holds \(6,\) float32; wanted is")
    holes = FEATURES.copy()
    holes[4, 1] = np.nan
    np.save(tmp_path / "nan.npy", holes)
    refused("nan.npy", "row 4 holds something that is not a finite float32")
    np.save(tmp_path / "huge.npy", np.full((6, 1), 1e300))
    refused("huge.npy", "row 0 holds")
    save_file({"a": FEATURES, "b": FEATURES}, tmp_path / "two.safetensors")
    refused("two.safetensors", "holds 2 tensors and none is named 'embedding'")
    pl.DataFrame({"a": [1.0, None] * 3}).write_parquet(tmp_path / "null.parquet")
    refused("null.parquet", "column a has no value in row 1")
    pl.DataFrame({"a": ["x"] * 6}).write_parquet(tmp_path / "text.parquet")
    refused("text.parquet", "column a is String")
    pl.DataFrame({"a": [[1.0], [1.0, 2.0]] * 3}).write_parquet(tmp_path / "ragged.parquet")
    refused("ragged.parquet", "row 1 of a has 2 values, row 0 1")
    pl.DataFrame({"image_id": [0, 0, 1, 2, 3, 4], "a": [1.0] * 6}).write_parquet(tmp_path / "ids.parquet")
    refused("ids.parquet", "image_id is not 0…5")
    (tmp_path / "bad.parquet").write_bytes(struct.pack("<q", 3))
    refused("bad.parquet", "not a Parquet file")
