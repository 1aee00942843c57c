"""What the report's page says of how its numbers came about, gathered from the study and the manifests."""

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import polars as pl

from assets.checks import TableReader
from assets.labels.assets import LABEL_TABLE, LABELS, pixels_of
from assets.labels.checks import CHECKS
from assets.models.assets import EMBEDDING, SOURCE_MODEL
from assets.probes.assets import BOUND, TRANSFER
from assets.reports.correlations import BOOTSTRAP_SEED, RESAMPLES
from assets.reports.facts import StudyFacts
from assets.stage import Stage
from assets.study import Study
from resources.datasets import reader_options
from resources.home import Home

_TIMED: Sequence[Stage] = (LABELS, SOURCE_MODEL, EMBEDDING, TRANSFER, BOUND)
_LIBRARIES = ("dagster", "duckdb", "mlflow", "numpy", "polars", "scipy", "torch", "torchvision")


def study_facts(
    study: Study, home: Home, labels: pl.DataFrame, models: pl.DataFrame | None, link: str | None
) -> StudyFacts:
    """The facts of a study as it stands.

    Args:
        study: the study.
        home: the home folder, for the manifests.
        labels: the label table, for its numbers of rows.
        models: the source models' table, if any was trained.
        link: the MLflow run that the page belongs to, if tracked.
    """
    settings = study.settings
    split = labels["split"]
    devices = models["device"].drop_nulls().unique().sort().to_list() if models is not None else []
    trained = models is not None
    recipe: dict[str, object] = {}
    if trained:
        recipe = {
            "network": f"{settings.network.backbone}, {settings.network.head} head",
            **settings.recipe.model_dump(mode="json"),
            **{f"probe {key}": value for key, value in settings.probe.model_dump(mode="json").items()},
        }
    readable = _readable(study, home, split) if trained else {}
    return StudyFacts(
        study=study.name,
        title=study.title,
        description=settings.description,
        n_images=len(labels),
        n_train=int((split == "train").sum()),
        n_test=int((split == "test").sum()),
        n_readable=readable,
        split_rule=_split_rule(study),
        seeds=_seeds(study, trained=trained),
        resamples=_resamples(study, trained=trained),
        recipe=recipe,
        versions={name: version(name) for name in _LIBRARIES},
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        device=", ".join(devices),
        seconds=_seconds(study, home),
        warnings=_warnings(study, home),
        links={"MLflow run": link} if link else {},
    )


def _warnings(study: Study, home: Home) -> list[str]:
    """What the checks of the label table found worth a warning, as Dagster shows it; what fails stops a run."""
    if home.store.manifest(study.name, LABEL_TABLE.name, None) is None:
        return []
    read = TableReader(study, home)
    found = [(check, check.look(study, read)) for check in CHECKS]
    return [
        f"{finding.text[0].upper()}{finding.text[1:]}. Expected: {check.description[0].lower()}{check.description[1:]}."
        for check, finding in found
        if not finding.passed and finding.warning
    ]


def _readable(study: Study, home: Home, split: pl.Series) -> dict[str, int]:
    """How many images of each split could be read, where some could not; empty otherwise."""
    cache = pixels_of(study, home)
    if cache is None or not cache.unreadable:
        return {}
    return {name: int(((split == name).to_numpy() & cache.readable).sum()) for name in ("train", "test")}


def _split_rule(study: Study) -> str:
    """How the split came about, with the share of test; its seed stands among the seeds."""
    options = _options(study)
    published = {
        "celeba": "official partition: 0 and 1 are train, 2 is test",
        "cub": "official split of train_test_split.txt",
    }
    if rule := published.get(study.settings.dataset.reader):
        return rule
    if options.get("split_column"):
        return f"as column “{options['split_column']}” of the table says"
    stratum = {"digits": "digit", "awa2": "class"}.get(study.settings.dataset.reader)
    share, by = f"{100 * options['test_fraction']:g} %", stratum or options.get("stratify_by")
    key = "path" if study.dataset.image_root() is not None else "number"
    hashed = f"chosen by a seeded hash of each image's {key}"
    if by:
        return f"{share} of the images of each {by} are test, {hashed}"
    if group := options.get("group_by"):
        return f"{share} are test, chosen by a seeded hash of {group}, so that each stays on one side"
    return f"{share} are test, {hashed}"


def _options(study: Study) -> dict[str, Any]:
    """The reader's options as they apply, those that the study leaves out included."""
    dataset = study.settings.dataset
    return reader_options(dataset.reader).model_validate(dict(dataset.options)).model_dump()


def _seeds(study: Study, *, trained: bool) -> dict[str, int]:
    options = _options(study)
    seeds = {}
    if "seed" in options and not options.get("split_column"):
        seeds["split"] = int(options["seed"])
    seeds["shuffled labels"] = study.settings.uncertainty.seed
    if trained:
        seeds |= {"training": study.settings.recipe.seed, "bootstrap over tasks": BOOTSTRAP_SEED}
    return seeds


def _resamples(study: Study, *, trained: bool) -> dict[str, int]:
    resamples = {"shuffles of the source's labels": study.settings.uncertainty.permutations}
    return resamples | ({"bootstrap resamples of tasks": RESAMPLES} if trained else {})


def _seconds(study: Study, home: Home) -> dict[str, float]:
    seconds = {}
    for stage in _TIMED:
        manifests = [home.store.manifest(study.name, stage.name, p) for p in stage.outputs(study)]
        taken = [float(m.recorded.get("seconds", 0.0)) for m in manifests if m is not None]
        if taken:
            seconds[stage.name] = round(sum(taken), 1)
    return seconds
