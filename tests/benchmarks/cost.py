"""What the paper's 437 source models would cost on one GPU: an estimate from counted FLOPs; no GPU is needed to ask.

``python tests/benchmarks/cost.py [--gpu H100] [--measured IMAGES_PER_SECOND --peak FLOPS]`` prints a Markdown table for
the recipes of the studies that ship, at 10, 20 and 30 % of the GPU's peak (ResNets train at these; small images at the
lower end). With a throughput measured on some device (MLflow's `images_per_second`) and that device's peak it prints
the share that was reached, for ResNet-18 at 64 pixels, and a line of the table for it.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from assets.models.cost import PEAK_FLOPS, Training, estimate_cost, measured_fraction  # noqa: E402
from assets.settings import NetworkSettings  # noqa: E402
from assets.study import Study, load_study  # noqa: E402
from pipelines.studies import SHIPPED  # noqa: E402

SIZES = {"celeba": (182_637, 202_599), "awa2": (33_568, 37_322), "cub": (5_994, 11_788)}  # train, all
FRACTIONS = (0.1, 0.2, 0.3)


def trainings(study: Study) -> list[Training]:
    """The source models of a study's binary tasks: the paper's 40, 85 and 312."""
    n_train, n_images = SIZES[study.name]
    only_source = set(study.dataset.source_only_tasks())
    tasks = [task for task in study.trained_sources if task not in only_source]
    return [Training(study.network(task), study.settings.recipe, 2, n_train, n_images) for task in tasks]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gpu", choices=list(PEAK_FLOPS), default="H100")
    parser.add_argument(
        "--measured", type=float, help="images per second of ResNet-18 at 64 px on some device"
    )
    parser.add_argument("--peak", type=float, help="that device's peak, FLOPs per second")
    given = parser.parse_args()
    fractions = list(FRACTIONS)
    if given.measured and given.peak:
        share = measured_fraction(given.measured, NetworkSettings(), 2, 64, peak_flops=given.peak)
        print(f"measured: {share:.1%} of the peak")
        fractions.append(share)
    studies = {name: load_study(SHIPPED / f"{name}.yaml", ROOT) for name in SIZES}
    groups = {name: trainings(study) for name, study in studies.items()}
    groups["all"] = [training for group in groups.values() for training in group]
    print(f"| study | models | px | epochs | FLOPs | {' | '.join(f'hours at {f:.0%}' for f in fractions)} |")
    print("|--" * (5 + len(fractions)) + "|")
    for name, group in groups.items():
        recipe = group[0].recipe
        estimates = [estimate_cost(group, gpu=given.gpu, fraction_of_peak=f) for f in fractions]
        flops = estimates[0].training_flops + estimates[0].evaluation_flops
        what = f"{recipe.image_size} | {recipe.epochs}" if name != "all" else " | "
        hours = " | ".join(f"{estimate.hours:.3g}" for estimate in estimates)
        print(f"| {name} | {len(group)} | {what} | {flops:.2e} | {hours} |")
    print(f"one {given.gpu}, {PEAK_FLOPS[given.gpu]:.3g} FLOPs per second; an estimate, not a measurement")


if __name__ == "__main__":
    main()
