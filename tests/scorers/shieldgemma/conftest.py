"""Small Gemma 2 models, a small tokenizer with Gemma 2's control tokens, and the real one."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import Gemma2Config, Gemma2ForCausalLM

from gemma_guard.packs import default
from gemma_guard.policy import Policy
from gemma_guard.prompt import TEMPLATES
from gemma_guard.scorers.shieldgemma import ShieldGemma
from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.tokens import tokenizer_for_text
from gemma_guard.verdict import Stage

CONTROLS = ("<pad>", "<eos>", "<bos>", "<unk>")
UNFLAGGED = ("<mask>", "<2mass>", "[@BOS@]", *(f"<unused{i}>" for i in range(99)))
TURNS = ("<start_of_turn>", "<end_of_turn>")
LINES = tuple("\n" * count for count in range(1, 32))
WORDS = (
    "Yes No ▁hello ▁Question ▁Response Human Chatbot ▁the ▁principle ▁a ▁prompt ing ▁step ▁▁ ▁▁▁"
)


@pytest.fixture(scope="session")
def policies() -> tuple[Policy, ...]:
    return default().policies


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 2's in everything but its merges: ids of control tokens, byte fallback, newlines."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(json.dumps(small()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def real_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 2's tokenizer.json: GEMMA2_TOKENIZER, or ../shared beside a checkout."""
    beside = (
        up / "shared/data/gemma2-tokenizer/tokenizer.json.gz" for up in Path(__file__).parents
    )
    named = os.environ.get("GEMMA2_TOKENIZER")
    packed = next((p for p in (Path(named),) if p.exists()), None) if named else None
    packed = packed or next((p for p in beside if p.exists()), None)
    if packed is None:
        pytest.skip("the tokenizer of Gemma 2 is not at hand: set GEMMA2_TOKENIZER to its file")
    if packed.suffix != ".gz":
        return packed
    path = tmp_path_factory.mktemp("gemma2") / "tokenizer.json"
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    return path


@pytest.fixture(scope="session", params=["small", "real"])
def tokenizer_file(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(f"{request.param}_tokenizer")
    return found


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> Tokenizer:
    return tokenizer_for_text(tokenizer_file)


@pytest.fixture(scope="session")
def plain(tokenizer_file: Path) -> Tokenizer:
    """The tokenizer as published: in a text it sees control tokens."""
    return Tokenizer.from_file(str(tokenizer_file))


def small() -> dict[str, Any]:
    added = (*CONTROLS, *UNFLAGGED, *TURNS, *LINES, "[toxicity=0]", "<unused99>")
    vocab = dict.fromkeys(added)
    vocab |= dict.fromkeys(f"<0x{byte:02X}>" for byte in range(256))
    vocab |= dict.fromkeys(sorted(letters()))
    merges: list[tuple[str, str]] = []
    for word in WORDS.split():
        for at in range(1, len(word)):
            merges.append((word[:at], word[at]))
            vocab[word[: at + 1]] = None
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": i,
                "content": content,
                "special": content in (*CONTROLS, *TURNS),
                "normalized": False,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
            }
            for i, content in enumerate(added)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "BPE",
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "dropout": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "vocab": {token: i for i, token in enumerate(vocab)},
            "merges": list(dict.fromkeys(merges)),
        },
    }


def letters() -> Iterator[str]:
    """Every letter of the templates, and the ASCII ones."""
    yield from (chr(code) for code in range(33, 127))
    yield "▁"
    for template in TEMPLATES.values():
        for stage in template.forms:
            yield from set(template.render(stage, "", "")) - {" ", "\n"}


@pytest.fixture(params=list(Stage))
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.param
    return found


SHAPES: tuple[dict[str, Any], ...] = (
    {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4},
    {"hidden_size": 48, "num_hidden_layers": 3, "num_key_value_heads": 1, "sliding_window": 7},
    {"hidden_size": 32, "num_hidden_layers": 2, "num_key_value_heads": 4, "sliding_window": 40},
)
"""Windows shorter than any prompt, so that sliding layers have something to forget."""
SMALL_VOCABULARY = len(small()["model"]["vocab"])


@cache
def _model(shape: int) -> Any:
    given: dict[str, Any] = {
        "vocab_size": SMALL_VOCABULARY,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 64,
        "sliding_window": 24,
        "initializer_range": 1.2,
        "attn_implementation": "eager",
    } | SHAPES[shape]
    torch.manual_seed(shape)
    model: Any = Gemma2ForCausalLM(Gemma2Config(**given))
    model.eval().requires_grad_(requires_grad=False)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.uniform_(-0.5, 0.5)
    return model


@pytest.fixture(scope="session")
def make_model() -> Callable[[int], Any]:
    """Models whose logits spread over +-20, so that every cap, mask and position matters."""
    return _model


@pytest.fixture(scope="session")
def recipe() -> Callable[[Any, Question, Sequence[int]], list[tuple[float, float]]]:
    return _recipe


@torch.inference_mode()
def _recipe(model: Any, question: Question, answers: Sequence[int]) -> list[tuple[float, float]]:
    """The published snippet, policy by policy: P(Yes), and the gap between both logits."""
    found = []
    for suffix in question.suffixes:
        logits = model(torch.tensor([[*question.prefix, *suffix]])).logits
        selected = logits[0, -1, list(answers)]
        probabilities = torch.softmax(selected, dim=0)
        found.append((probabilities[0].item(), (selected[0] - selected[1]).item()))
    return found


@pytest.fixture(scope="session")
def model_folder(small_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("model") / "small-gemma"
    _model(0).save_pretrained(folder)
    shutil.copy(small_tokenizer, folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def gemma(model_folder: Path) -> Iterator[ShieldGemma]:
    """One for all tests that do it no harm: its process takes seconds to start."""
    one = ShieldGemma(str(model_folder))
    asyncio.run(one.__aenter__())
    yield one
    asyncio.run(one.__aexit__(None, None, None))
