"""Statistics of the labels alone: counts, conditional entropy and hardness (§3.2 and §4 of the paper)."""

from assets.statistics.from_labels import LabelStatistics, label_statistics

__all__ = ["LabelStatistics", "label_statistics"]
