"""A source model back from the MLflow run that made it, by its safetensors; nothing is unpickled, nothing trained."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from assets.materialize import MODEL_FOLDER
from resources.errors import StoreError
from resources.home import Home
from resources.store import file_hash, read_manifest
from resources.tracking import Tracking

if TYPE_CHECKING:
    from assets.models.networks import SourceNetwork


def load_from_run(run_id: str, *, tracking: Tracking | None = None) -> "SourceNetwork":
    """The source model that an MLflow run made, in evaluation mode, on the CPU.

    Args:
        run_id: the run of a `source_model` materialization, as MLflow's page shows it.
        tracking: where to look; None: the store or server that the environment names.

    Raises:
        StoreError: if the run is not there, keeps no model, or its bytes are not those of its manifest.
    """
    from assets.models.weights import load_source_model  # torch loads only here

    with TemporaryDirectory(prefix="transferability-") as place:
        folder = (tracking or Home.default().tracking).fetch(run_id, MODEL_FOLDER, Path(place))
        weights, manifest = _only(folder, "*.safetensors", run_id), _only(folder, "*.manifest.json", run_id)
        known = read_manifest(manifest)
        files = known.files if known else {}
        expected = [facts["sha256"] for name, facts in files.items() if Path(name).name == weights.name]
        if expected != [file_hash(weights)]:
            raise StoreError(
                f"MLflow run {run_id}: {weights.name} is not what its manifest says; train it again"
            )
        return load_source_model(weights)


def _only(folder: Path, pattern: str, run_id: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise StoreError(f"MLflow run {run_id}: keeps {len(found)} files like {pattern}, not one")
    return found[0]
