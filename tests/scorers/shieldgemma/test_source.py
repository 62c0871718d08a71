"""A model that cannot be used says in one message what to do about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from httpx import Request, Response
from huggingface_hub import errors
from safetensors.torch import load_file, save_file

from gemma_guard.errors import ConfigError
from gemma_guard.scorers.shieldgemma.model import load
from gemma_guard.scorers.shieldgemma.source import Source


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def test_a_folder_is_read_where_it_is(model_folder: Path) -> None:
    source = Source(str(model_folder))
    assert source.words() == source.weights() == model_folder
    assert source.config()["max_position_embeddings"] == 8192


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ConfigError, match=name.removeprefix("model").replace(".", r"\.")):
        Source(str(copy)).weights()


def test_pickled_weights_are_never_read(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights are never read"):
        Source(str(copy)).weights()


def test_another_architecture_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="'llama'; ShieldGemma is a 'gemma2'"):
        Source(str(copy)).config()


def test_the_fingerprint_follows_every_file(copy: Path) -> None:
    before = Source(str(copy)).fingerprint()
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 0.5
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    changed = Source(str(copy)).fingerprint()
    assert changed != before
    (copy / "tokenizer.json").write_text("{}")
    assert Source(str(copy)).fingerprint() not in {before, changed}


def cut_off(folder: Path) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def lost_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layers.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 128}))


def uncapped(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"final_logit_softcapping": None}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut_off, "cannot be read"),
        (lost_a_layer, "weights are missing"),
        (other_shape, "cannot be read"),
        (uncapped, "no softcaps"),
    ],
)
def test_bad_weights_are_refused_not_made_up(
    copy: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(copy)
    with pytest.raises(ConfigError, match=f"copy: .*{said}"):
        load(str(copy), answers=(200, 300))


def hub_error(kind: type[Exception]) -> Exception:
    if issubclass(kind, errors.HfHubHTTPError):
        answer = Response(403, request=Request("GET", "https://huggingface.co"))
        return kind("no", response=answer)
    return kind("no")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.GatedRepoError, "click on https://huggingface.co/google/shieldgemma-9b, then run"),
        (errors.RepositoryNotFoundError, "hf auth login"),
        (errors.RevisionNotFoundError, "no revision 'v9'"),
        (errors.LocalEntryNotFoundError, "hf download google/shieldgemma-9b"),
        (ConnectionError, "hf download google/shieldgemma-9b"),
    ],
)
def test_a_model_the_hub_withholds_says_what_to_click_and_run(
    kind: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_given: object, **_options: object) -> str:
        raise hub_error(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)  # there is no hub here
    with pytest.raises(ConfigError, match="google/shieldgemma-9b: ") as refused:
        Source("google/shieldgemma-9b", "v9").words()
    assert said in str(refused.value)


def test_a_model_that_is_not_here_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="run: hf download google/shieldgemma-2b"):
        Source("google/shieldgemma-2b").words()
