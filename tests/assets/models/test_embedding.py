"""Embedding files: what is in them, that they are written in a stream, and that damage is noticed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from assets.models.embedding import embedding_file, extract_embedding, load_embedding
from assets.models.networks import build_network, normalise
from assets.settings import NetworkSettings
from resources.errors import ComputeError, StoreError

SMALL = NetworkSettings(backbone="shufflenet_v2_x0_5")


@pytest.fixture(scope="module")
def network():
    return build_network(SMALL, 2, seed=0, image_size=8).eval()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 255, (37, 8, 8, 3), dtype=np.uint8)


def test_streamed_equals_in_memory_and_is_a_plain_safetensors_file(network, pixels, tmp_path):
    with torch.no_grad():
        expected = network.embed(normalise(torch.from_numpy(pixels))).numpy()
    extract_embedding(network, pixels, tmp_path / "e.safetensors", device="cpu", batch_size=8)
    embedding = load_embedding(tmp_path / "e.safetensors")
    assert isinstance(embedding, np.memmap)
    assert (embedding.dtype, embedding.shape) == (np.float32, (37, 1024))
    np.testing.assert_allclose(embedding, expected, atol=1e-5)
    np.testing.assert_array_equal(load_file(tmp_path / "e.safetensors")["embedding"], embedding)


def test_pixels_on_disk_give_the_same_bytes(network, pixels, tmp_path):
    np.save(tmp_path / "pixels.npy", pixels)
    on_disk = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    extract_embedding(network, pixels, tmp_path / "a", device="cpu", resident=True)
    extract_embedding(network, on_disk, tmp_path / "b", device="cpu")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_network_stays_in_its_mode(network, pixels, tmp_path):
    trained = network.train()
    extract_embedding(trained, pixels, tmp_path / "e", device="cpu")
    assert trained.training
    extract_embedding(trained.eval(), pixels, tmp_path / "f", device="cpu")
    assert (tmp_path / "e").read_bytes() == (tmp_path / "f").read_bytes()


def test_damaged_and_foreign_files_are_refused(network, pixels, tmp_path):
    path = tmp_path / "e.safetensors"
    extract_embedding(network, pixels, path, device="cpu")
    whole = path.read_bytes()
    for cut in (0, 4, 30, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(StoreError, match=r"e\.safetensors: .*(whole|truncated|not a safetensors)"):
            load_embedding(path)
    path.write_bytes(b"\x20" + b"\0" * 7 + b"not json" * 8)
    with pytest.raises(StoreError):
        load_embedding(path)
    with pytest.raises(StoreError, match="cannot be read"):
        load_embedding(tmp_path / "absent")
    save_file({"features": np.zeros((3, 2), np.float32)}, path)
    with pytest.raises(StoreError, match=r"no .* tensor 'embedding'"):
        load_embedding(path)


def test_a_failed_write_leaves_no_file(tmp_path):
    path = tmp_path / "e"
    bad = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])

    def write(blocks: list[torch.Tensor]) -> None:
        with embedding_file(path, 4, 2) as receive:
            for number, block in enumerate(blocks):
                receive(2 * number, block)

    with pytest.raises(ComputeError, match="embedding of image 3 is not a number"):
        write([torch.zeros(2, 2), bad])
    assert not path.exists()
    with pytest.raises(StoreError, match="bytes written of"):
        write([torch.zeros(3, 2)])
    assert not path.exists()
    path = tmp_path / "no folder" / "e"
    with pytest.raises(StoreError, match=r"e: cannot write 0 MB \(No such file"):
        write([])


def test_a_full_disk_is_found_before_anything_is_computed(tmp_path):
    """A file-size limit stands for the full disk: the kernel refuses the space in the same place."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (
            pytest.raises(StoreError, match=r"^e: cannot write 2 MB \(File too large\); free space"),
            embedding_file(tmp_path / "e", 1000, 512),
        ):
            pytest.fail("the block was entered")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import sys, threading, time
from pathlib import Path
import numpy as np
from torch import nn
from assets.models.embedding import extract_embedding
from assets.models.networks import SoftmaxHead, SourceNetwork
from assets.settings import NetworkSettings

def own_megabytes():  # without the pages of mapped files, which are the system's to take back
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

folder = Path(sys.argv[1])
pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(200_000, 64, 64, 3))
backbone = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 512))
network = SourceNetwork(backbone, SoftmaxHead(512, 2), settings=NetworkSettings(), image_size=64)
peak = before = own_megabytes()
done = threading.Event()

def watch():
    global peak
    while not done.wait(0.02):
        peak = max(peak, own_megabytes())

watcher = threading.Thread(target=watch)
watcher.start()
extract_embedding(network, pixels, folder / "e.safetensors", device="cpu")
done.set()
watcher.join()
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_memory_stays_under_a_gigabyte_above_the_model_for_200000_images(tmp_path):
    """The pixels alone are 2.5 GB and the embeddings 0.4 GB; the network is a small one, the stream is the same."""
    said = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    ).stdout
    assert float(said) < 500
    assert load_embedding(tmp_path / "e.safetensors").shape == (200_000, 512)
