"""Which tasks are alike by their labels: distances, the order of a dendrogram, a map of two dimensions."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform

from assets.reports.association import Array


@dataclass(frozen=True)
class Clustering:
    """An order of tasks in which alike ones stand together.

    Attributes:
        names: the tasks in the order of the dendrogram's leaves.
        segments: (K, 4, 2), K links of the dendrogram, each four (leaf position, distance) points; leaf i is
            at i.
    """

    names: list[str]
    segments: Array


@dataclass(frozen=True)
class TaskMap:
    """Tasks in the plane; `explained` is the share of the squared distances that the plane shows."""

    names: list[str]
    points: Array
    explained: float


def task_distances(conditional_entropy: pl.DataFrame, split: str) -> tuple[list[str], Array]:
    """Normalised variation of information, (H(Y|Z) + H(Z|Y)) / H(Y, Z), between tasks.

    It is a metric from 0 (each determines the other) to 1 (independent), the same both ways, and needs no
    more than the row of one direction: H(Z|Y) = H(Y, Z) − H(Y). Two constant tasks are at distance 0; a pair
    that was never counted (two tasks that are sources only) or never labelled together is taken as
    independent.

    Args:
        conditional_entropy: the table of that name, with `joint_entropy`.
        split: which rows to take.

    Returns:
        The tasks, sources first as they come, and the (T, T) distances.
    """
    rows = conditional_entropy.filter(pl.col("split") == split)
    names = list(dict.fromkeys([*rows["source"], *rows["target"]]))
    place = {name: i for i, name in enumerate(names)}
    distances = np.ones((len(names), len(names)))
    np.fill_diagonal(distances, 0.0)
    if "joint_entropy" not in rows.columns:
        return names, distances
    known = rows.drop_nulls(["conditional_entropy", "joint_entropy", "target_entropy"])
    s = np.array([place[name] for name in known["source"]], dtype=np.intp)
    t = np.array([place[name] for name in known["target"]], dtype=np.intp)
    h, joint, h_y = (
        known[name].to_numpy() for name in ("conditional_entropy", "joint_entropy", "target_entropy")
    )
    ratio = np.divide(h + joint - h_y, joint, out=np.zeros(len(known)), where=joint > 1e-12)
    distances[s, t] = np.clip(ratio, 0.0, 1.0)
    return names, np.minimum(distances, distances.T)


def cluster_tasks(names: list[str], distances: Array) -> Clustering:
    """Average-linkage clustering with leaves ordered so that neighbours are as alike as can be.

    Args:
        names: the T tasks.
        distances: (T, T), symmetric, 0 on the diagonal.
    """
    if len(names) < 3:
        return Clustering(names=list(names), segments=np.zeros((0, 4, 2)))
    condensed = squareform(distances, checks=False)
    links = hierarchy.linkage(condensed, method="average", optimal_ordering=True)
    tree = hierarchy.dendrogram(links, no_plot=True)
    # SciPy sets leaf i at 10 i + 5.
    x, y = (np.asarray(tree["icoord"]) - 5) / 10, np.asarray(tree["dcoord"])
    return Clustering(
        names=[names[i] for i in hierarchy.leaves_list(links)], segments=np.stack([x, y], axis=2)
    )


def map_tasks(names: list[str], distances: Array) -> TaskMap | None:
    """Classical multidimensional scaling to two dimensions; None for fewer than three distinct tasks.

    Args:
        names: the T tasks.
        distances: (T, T), symmetric, 0 on the diagonal.
    """
    n = len(names)
    if n < 3:
        return None
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * centring @ distances**2 @ centring)
    top = np.clip(values[[-1, -2]], 0, None)
    positive = values[values > 0].sum()
    if top[1] <= 1e-12 * max(positive, 1e-300):
        return None
    points = vectors[:, [-1, -2]] * np.sqrt(top)
    # Eigenvectors have no sign of their own: the first task that is off an axis lies on its positive side.
    points = points * np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)
    return TaskMap(names=list(names), points=points, explained=float(top.sum() / positive))
