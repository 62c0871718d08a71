"""A small tokenizer with Gemma 2's control tokens, and the real one where it is at hand."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from gemma_guard.packs import default
from gemma_guard.policy import Policy
from gemma_guard.prompt import TEMPLATES
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
