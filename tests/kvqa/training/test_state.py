from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kvqa.errors import InputError
from kvqa.training import state
from kvqa.training.state import load_state, save_state, seed_epoch, settings_text, trainable


def _module() -> tuple[nn.Sequential, torch.optim.AdamW]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].weight.requires_grad_(False)
    return module, torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=0.1)


def _steps(module: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        module(torch.full((1, 3), step + 1.0)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_going_on_is_the_same_as_never_having_stopped(tmp_path: Path) -> None:
    straight, optimizer = _module()
    _steps(straight, optimizer, 2)
    _steps(straight, optimizer, 3)

    first, optimizer = _module()
    _steps(first, optimizer, 2)
    save_state(tmp_path / "a.state", first, optimizer, epoch=2, settings="s")
    second, optimizer = _module()
    assert load_state(tmp_path / "a.state", second, optimizer, settings="s") == 2
    _steps(second, optimizer, 3)
    for name, value in _weights(straight).items():
        torch.testing.assert_close(second.get_parameter(name), value, atol=0, rtol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.state"]


def test_without_a_state_nothing_is_loaded(tmp_path: Path) -> None:
    module, optimizer = _module()
    before = _weights(module)
    assert load_state(tmp_path / "none.state", module, optimizer, settings="s") == 0
    assert all(torch.equal(module.get_parameter(name), value) for name, value in before.items())


def test_weights_alone_can_be_kept(tmp_path: Path) -> None:
    module, optimizer = _module()
    _steps(module, optimizer, 1)
    save_state(tmp_path / "a.state", module, None, epoch=1, settings="s")
    other, fresh = _module()
    assert load_state(tmp_path / "a.state", other, fresh, settings="s") == 1
    assert all(torch.equal(other.get_parameter(name), value) for name, value in _weights(module).items())
    assert fresh.state_dict()["state"] == {}


def test_a_state_of_other_settings_is_refused(tmp_path: Path) -> None:
    module, optimizer = _module()
    save_state(tmp_path / "a.state", module, optimizer, epoch=1, settings=settings_text("lr", 0.1))
    before = _weights(module)
    with pytest.raises(InputError, match=r"a\.state was made with other settings or data; remove"):
        load_state(tmp_path / "a.state", module, optimizer, settings=settings_text("lr", 0.2))
    assert all(torch.equal(module.get_parameter(name), value) for name, value in before.items())


def test_interrupted_writing_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, optimizer = _module()
    _steps(module, optimizer, 1)
    old = _weights(module)
    save_state(tmp_path / "a.state", module, optimizer, epoch=1, settings="s")

    def cut_short(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    _steps(module, optimizer, 1)
    with monkeypatch.context() as patch:
        patch.setattr(state, "save_file", cut_short)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path / "a.state", module, optimizer, epoch=2, settings="s")
    again, optimizer = _module()
    assert load_state(tmp_path / "a.state", again, optimizer, settings="s") == 1
    assert all(torch.equal(again.get_parameter(name), value) for name, value in old.items())
    save_state(tmp_path / "a.state", module, optimizer, epoch=2, settings="s")  # over what the interruption left
    assert load_state(tmp_path / "a.state", again, optimizer, settings="s") == 2


def test_frozen_parameters_are_neither_named_nor_stored() -> None:
    module, _ = _module()
    assert list(trainable(module)) == ["0.bias", "1.weight", "1.bias"]


def test_each_epoch_of_each_stage_has_its_own_random_numbers() -> None:
    def drawn(*key: object) -> tuple[float, float]:
        numbers = seed_epoch(*key)  # type: ignore[arg-type]
        return numbers.random(), torch.rand(1).item()

    assert drawn(0, "encoder", 1) == drawn(0, "encoder", 1)
    others = [drawn(1, "encoder", 1), drawn(0, "fold-0", 1), drawn(0, "encoder", 2)]
    assert len({drawn(0, "encoder", 1), *others}) == 4


def test_settings_text_tells_settings_apart() -> None:
    assert settings_text(1, ["a"]) == settings_text(1, ["a"])
    assert len({settings_text(1, ["a"]), settings_text(2, ["a"]), settings_text(1, ["a", "b"])}) == 3
