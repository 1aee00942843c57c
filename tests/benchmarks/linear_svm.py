"""The kept benchmark of the probes against a loop of scikit-learn's LinearSVC, in one process.

    python -m tests.benchmarks.linear_svm            # every row of the table, several minutes
    python -m tests.benchmarks.linear_svm --quick    # the smallest row only
    python -m tests.benchmarks.linear_svm --memory   # peak memory at 200,000 × 2048 with 312 targets, no LinearSVC
    python -m tests.benchmarks.linear_svm --study digits   # every pair of a study that has been run

LinearSVC is timed on a sample of the targets and scaled to all of them; each is run at the largest of its tolerances
that brings its objective within 1e-6 of ours, and the tighter runs it took to find that out are not counted.
"""

import argparse
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch.nn.functional import affine_grid, conv2d, grid_sample

from assets.models.embedding import load_embedding
from assets.probes.linear_svm import LinearSvms, fit_linear_svms
from assets.probes.logistic import fit_logistic_probes
from assets.probes.one_vs_rest import one_vs_rest
from assets.probes.prepared import PreparedEmbedding
from assets.probes.standardise import scaling_of
from resources.home import Home
from tests.processes import own_peak_gb

TOLERANCES = (1e-3, 1e-4, 1e-5, 1e-6)
AGREEMENT = 1e-6


@dataclass(frozen=True)
class Case:
    """One row of the table: rows, features, targets, share of missing labels, targets that scikit-learn gets."""

    n: int
    d: int
    n_targets: int
    missing: float
    sampled: int
    kind: str = "digits"


CASES = (
    Case(5_994, 512, 312, 0.2, 6),
    Case(20_000, 512, 40, 0.0, 4),
    Case(20_000, 512, 40, 0.0, 4, "latent"),
    Case(20_000, 512, 40, 0.0, 4, "noise"),
    Case(20_000, 512, 40, 0.0, 4, "separable"),
    Case(180_000, 512, 40, 0.0, 4),
    Case(180_000, 512, 40, 0.0, 2, "latent"),
    Case(180_000, 512, 40, 0.0, 2, "noise"),
)


@dataclass(frozen=True)
class Row:
    """What was measured for one case, seconds throughout."""

    case: Case
    ours: float
    theirs: float
    products: float
    one_product: float
    worst_objective: float
    same_predictions: float
    converged: int

    @property
    def ratio(self) -> float:
        """How many times faster than the loop."""
        return self.theirs / self.ours


def digit_images(n: int, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
    """Scikit-learn's digits, turned, scaled, shifted and with noise: (n, 1, 8, 8) and the digits (n,)."""
    pixels, digit = load_digits(return_X_y=True)
    chosen = rng.integers(0, len(digit), n)
    turn = torch.from_numpy(np.tile(np.eye(2, 3), (n, 1, 1)) + rng.normal(0, 0.15, (n, 2, 3))).float()
    images = torch.from_numpy(pixels[chosen] / 16).float().reshape(-1, 1, 8, 8)
    images = grid_sample(images, affine_grid(turn, [n, 1, 8, 8], align_corners=False), align_corners=False)
    return images + 0.1 * torch.from_numpy(rng.normal(size=images.shape)).float(), digit[chosen]


def relu_features(images: torch.Tensor, d: int, seed: int) -> torch.Tensor:
    """(n, d) standardised features of a fixed random network: two convolutions, a projection, ReLU after each."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(32, 1, 3, 3, generator=generator) / 3
    second = torch.randn(64, 32, 3, 3, generator=generator) / 17
    projection = torch.randn(1024, d, generator=generator) / 32
    parts = []
    for part in images.split(4096):
        hidden = conv2d(conv2d(part, first, padding=1).relu(), second, padding=1, stride=2).relu()
        parts.append((hidden.flatten(1) @ projection).relu())
    x = torch.cat(parts)
    return ((x - x.mean(0)) / x.std(0).clamp_min(1e-6)).contiguous()


def data(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embedding and labels of a case.

    The kinds are `digits`, random features of digits images; `latent`, rectified mixtures of 64 hidden factors; `noise`,
    independent Gaussian features; each with 3 to 50 % positives and some of the labels flipped; and `separable`,
    Gaussian features with labels that a hyperplane tells apart.
    """
    rng = np.random.default_rng(seed)
    if case.kind == "digits":
        images, digit = digit_images(case.n, rng)
        x = relu_features(images, case.d, seed).numpy()
        labels = np.stack(
            [_attribute(images.flatten(1).numpy(), digit, t, rng) for t in range(case.n_targets)], axis=1
        )
    else:
        x = _latent(case, rng) if case.kind == "latent" else rng.normal(size=(case.n, case.d))
        x = x.astype(np.float32)
        score = x @ rng.normal(size=(case.d, case.n_targets)).astype(np.float32)
        if case.kind == "separable":
            labels = score > 0
        else:
            score = score / score.std(0) + 0.7 * rng.normal(size=score.shape)
            labels = score > _quantiles(score, rng)
    labels = labels.astype(np.int8)
    labels[rng.random(labels.shape) < case.missing] = -1
    return x, labels


def _latent(case: Case, rng: np.random.Generator) -> np.ndarray:
    mixture = np.random.default_rng(64).normal(size=(64, case.d)) / 8  # the same for rows held out
    hidden = rng.normal(size=(case.n, 64)) @ mixture
    x = np.maximum(0, hidden + 0.3 * rng.normal(size=hidden.shape))
    return np.asarray((x - x.mean(0)) / x.std(0))


def _quantiles(score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shares = rng.choice([0.5, 0.7, 0.9, 0.97], score.shape[1])
    return np.array([np.quantile(column, share) for column, share in zip(score.T, shares, strict=True)])


def _attribute(pixels: np.ndarray, digit: np.ndarray, target: int, rng: np.random.Generator) -> np.ndarray:
    if target % 4 == 0:
        label = digit == target // 4 % 10
    elif target % 4 == 1:
        label = np.isin(digit, rng.permutation(10)[: rng.integers(2, 6)])
    else:
        score = pixels @ rng.normal(size=pixels.shape[1]) + 0.3 * pixels**2 @ rng.normal(size=pixels.shape[1])
        label = score > np.quantile(score, rng.choice([0.5, 0.7, 0.9, 0.97]))
    flipped = rng.random(len(digit)) < 0.06 * rng.random() * min(1, 4 * label.mean())
    return np.asarray(label ^ flipped)


def objective(x: np.ndarray, labels: np.ndarray, w: np.ndarray, b: float, c: float = 1.0) -> float:
    """LinearSVC's objective in float64."""
    violation = np.maximum(0, 1 - (2.0 * labels - 1) * (x @ w.astype(np.float64) + b))
    return float(0.5 * w @ w + 0.5 * b * b + c * (violation**2).sum())


def sklearn_loop(
    case: Case, x: np.ndarray, labels: np.ndarray, fit: LinearSvms
) -> tuple[float, float, float]:
    """Seconds of LinearSVC for all targets, greatest relative difference of objectives, share of equal predictions."""
    sampled = np.random.default_rng(1).choice(
        case.n_targets, min(case.sampled, case.n_targets), replace=False
    )
    seconds, worst, same = 0.0, -np.inf, []
    held_out, _ = data(Case(5_000, case.d, 1, 0, 0, case.kind), seed=0)
    for t in sampled:
        known = labels[:, t] >= 0
        rows, y = x[known], labels[known, t]
        for tol in TOLERANCES:
            begun = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                svc = LinearSVC(dual="auto", tol=tol, max_iter=20_000).fit(rows, y)
            took = time.perf_counter() - begun
            reached = objective(rows, y, svc.coef_[0], float(svc.intercept_[0]))
            if reached <= fit.objective[t] * (1 + AGREEMENT):
                break
        seconds += took
        worst = max(worst, fit.objective[t] / reached - 1)
        same.append(
            ((held_out @ fit.coef[:, t] + fit.intercept[t] > 0) == (svc.predict(held_out) == 1)).mean()
        )
    return seconds * case.n_targets / len(sampled), worst, float(np.mean(same))


def one_product(x: np.ndarray, n_targets: int) -> float:
    """Seconds of one product of the embedding with a column a target, the best of five."""
    embedding, weights = torch.from_numpy(x), torch.randn(x.shape[1], n_targets)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        embedding @ weights
        times.append(time.perf_counter() - begun)
    return min(times)


def measure(case: Case) -> Row:
    """Fit one case both ways."""
    x, labels = data(case)
    fit_linear_svms(x[:2000], labels[:2000, :4])
    times = []
    for _ in range(2):
        begun = time.perf_counter()
        fit = fit_linear_svms(x, labels)
        times.append(time.perf_counter() - begun)
    theirs, worst, same = sklearn_loop(case, x, labels, fit)
    product = one_product(x, case.n_targets)
    return Row(case, min(times), theirs, fit.products, product, worst, same, int(fit.converged.sum()))


def memory(n: int, d: int, n_targets: int) -> str:
    """Fit an embedding that lies in a file, as studies keep theirs, and tell what the process held at most."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "embedding.npy"
        x = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
        directions = rng.normal(size=(d, n_targets)).astype(np.float32) / np.float32(np.sqrt(d))
        labels = np.empty((n, n_targets), dtype=np.int8)
        thresholds = rng.choice([0.0, 0.5, 1.3, 1.9], n_targets)
        for start in range(0, n, 10_000):
            part = rng.normal(size=(min(10_000, n - start), d)).astype(np.float32)
            x[start : start + len(part)] = part
            score = part @ directions + 0.7 * rng.normal(size=(len(part), n_targets))
            labels[start : start + len(part)] = score > thresholds
        x.flush()
        before = own_peak_gb()
        begun = time.perf_counter()
        fit = fit_linear_svms(np.load(path, mmap_mode="r", allow_pickle=False), labels)
        took = time.perf_counter() - begun
    return (
        f"{n:,} × {d}, {n_targets} targets: peak {own_peak_gb():.2f} GB resident, the mapped embedding of "
        f"{4e-9 * n * d:.2f} GB included ({before:.2f} GB before the fit); {took:.0f} s, {fit.products:.0f} products, "
        f"{int(fit.converged.sum())}/{n_targets} certified"
    )


def study(name: str) -> str:
    """Fit all pairs of a finished study on its own embeddings, and LinearSVC to four targets of one source."""
    home = Home.default()
    with duckdb.connect(home.folder / "warehouse" / f"{name}.duckdb", read_only=True) as connection:
        labels = connection.sql("SELECT * FROM labels ORDER BY image_id").pl()
        pairs = connection.sql(
            "SELECT source, list(target ORDER BY target) FROM transfer GROUP BY ALL ORDER BY ALL"
        )
        targets_of = dict(pairs.fetchall())
    train = np.flatnonzero((labels["split"] == "train").to_numpy())
    svm, alone, logistic, loop = 0.0, 0.0, 0.0, 0.0
    certified, n_pairs = 0, 0
    for source, targets in targets_of.items():
        embedding = load_embedding(home.store.path(name, "embedding", source, ".safetensors"))
        x = scaling_of(embedding, train).apply(embedding, train)
        problems = one_vs_rest(labels.select(targets).fill_null(-1).to_numpy()[train])
        begun = time.perf_counter()
        shared = PreparedEmbedding(x)
        other = fit_logistic_probes(shared, problems.labels)
        logistic += time.perf_counter() - begun
        begun = time.perf_counter()
        fit_linear_svms(x, problems.labels)
        alone += time.perf_counter() - begun
        begun = time.perf_counter()
        fit = fit_linear_svms(shared, problems.labels, start=other.weights)
        svm += time.perf_counter() - begun
        certified, n_pairs = certified + int(fit.converged.sum()), n_pairs + len(targets)
        if not loop:
            whole = Case(*x.shape, problems.labels.shape[1], 0.0, 4)
            loop = sklearn_loop(whole, x, problems.labels, fit)[0] * len(targets_of)
    return (
        f"{name}: {n_pairs} pairs of {len(targets_of)} sources, {len(train):,} × {x.shape[1]}: {svm:.2f} s from the "
        f"logistic probes on, which take {logistic:.2f} s; {alone:.2f} s by themselves; {certified} problems certified; "
        f"LinearSVC's loop {loop:.0f} s (four targets of one source, scaled): {loop / alone:.0f}×"
    )


HEADER = (
    "| embedding | rows × features | targets | missing | LinearSVC loop | ours | ratio | products | one product "
    "| products' share | objective, worst | same predictions | certified |\n" + "|---" * 13 + "|"
)


def line(row: Row) -> str:
    """The row as Markdown."""
    case = row.case
    return (
        f"| {case.kind} | {case.n:,} × {case.d} | {case.n_targets} | {case.missing:.0%} "
        f"| {row.theirs:.1f} s ({case.sampled} targets, scaled) | {row.ours:.2f} s | **{row.ratio:.0f}×** "
        f"| {row.products:.0f} | {1e3 * row.one_product:.1f} ms | {row.products * row.one_product / row.ours:.0%} "
        f"| {row.worst_objective:+.1e} | {row.same_predictions:.2%} | {row.converged}/{case.n_targets} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only the smallest case")
    parser.add_argument("--case", type=int, help="only this case, counted from 0")
    parser.add_argument("--memory", action="store_true", help="peak memory of a large fit")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows of --memory, for a first try")
    parser.add_argument("--study", help="all pairs of this study, which must have been run")
    options = parser.parse_args()
    if options.study:
        print(study(options.study))
        return
    if options.memory:
        print(memory(int(200_000 * options.share), 2048, 312))
        return
    chosen = CASES[:1] if options.quick else CASES if options.case is None else (CASES[options.case],)
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}\n\n{HEADER}", flush=True)
    for case in chosen:
        print(line(measure(case)), flush=True)


if __name__ == "__main__":
    main()
