"""Statistics of the labels alone: counts, conditional entropy and hardness (§3.2 and §4 of the paper)."""

from assets.statistics.from_labels import LabelStatistics, label_statistics
from assets.statistics.ranking import best_sources
from assets.statistics.several_sources import joint_conditional_entropy
from assets.statistics.uncertainty import label_uncertainty

__all__ = [
    "LabelStatistics",
    "best_sources",
    "joint_conditional_entropy",
    "label_statistics",
    "label_uncertainty",
]
