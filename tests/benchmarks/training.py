"""How much of training and embedding is the input pipeline; run it as a script on an otherwise idle machine.

``python tests/benchmarks/training.py [throughput] [input] [embedding] [precision] [--images N] [--rounds R]`` prints
Markdown tables.

* ``throughput``: an epoch of the project's loop against a bare loop over float tensors that lie in memory,
with the same
  network, batches and precision, at 32, 64 and 128 px. Wanted: at least 0.9.
* ``input``: the share of five epochs' wall time that goes into pixels (making the batches, normalising, and
taking the
  data set into memory) with N CelebA-sized JPEGs (178 x 218) at 64 px; and training beside the loop that
  people write, a dataset that decodes each JPEG in two DataLoader workers. Wanted: share under 2 % after the
  first decode.
* ``embedding``: extraction to a file against a bare forward pass over tensors in memory (wanted: at least
0.9), and
  against a DataLoader that decodes.
* ``precision``: an epoch in bfloat16 against one in float32, which is how `choose_precision` was decided.

Ratios are medians of R pairs, each pair measured one right after the other and in alternating order.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from assets.models.batches import Pixels, epoch_generator, network_input, step_count  # noqa: E402
from assets.models.embedding import extract_embedding  # noqa: E402
from assets.models.networks import CHANNEL_MEAN, CHANNEL_SPREAD, normalise  # noqa: E402
from assets.models.training import TrainingLoop  # noqa: E402
from assets.settings import NetworkSettings, Recipe  # noqa: E402
from resources.compute import choose_device, choose_precision, describe_device  # noqa: E402

NETWORK, BATCH, EPOCHS = NetworkSettings(), 128, 5
DEVICE = choose_device()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call, the device's queue included."""
    started = time.perf_counter()
    work()
    if DEVICE.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def paired(
    ours: Callable[[], object], other: Callable[[], object], rounds: int
) -> tuple[float, float, float]:
    """Median seconds of both and the median of the pairs' ratios other / ours (above 1: ours is faster)."""
    times: list[tuple[float, float]] = []
    ours(), other()
    for number in range(rounds):
        if number % 2:
            second, first = seconds(other), seconds(ours)
        else:
            first, second = seconds(ours), seconds(other)
        times.append((first, second))
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(b / a for a, b in times),
    )


def make_loop(
    pixels: np.ndarray, size: int, precision: Literal["auto", "float32", "bfloat16"] = "auto"
) -> TrainingLoop:
    """A training of a binary task on all of the images."""
    recipe = Recipe(
        image_size=size, epochs=1000, batch_size=BATCH, learning_rate=0.01, compile="no", precision=precision
    )
    targets = np.arange(len(pixels)) % 2
    images = Pixels(pixels, device=DEVICE)
    return TrainingLoop(images, targets, np.arange(len(pixels)), recipe, NETWORK, device=DEVICE)


def random_pixels(n: int, size: int) -> np.ndarray:
    """Images whose content does not matter."""
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 3), dtype=np.uint8)


def batch_step(loop: TrainingLoop, images: Tensor, targets: Tensor) -> None:
    """One step as anybody writes it, with the loop's network, loss, optimiser and precision."""
    loop.optimiser.zero_grad()
    with torch.autocast(DEVICE.partition(":")[0], torch.bfloat16, enabled=loop.precision == "bfloat16"):
        logits = loop.network(images, targets)
    loop.loss(logits.float(), targets).backward()
    loop.optimiser.step()


def throughput(rounds: int, scale: float) -> None:
    """The project's epoch against a bare loop over tensors in memory."""
    print(
        "\n| px | images | project, images/s | bare loop, images/s | ratio (median of pairs) |\n|--:|--:|--:|--:|--:|"
    )
    for size, count in ((32, 2048), (64, 1024), (128, 384)):
        n = max(BATCH * 2, int(count * scale))
        pixels = random_pixels(n, size)
        loop = make_loop(pixels, size)
        ready = [
            (normalise(part.to(DEVICE)), target.to(DEVICE))
            for part, target in zip(
                torch.tensor_split(torch.from_numpy(pixels), loop.steps),
                torch.tensor_split(torch.arange(n) % 2, loop.steps),
                strict=True,
            )
        ]

        def bare(loop: TrainingLoop = loop, ready: list[tuple[Tensor, Tensor]] = ready) -> None:
            loop.network.train()
            for images, targets in ready:
                batch_step(loop, images, targets)

        ours, other, ratio = paired(lambda loop=loop: loop._epoch(0), bare, rounds)
        print(f"| {size} | {n} | {n / ours:.0f} | {n / other:.0f} | {ratio:.3f} |", flush=True)


class Jpegs(Dataset[tuple[Tensor, int]]):
    """The dataset that people write: every image is decoded each time that it is asked for."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self.paths, self.size = paths, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.paths[index]) as image:
            small = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float()
        mean, spread = torch.tensor(CHANNEL_MEAN)[:, None, None], torch.tensor(CHANNEL_SPREAD)[:, None, None]
        return (pixels - mean) / spread, index % 2


def write_jpegs(folder: Path, n: int) -> list[Path]:
    """CelebA-sized JPEGs with the structure of a photograph (about 10 kB each)."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n):
        coarse = Image.fromarray(rng.integers(0, 255, (28, 23, 3), dtype=np.uint8))
        path = folder / f"{number:06d}.jpg"
        coarse.resize((178, 218), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths


def decode(paths: list[Path], size: int) -> np.ndarray:
    """All images as the pixel cache holds them."""
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)))
    return np.stack(images)


def input_share(rounds: int, n: int) -> None:
    """The input's share of five epochs, and the training beside one that decodes."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(Path(folder), n)
        np.save(Path(folder) / "pixels.npy", decode(paths, 64))
        cache = np.load(Path(folder) / "pixels.npy", mmap_mode="r")
        loop = make_loop(cache, 64)
        rows = torch.arange(n)

        def only_input() -> None:
            images = Pixels(cache, device=DEVICE)
            for epoch in range(EPOCHS):
                generator = epoch_generator(0, epoch)
                order = torch.randperm(n, generator=generator)
                for part in images.batches(rows[order], step_count(n, BATCH)):
                    network_input(part, "none", generator)

        def five_epochs() -> None:
            for epoch in range(EPOCHS):
                loop._epoch(epoch)

        loader = DataLoader(Jpegs(paths, 64), BATCH, shuffle=True, num_workers=2, persistent_workers=True)

        def decoding_epoch() -> None:
            loop.network.train()
            for images, targets in loader:
                channels_last = images.to(DEVICE, memory_format=torch.channels_last)
                batch_step(loop, channels_last, targets.to(DEVICE))

        inputs = statistics.median(seconds(only_input) for _ in range(rounds))
        whole = seconds(five_epochs)
        print("\n| images | input of 5 epochs, s | 5 epochs, s | input's share |\n|--:|--:|--:|--:|")
        print(f"| {n} | {inputs:.2f} | {whole:.1f} | {inputs / whole:.2%} |", flush=True)
        ours, other, ratio = paired(lambda: loop._epoch(0), decoding_epoch, rounds)
        print(
            "\n| training epoch | project, images/s | DataLoader, images/s | ratio (median of pairs) |"
            "\n|--|--:|--:|--:|"
        )
        print(f"| 64 px, {n} JPEGs | {n / ours:.0f} | {n / other:.0f} | {ratio:.2f} |", flush=True)


def embedding(rounds: int, n: int) -> None:
    """Extraction against a bare forward pass, and against a DataLoader that decodes."""
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(Path(folder), n)
        pixels = decode(paths, 64)
        network = make_loop(pixels, 64).network.eval()
        ready = [normalise(part.to(DEVICE)) for part in torch.split(torch.from_numpy(pixels), 256)]
        loader = DataLoader(Jpegs(paths, 64), 256, num_workers=2, persistent_workers=True)
        kept = np.empty((n, network.embedding_width), np.float32)

        def extract() -> None:
            extract_embedding(network, pixels, Path(folder) / "e.safetensors", device=DEVICE)

        @torch.inference_mode()
        def bare() -> None:
            for images in ready:
                network.embed(images)

        @torch.inference_mode()
        def decoding() -> None:
            start = 0
            for images, _ in loader:
                block = network.embed(images.to(DEVICE, memory_format=torch.channels_last)).cpu().numpy()
                kept[start : start + len(block)] = block
                start += len(block)

        print(
            "\n| embedding beside | project, images/s | the other, images/s | ratio (median of pairs) |"
            "\n|--|--:|--:|--:|"
        )
        for name, rival in (("bare forward pass", bare), ("DataLoader that decodes", decoding)):
            ours, other, ratio = paired(extract, rival, rounds)
            print(f"| {name} | {n / ours:.0f} | {n / other:.0f} | {ratio:.3f} |", flush=True)


def precision(rounds: int, scale: float) -> None:
    """An epoch in each number format."""
    print("\n| px | bfloat16, images/s | float32, images/s | ratio (median of pairs) |\n|--:|--:|--:|--:|")
    for size, count in ((16, 1536), (32, 1024), (64, 384), (128, 128)):
        n = max(BATCH, int(count * scale))
        pixels = random_pixels(n, size)
        low, full = make_loop(pixels, size, "bfloat16"), make_loop(pixels, size, "float32")
        ours, other, ratio = paired(lambda loop=low: loop._epoch(0), lambda loop=full: loop._epoch(0), rounds)
        print(f"| {size} | {n / ours:.0f} | {n / other:.0f} | {ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=["throughput", "input", "embedding"])
    parser.add_argument("--images", type=int, default=10_000, help="JPEGs of input and embedding")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of each ratio")
    parser.add_argument("--scale", type=float, default=1.0, help="of the images an epoch of throughput")
    given = parser.parse_args()
    print(
        f"{NETWORK.backbone}, batch {BATCH}, {describe_device(DEVICE)}, {torch.get_num_threads()} threads, "
        f"{choose_precision(DEVICE)}, torch {torch.__version__}"
    )
    if "throughput" in given.parts:
        throughput(given.rounds, given.scale)
    if "input" in given.parts:
        input_share(given.rounds, given.images)
    if "embedding" in given.parts:
        embedding(given.rounds, given.images)
    if "precision" in given.parts:
        precision(given.rounds, given.scale)


if __name__ == "__main__":
    main()
