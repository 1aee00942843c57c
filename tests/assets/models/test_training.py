"""Training gives the same weights each time, also after interruptions, and measures what it says it measures."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from assets.models.batches import Pixels
from assets.models.evaluation import embed_all
from assets.models.networks import SourceNetwork, normalise
from assets.models.training import EpochRecord, not_trainable_because, train_source_model
from assets.models.weights import save_source_model
from assets.settings import NetworkSettings, Recipe
from resources.errors import ComputeError, DataError

RESNET = NetworkSettings()
SMALL = NetworkSettings(backbone="shufflenet_v2_x0_5")
TINY = Recipe(
    image_size=8, epochs=2, batch_size=16, learning_rate=0.02, precision="float32", augmentation="flip+crop"
)


@pytest.fixture(scope="module")
def study() -> tuple[np.ndarray, ...]:
    """48 images of 8 pixels whose brightness tells the class, with two labels missing; 32 train, 16 test."""
    rng = np.random.default_rng(5)
    labels = np.arange(48) % 3
    pixels = (
        rng.integers(0, 80, (48, 8, 8, 3), dtype=np.uint8)
        + (labels * 80).astype(np.uint8)[:, None, None, None]
    )
    labels[[4, 40]] = -1
    is_train = np.arange(48) < 32
    return pixels, labels, is_train, ~is_train


@pytest.fixture(scope="module")
def trained(study):
    return train_source_model(*study, TINY, SMALL, device="cpu")


def state(network: SourceNetwork) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in network.state_dict().items()}


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(study, trained):
    again = train_source_model(*study, TINY, SMALL, device="cpu")
    assert state(again.network) == state(trained.network)
    assert again.log_p_z.equals(trained.log_p_z)
    other = train_source_model(*study, TINY.model_copy(update={"seed": 1, "epochs": 1}), SMALL, device="cpu")
    assert state(other.network) != state(trained.network)


def test_streamed_pixels_give_the_same_weights_as_resident_ones(study, trained, tmp_path):
    np.save(tmp_path / "pixels.npy", study[0])
    on_disk = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    streamed = train_source_model(on_disk, *study[1:], TINY, SMALL, device="cpu", resident=False)
    assert state(streamed.network) == state(trained.network)


@pytest.mark.parametrize(("optimiser", "network"), [("sgd", RESNET), ("adamw", SMALL)])
def test_a_training_interrupted_after_any_epoch_ends_with_the_weights_of_an_undisturbed_one(
    study, tmp_path, optimiser, network
):
    recipe = TINY.model_copy(update={"epochs": 3, "optimiser": optimiser})
    checkpoint = tmp_path / "checkpoint"
    undisturbed = train_source_model(*study, recipe, network, device="cpu")

    def interrupt(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    for finished in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            train_source_model(
                *study, recipe, network, device="cpu", checkpoint=checkpoint, on_epoch=interrupt
            )
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"], finished
    seen: list[int] = []
    earlier: list[EpochRecord] = []
    resumed = train_source_model(
        *study,
        recipe,
        network,
        device="cpu",
        checkpoint=checkpoint,
        on_epoch=lambda record: seen.append(record.epoch),
        on_resume=earlier.append,
    )
    assert seen == [3]
    assert earlier == resumed.history[:2]
    assert [record.epoch for record in resumed.history] == [1, 2, 3]
    assert state(resumed.network) == state(undisturbed.network)


def test_dropout_is_resumed_too(study, tmp_path):
    network = NetworkSettings(backbone="mobilenet_v3_small")
    undisturbed = train_source_model(*study, TINY, network, device="cpu")
    one = TINY.model_copy(update={"schedule": "constant"})

    def interrupt(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_source_model(*study, TINY, network, device="cpu", checkpoint=tmp_path / "c", on_epoch=interrupt)
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    resumed = train_source_model(*study, TINY, network, device="cpu", checkpoint=tmp_path / "c")
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's random state was touched"
    assert state(resumed.network) == state(undisturbed.network)
    other = train_source_model(*study, one, network, device="cpu", checkpoint=tmp_path / "c")
    assert [record.epoch for record in other.history] == [1, 2], "a checkpoint of another recipe was used"
    assert state(other.network) != state(undisturbed.network)


def test_a_damaged_checkpoint_is_passed_over(study, trained, tmp_path):
    (tmp_path / "c").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    again = train_source_model(*study, TINY, SMALL, device="cpu", checkpoint=tmp_path / "c")
    assert state(again.network) == state(trained.network)


def test_rows_without_a_label_do_not_take_part(study, trained):
    pixels, labels, is_train, is_test = study
    changed = pixels.copy()
    changed[4] = 255 - changed[4]
    again = train_source_model(changed, labels, is_train, is_test, TINY, SMALL, device="cpu")
    assert state(again.network) == state(trained.network)
    assert (trained.n_train, trained.n_test, trained.n_unseen) == (31, 15, 0)
    assert trained.log_p_z.is_null().arg_true().to_list() == [4, 40]


def test_measures_equal_an_independent_computation(study, trained):
    pixels, labels, is_train, is_test = study
    network = trained.network
    with torch.no_grad():
        embedding = network.embed(normalise(torch.from_numpy(pixels))).numpy()
    logits = embedding @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    own = np.array([log_p[i, label] if label >= 0 else np.nan for i, label in enumerate(labels)])
    np.testing.assert_allclose(trained.log_p_z.to_numpy(), own, atol=1e-4)
    train, test = is_train & (labels >= 0), is_test & (labels >= 0)
    assert trained.train_log_likelihood == pytest.approx(own[train].mean(), abs=1e-4)
    assert trained.train_error == pytest.approx((log_p.argmax(1) != labels)[train].mean())
    assert trained.test_error == pytest.approx((log_p.argmax(1) != labels)[test].mean())
    assert not network.training


def test_the_loss_falls_and_the_history_says_so(study):
    recipe = Recipe(image_size=8, epochs=4, batch_size=16, learning_rate=0.02)
    told: list[EpochRecord] = []
    result = train_source_model(*study, recipe, RESNET, device="cpu", on_epoch=told.append)
    assert told == result.history
    assert result.history[-1].loss < 0.5 * result.history[0].loss
    assert result.history[-1].learning_rate < result.history[0].learning_rate < 0.02
    assert result.history[-1].train_accuracy > 0.8
    assert all(record.images_per_second * record.seconds == pytest.approx(31) for record in result.history)


def test_classes_are_the_codes_seen_in_train(study):
    pixels, labels, is_train, is_test = study
    codes = np.array([7, 2, 11, -1])[labels]
    result = train_source_model(
        pixels, codes, is_train, is_test, TINY.model_copy(update={"epochs": 1}), SMALL, device="cpu"
    )
    assert result.classes.tolist() == [2, 7, 11]
    assert result.network.classes.tolist() == [2, 7, 11]
    assert result.test_error is not None


def test_test_values_that_train_never_showed_leave_the_error_undefined(study):
    pixels, labels, is_train, is_test = study
    codes = labels.copy()
    codes[[45, 46]] = 8
    result = train_source_model(
        pixels, codes, is_train, is_test, TINY.model_copy(update={"epochs": 1}), SMALL, device="cpu"
    )
    assert (result.test_error, result.n_unseen, result.n_test) == (None, 2, 15)
    assert result.undefined_because == "2 of 15 test rows hold 1 values that train never showed"
    assert result.log_p_z.is_null().arg_true().to_list() == [4, 40, 45, 46]
    assert result.train_error is not None


def test_without_labelled_test_rows_the_error_is_undefined(study):
    pixels, labels, is_train, _ = study
    recipe = TINY.model_copy(update={"epochs": 1})
    result = train_source_model(pixels, labels, is_train, np.zeros(48, bool), recipe, SMALL, device="cpu")
    assert (result.test_error, result.undefined_because) == (None, "no test row has a label")


def test_a_constant_task_is_not_trainable(study):
    pixels, labels, is_train, is_test = study
    constant = np.where(is_train, 1, labels)
    assert not_trainable_because(constant, is_train) == "the task is constant in train (always 1)"
    assert not_trainable_because(np.full(48, -1), is_train) == "no train row has a label"
    assert not_trainable_because(labels, is_train) is None
    with pytest.raises(ComputeError, match="not trainable: the task is constant in train"):
        train_source_model(pixels, constant, is_train, is_test, TINY, SMALL, device="cpu")


def test_a_loss_that_is_not_a_number_names_step_and_rate_and_keeps_earlier_epochs(study, tmp_path):
    recipe = TINY.model_copy(update={"epochs": 2})
    checkpoint = tmp_path / "c"

    def interrupt(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_source_model(*study, recipe, SMALL, device="cpu", checkpoint=checkpoint, on_epoch=interrupt)
    kept = checkpoint.read_bytes()
    hot = TINY.model_copy(update={"learning_rate": 1e20})
    with pytest.raises(
        ComputeError, match=r"loss is not a number at step 2 \(epoch 1, learning rate 8.*e\+19\)"
    ):
        train_source_model(*study, hot, SMALL, device="cpu", checkpoint=checkpoint)
    assert checkpoint.read_bytes() == kept


def test_class_weights_and_smoothing_change_the_training(study):
    one = TINY.model_copy(update={"epochs": 1})
    unbalanced = np.where(np.arange(48) % 4 == 0, 1, 0)
    pixels, _, is_train, is_test = study
    runs = [
        train_source_model(
            pixels, unbalanced, is_train, is_test, one.model_copy(update=change), SMALL, device="cpu"
        )
        for change in ({}, {"class_weights": "balanced"}, {"label_smoothing": 0.1})
    ]
    assert len({run.history[0].loss for run in runs}) == 3


def test_bfloat16_trains_and_is_evaluated_in_float32(study):
    recipe = TINY.model_copy(update={"precision": "bfloat16", "epochs": 1})
    result = train_source_model(*study, recipe, SMALL, device="cpu")
    assert result.precision == "bfloat16"
    received: list[torch.Tensor] = []
    embed_all(result.network, Pixels(study[0], device="cpu"), lambda _, block: received.append(block))
    assert received[0].dtype == torch.float32


def test_arrays_that_do_not_fit_together_are_refused(study):
    pixels, labels, is_train, is_test = study
    with pytest.raises(DataError, match="differ in length"):
        train_source_model(pixels[:5], labels, is_train, is_test, TINY, SMALL, device="cpu")
    with pytest.raises(DataError, match="image 0 is in train and in test"):
        train_source_model(pixels, labels, is_train, is_train, TINY, SMALL, device="cpu")
    with pytest.raises(DataError, match="must be"):
        train_source_model(pixels[:, :, :, :1], labels, is_train, is_test, TINY, SMALL, device="cpu")


KILLED = """
import sys
from pathlib import Path
import numpy as np
import torch
from assets.models.training import train_source_model
from assets.models.weights import save_source_model
from assets.settings import NetworkSettings, Recipe
torch.set_num_threads(1)
folder = Path(sys.argv[1])
data = np.load(folder / "study.npz")
recipe = Recipe.model_validate_json((folder / "recipe.json").read_text())
trained = train_source_model(
    data["pixels"], data["labels"], data["is_train"], data["is_test"], recipe, NetworkSettings(), device="cpu",
    checkpoint=Path(sys.argv[2]), on_epoch=lambda record: print(record.epoch, flush=True),
)
save_source_model(trained, Path(sys.argv[3]))
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_no_byte_of_the_weights(study, tmp_path):
    recipe = TINY.model_copy(update={"epochs": 6})
    np.savez(tmp_path / "study.npz", pixels=study[0], labels=study[1], is_train=study[2], is_test=study[3])
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())

    def start(name: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-c",
            KILLED,
            tmp_path,
            tmp_path / f"{name}.checkpoint",
            tmp_path / f"{name}.st",
        ]
        root = Path(__file__).parents[3]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env={**os.environ})

    assert start("undisturbed").wait(240) == 0
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = start("killed")
        assert process.stdout is not None
        process.stdout.readline()  # one more epoch is done; then at some moment of the next
        time.sleep(rng.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start("killed").wait(240) == 0
    assert (tmp_path / "killed.st").read_bytes() == (tmp_path / "undisturbed.st").read_bytes()


@pytest.mark.slow
def test_a_compiled_network_trains_like_an_uncompiled_one(study, tmp_path):
    one = TINY.model_copy(update={"epochs": 1})
    plain = train_source_model(*study, one, RESNET, device="cpu")
    compiled = train_source_model(*study, one.model_copy(update={"compile": "yes"}), RESNET, device="cpu")
    assert compiled.history[0].loss == pytest.approx(plain.history[0].loss, rel=0.05)
    save_source_model(compiled, tmp_path / "compiled.safetensors")
