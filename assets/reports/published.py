"""Table 1 of the paper as printed: accuracies on ten CelebA attributes. No computation."""

CELEBA_ATTRIBUTES = (
    "Male", "Bald", "Gray_Hair", "Mustache", "Double_Chin",
    "Attractive", "Wavy_Hair", "High_Cheekbones", "Smiling", "Mouth_Slightly_Open",
)  # fmt: skip
"""The table's columns by CelebA's names: the five most, the five least transferable from identity."""

CELEBA_METHODS: dict[str, tuple[float, ...]] = {
    "LNets+ANet 2015": (0.980, 0.980, 0.970, 0.950, 0.920, 0.810, 0.800, 0.870, 0.920, 0.920, 0.873),
    "Walk and Learn 2016": (0.960, 0.920, 0.950, 0.900, 0.930, 0.840, 0.850, 0.950, 0.980, 0.970, 0.887),
    "MOON 2016": (0.981, 0.988, 0.981, 0.968, 0.963, 0.817, 0.825, 0.870, 0.926, 0.935, 0.909),
    "LMLE 2016": (0.990, 0.900, 0.910, 0.730, 0.740, 0.880, 0.830, 0.920, 0.990, 0.960, 0.838),
    "CR-I 2017": (0.960, 0.970, 0.950, 0.940, 0.890, 0.830, 0.790, 0.890, 0.930, 0.950, 0.866),
    "MCNN-AUX 2017": (0.982, 0.989, 0.982, 0.969, 0.963, 0.831, 0.839, 0.876, 0.927, 0.937, 0.913),
    "DMTL 2018": (0.980, 0.990, 0.960, 0.970, 0.990, 0.850, 0.870, 0.880, 0.940, 0.940, 0.926),
    "Face-SSD 2019": (0.973, 0.986, 0.976, 0.960, 0.960, 0.813, 0.851, 0.868, 0.918, 0.919, 0.903),
}
"""Rows 1 to 8: accuracy on each attribute, and last the average over all 40."""

PAPER_ROWS: dict[str, tuple[float | None, ...]] = {
    "conditional_entropy": (0.017, 0.026, 0.052, 0.062, 0.083, 0.361, 0.381, 0.476, 0.521, 0.551, None),
    "dedicated_accuracy": (0.985, 0.990, 0.980, 0.968, 0.959, 0.823, 0.842, 0.878, 0.933, 0.943, 0.911),
    "transferred_accuracy": (0.992, 0.991, 0.981, 0.968, 0.963, 0.820, 0.800, 0.859, 0.909, 0.901, 0.902),
}
"""Rows 9 to 11: the paper's own CE in nats (over all images) and accuracies."""
