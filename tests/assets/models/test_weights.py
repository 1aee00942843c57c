"""Source models on disk: the round trip, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from assets.models.networks import build_network
from assets.models.weights import load_source_model, save_source_model, start_from
from assets.settings import NetworkSettings
from resources.errors import StoreError

SMALL = NetworkSettings(backbone="shufflenet_v2_x0_5")
COSFACE = NetworkSettings(backbone="shufflenet_v2_x0_5", head="cosface", margin=0.3)


@pytest.fixture
def network():
    made = build_network(SMALL, 3, seed=7, image_size=8).eval()
    made.classes.copy_(torch.tensor([2, 5, 9]))
    return made


@pytest.mark.parametrize("settings", [SMALL, COSFACE])
def test_a_model_comes_back_as_it_was(settings, tmp_path):
    network = build_network(settings, 3, seed=7, image_size=8).eval()
    network.classes.copy_(torch.tensor([2, 5, 9]))
    save_source_model(network, tmp_path / "m.safetensors")
    again = load_source_model(tmp_path / "m.safetensors", network=settings, classes=np.array([2, 5, 9]))
    assert again.settings == settings
    assert again.classes.tolist() == [2, 5, 9]
    assert (again.image_size, again.training) == (8, False)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))
    save_source_model(again, tmp_path / "n.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == (tmp_path / "n.safetensors").read_bytes()


def test_the_file_is_plain_safetensors(network, tmp_path):
    save_source_model(network, tmp_path / "m.safetensors")
    stored = load_file(tmp_path / "m.safetensors")
    assert stored.keys() == network.state_dict().keys()
    assert torch.equal(stored["head.weight"], network.head.weight)


def test_a_model_that_is_not_the_one_asked_for_is_refused(network, tmp_path):
    path = tmp_path / "m.safetensors"
    save_source_model(network, path)
    with pytest.raises(StoreError, match=r"made with another head and margin than the study asks for"):
        load_source_model(path, network=COSFACE)
    with pytest.raises(StoreError, match="other label values"):
        load_source_model(path, classes=np.array([0, 1, 2]))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="truncated"):
        load_source_model(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(StoreError, match="not a source model"):
        load_source_model(path)


def test_a_tensor_too_few_or_of_another_shape_is_refused(network, tmp_path):
    path = tmp_path / "m.safetensors"
    save_source_model(network, path)
    tensors = load_file(path)
    metadata = {
        "format": "1", "network": SMALL.model_dump_json(), "image_size": "8", "n_classes": "3",
    }  # fmt: skip
    bias = tensors.pop("head.bias")
    save_file(tensors, path, metadata)
    with pytest.raises(StoreError, match=r"does not match shufflenet_v2_x0_5: lacks 'head\.bias'"):
        load_source_model(path)
    save_file(tensors | {"head.bias": bias[:2]}, path, metadata)
    with pytest.raises(StoreError, match=r"has another shape of 'head\.bias'"):
        load_source_model(path)
    save_file(tensors | {"head.bias": bias}, path, metadata | {"format": "99"})
    with pytest.raises(StoreError, match="format 99"):
        load_source_model(path)


def test_training_starts_from_a_users_weights_of_each_kind(network, tmp_path):
    given = {name: tensor.contiguous() for name, tensor in network.backbone.state_dict().items()}
    torch.save(given, tmp_path / "a.pth")
    torch.save({"state_dict": given}, tmp_path / "b.pt")
    save_file(given, tmp_path / "c.safetensors")
    save_source_model(network, tmp_path / "d.safetensors")
    for name in ("a.pth", "b.pt", "c.safetensors", "d.safetensors"):
        fresh = start_from(build_network(SMALL, 2, seed=0), str(tmp_path / name))
        assert all(torch.equal(tensor, given[key]) for key, tensor in fresh.backbone.state_dict().items()), (
            name
        )


def test_the_file_names_no_folder_of_the_weights_it_started_from(tmp_path):
    started = SMALL.model_copy(update={"weights": str(tmp_path / "w.pth")})
    save_source_model(build_network(started, 2, seed=0), tmp_path / "net.safetensors")
    assert str(tmp_path).encode() not in (tmp_path / "net.safetensors").read_bytes()
    elsewhere = SMALL.model_copy(update={"weights": "/elsewhere/w.pth"})
    assert load_source_model(tmp_path / "net.safetensors", network=elsewhere).settings.weights == "w.pth"


class Surprise:
    """What an attacker would pickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("executed",))


def test_pickled_code_is_not_run(tmp_path, capsys):
    fresh = build_network(SMALL, 2, seed=0)
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Surprise(), protocol=2))
    torch.save({"weight": Surprise()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(StoreError, match=f"{name}: is not a file of tensors alone") as caught:
            start_from(fresh, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_weights_of_another_backbone_are_refused(network, tmp_path):
    given = {name: tensor.contiguous() for name, tensor in network.backbone.state_dict().items()}
    save_file(given, tmp_path / "w.safetensors")
    other = build_network(NetworkSettings(backbone="shufflenet_v2_x1_0"), 2, seed=0)
    with pytest.raises(StoreError, match=r"does not fit shufflenet_v2_x1_0: '.*' is \(.*\), not \(.*\)"):
        start_from(other, str(tmp_path / "w.safetensors"))
    with pytest.raises(StoreError, match="lacks"):
        start_from(build_network(NetworkSettings(), 2, seed=0), str(tmp_path / "w.safetensors"))
    with pytest.raises(StoreError, match="cannot be read"):
        start_from(other, str(tmp_path / "absent.pth"))
