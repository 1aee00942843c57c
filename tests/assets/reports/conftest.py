"""Small studies with real numbers: scikit-learn's digits, their facts as tasks, and least-squares probes."""

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_digits

from assets.reports.derive import with_report_tables

Tables = dict[str, pl.DataFrame]

SEGMENTS = ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg"]
FACTS = {
    "even": {0, 2, 4, 6, 8}, "prime": {2, 3, 5, 7}, "closed_loop": {0, 6, 8, 9}, "square": {0, 1, 4, 9},
    "at_least_five": {5, 6, 7, 8, 9}, "triangular": {0, 1, 3, 6}, "fibonacci": {0, 1, 2, 3, 5, 8},
    "multiple_of_three": {0, 3, 6, 9}, "power_of_two": {1, 2, 4, 8}, "three_letters": {1, 2, 6},
    "curved": {0, 2, 3, 5, 6, 8, 9},
}  # fmt: skip


def entropy_of(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def estimates(split: str, labels: dict[str, np.ndarray], targets: list[str]) -> list[dict[str, object]]:
    """Conditional entropies of all pairs, each the joint entropy less the source's."""
    rows: list[dict[str, object]] = []
    for source, z in labels.items():
        h_z = entropy_of(np.bincount(z))
        for target in targets:
            if source == target:
                continue
            y = labels[target]
            width = int(y.max()) + 1
            joint = np.bincount(z * width + y, minlength=(int(z.max()) + 1) * width).reshape(-1, width)
            h_y = entropy_of(np.bincount(y))
            ce = max(0.0, entropy_of(joint.ravel()) - h_z)
            ce = 0.0 if ce < 1e-12 else ce
            corrected = min(h_y, ce + ((joint > 0).sum() - (joint.sum(1) > 0).sum()) / (2 * len(y)))
            rows.append({
                "split": split, "source": source, "target": target, "conditional_entropy": ce,
                "target_entropy": h_y, "n": len(y), "undefined_because": None, "source_entropy": h_z,
                "joint_entropy": h_z + ce, "mutual_information": h_y - ce,
                "normalised": ce / h_y if h_y else None, "corrected": corrected,
                "corrected_normalised": corrected / h_y if h_y else None, "n_source_values": int(z.max()) + 1,
                "near_unique_source": False,
                "equivalent": bool(((joint > 0).sum(0) <= 1).all() and ((joint > 0).sum(1) <= 1).all()),
            })  # fmt: skip
    return rows


def assemble(
    train: dict[str, np.ndarray], test: dict[str, np.ndarray], targets: list[str], tables: Tables
) -> Tables:
    """The label statistics of a study beside the measured tables given."""
    both = {name: np.concatenate([train[name], test[name]]) for name in train}
    schema = {"undefined_because": pl.String, "normalised": pl.Float64, "corrected_normalised": pl.Float64}
    return {
        "tasks": pl.DataFrame({
            "task": list(train), "n_values": [int(both[name].max()) + 1 for name in train],
            "is_source": True, "is_target": [name in targets for name in train],
            "description": [f"the task {name}" for name in train],
        }),
        "conditional_entropy": pl.DataFrame(
            estimates("train", train, targets) + estimates("all", both, targets), schema_overrides=schema
        ),
        "hardness": pl.DataFrame([
            {"split": split, "task": name, "hardness": entropy_of(np.bincount(y)), "n": len(y),
             "n_values": int(y.max()) + 1}
            for split, labels in (("train", train), ("all", both)) for name, y in labels.items()
        ]),
        **tables,
    }  # fmt: skip


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights by the normal equations with a touch of ridge: quick, and pixels that are always 0 do no harm."""
    return np.linalg.solve(x.T @ x + 1e-6 * np.eye(x.shape[1]), x.T @ y)


def probe(x: np.ndarray, labels: dict[str, np.ndarray], x_test: np.ndarray) -> dict[str, np.ndarray]:
    """Least-squares class predictions for every task at once."""
    onehots = [np.eye(int(y.max()) + 1)[y] for y in labels.values()]
    w = least_squares(np.c_[x, np.ones(len(x))], np.hstack(onehots))
    scores = np.c_[x_test, np.ones(len(x_test))] @ w
    ends = np.cumsum([onehot.shape[1] for onehot in onehots])
    return {
        name: part.argmax(1) for name, part in zip(labels, np.split(scores, ends[:-1], axis=1), strict=True)
    }


def digit_labels() -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Pixels, the 29 tasks, and the names of the binary ones."""
    digits = load_digits()
    sets = {f"is_{d}": {d} for d in range(10)}
    sets |= {f"segment_{s}": {d for d in range(10) if s in SEGMENTS[d]} for s in "abcdefg"}
    sets |= FACTS
    labels = {"digit": digits.target.astype(int)}
    labels |= {name: np.isin(digits.target, list(members)).astype(int) for name, members in sets.items()}
    return digits.data / 16, labels, list(sets)


def make_digits(*, rename: dict[str, str] | None = None) -> Tables:
    """The digits study: embeddings are the source's own least-squares score and five random projections."""
    x, labels, targets = digit_labels()
    if rename:
        labels = {rename.get(name, name): y for name, y in labels.items()}
        targets = [rename.get(name, name) for name in targets]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    a, b = order[:1257], order[1257:]
    train, test = ({name: y[rows] for name, y in labels.items()} for rows in (a, b))
    transfer, models = [], []
    dedicated = probe(x[a], train, x[b])
    for source in labels:
        scores = np.eye(int(labels[source].max()) + 1)[labels[source]]
        w = least_squares(x[a], scores[a])
        f = np.c_[x @ w, x @ rng.normal(size=(64, 8))]
        predicted = probe(f[a], {name: train[name] for name in targets if name != source}, f[b])
        for target, guess in predicted.items():
            error = float((guess != test[target]).mean())
            majority = float((test[target] != np.bincount(train[target]).argmax()).mean())
            transfer.append({
                "source": source, "target": target, "train_error": error, "test_error": error,
                "n_train": len(a), "n_test": len(b), "constant_target": False,
                "test_majority_error": majority, "undefined_because": None,
            })  # fmt: skip
        models.append({
            "task": source, "train_log_likelihood": -0.1, "train_error": 0.0,
            "test_error": float((dedicated[source] != test[source]).mean()),
            "n_train": len(a), "n_test": len(b), "n_unseen": 0, "epochs": 1, "seconds": 0.1, "device": "cpu",
            "undefined_because": None,
        })  # fmt: skip
    strings = {"undefined_because": pl.String}
    return assemble(train, test, targets, {
        "transfer": pl.DataFrame(transfer, schema_overrides=strings),
        "source_models": pl.DataFrame(models, schema_overrides=strings),
    })  # fmt: skip


@pytest.fixture(scope="session")
def digits() -> Tables:
    """The tables of a digits study with 29 tasks, measured by quick probes."""
    return make_digits()


@pytest.fixture(scope="session")
def digits_report(digits: Tables) -> Tables:
    """The same with the report's own tables."""
    return with_report_tables(digits, resamples=300)
