"""ShieldGemma's shape on one CPU thread: packed questions against batches and the snippet.

    python benchmarks/scoring.py            all cases
    python benchmarks/scoring.py one_text   one of them, beside what is known of the others

The weights are random: what is timed does not depend on them. All variants of a case run in turn in
one process, and the least processor time of several rounds counts, which other programs on the
machine disturb least. Prints the figures and writes them to results/scoring.json.
"""

from __future__ import annotations

import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import machine
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from gemma_guard.scorers.shieldgemma.engine import Question
from gemma_guard.scorers.shieldgemma.model import Gemma

YES, NO = 3553, 1294
HEAD, MIDDLE, SUFFIXES = 29, 13, (83, 87, 148, 96)  # tokens of the template and the four policies
WINDOW = 4096
PICK = random.Random(0)  # noqa: S311  any ids will do


def made(vocabulary: int, *, spread: float = 0.05, window: int = WINDOW) -> Any:
    """8 layers, 512 wide; heads, groups and the ratio of widths are those of the 2B model."""
    torch.manual_seed(0)
    configured: Any = Gemma2Config  # its stub leaves out what all configurations take
    config = configured(
        vocab_size=vocabulary,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=64,
        query_pre_attn_scalar=64,
        sliding_window=window,
        initializer_range=spread,
        attn_implementation="eager",
    )
    model: Any = Gemma2ForCausalLM(config)
    return model.eval()


def ids(count: int) -> tuple[int, ...]:
    return tuple(PICK.choices(range(4000, 8000), k=count))


def question(text: int, policies: int = 4) -> Question:
    lengths = (SUFFIXES * policies)[:policies]
    return Question(ids(HEAD + text + MIDDLE), tuple(ids(n) for n in lengths))


def prompts(questions: Sequence[Question]) -> list[tuple[int, ...]]:
    return [q.prefix + suffix for q in questions for suffix in q.suffixes]


@torch.inference_mode()
def batched(
    model: Any, questions: Sequence[Question], *, rows: int, by_length: bool
) -> list[float]:
    """Whole prompts, padded to the longest of a batch; last token, two rows of the head."""
    whole = prompts(questions)
    order = list(range(len(whole)))
    if by_length:
        order.sort(key=lambda i: len(whole[i]))
    margins = [0.0] * len(whole)
    for at in range(0, len(order), rows):
        part = order[at : at + rows]
        width = max(len(whole[i]) for i in part)
        grid = torch.tensor([[*whole[i], *[0] * (width - len(whole[i]))] for i in part])
        mask = torch.tensor([[1] * len(whole[i]) + [0] * (width - len(whole[i])) for i in part])
        states = model.model(grid, attention_mask=mask, use_cache=False).last_hidden_state
        last = states[torch.arange(len(part)), mask.sum(1) - 1]
        logits = last.float() @ model.lm_head.weight[[YES, NO]].float().T
        capped = 30 * torch.tanh(logits / 30)
        for i, (yes, no) in zip(part, capped.tolist(), strict=True):
            margins[i] = yes - no
    return margins


@torch.inference_mode()
def snippet(model: Any, questions: Sequence[Question]) -> list[float]:
    """As on the model's page: prompt by prompt, logits of every token over the vocabulary."""
    margins = []
    for prompt in prompts(questions):
        yes, no = model(torch.tensor([prompt])).logits[0, -1, [YES, NO]].tolist()
        margins.append(yes - no)
    return margins


def packed(engine: Gemma, questions: Sequence[Question]) -> list[float]:
    return [reading.yes - reading.no for row in engine.read(questions) for reading in row]


def padded_tokens(questions: Sequence[Question], rows: int, *, by_length: bool) -> int:
    sizes = [len(prompt) for prompt in prompts(questions)]
    sizes = sorted(sizes) if by_length else sizes
    parts = (sizes[at : at + rows] for at in range(0, len(sizes), rows))
    return sum(max(part) * len(part) for part in parts)


Variant = Callable[[], list[float]]


def timed(variants: Mapping[str, Variant], rounds: int) -> dict[str, dict[str, float]]:
    """Seconds of each variant, in turn: least and median processor time, and least wall clock."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    margins: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, run in variants.items():
            wall, cpu = time.perf_counter(), time.process_time()
            margins[name] = run()
            spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    for found in margins.values():
        _check_agree(found, margins["packed"])
    return {name: _summed(found) for name, found in spent.items()}


def _check_agree(one: Sequence[float], other: Sequence[float]) -> None:
    if max(abs(a - b) for a, b in zip(one, other, strict=True)) > 1e-3:
        raise SystemExit("the variants do not agree: figures of a wrong answer are worth nothing")


def _summed(found: Sequence[tuple[float, float]]) -> dict[str, float]:
    cpu, wall = zip(*found, strict=True)
    return {
        "cpu_s": round(min(cpu), 4),
        "cpu_s_p50": round(statistics.median(cpu), 4),
        "cpu_s_worst": round(max(cpu), 4),
        "wall_s": round(min(wall), 4),
    }


def one_text() -> dict[str, Any]:
    """T = 256, four policies; whole prompts as one padded batch."""
    model, asked = made(8192), [question(256)]
    engine = Gemma(model, answers=(YES, NO))
    found = timed(
        {
            "packed": lambda: packed(engine, asked),
            "batched": lambda: batched(model, asked, rows=4, by_length=False),
        },
        rounds=12,
    )
    tokens = {"packed": asked[0].tokens, "batched": padded_tokens(asked, 4, by_length=False)}
    return _case(found, tokens, texts=1)


def many_texts() -> dict[str, Any]:
    """64 texts of 16 to 400 tokens; the prompts of one text at a time, or sorted by length."""
    model, asked = made(8192), [question(PICK.randint(16, 400)) for _ in range(64)]
    engine = Gemma(model, answers=(YES, NO))
    kinds = [(4, False), (16, True)]
    packed(engine, asked[:1])  # warms up
    names = [f"batched_{rows}{'_by_length' * by_length}" for rows, by_length in kinds]
    variants: dict[str, Variant] = {"packed": lambda: packed(engine, asked)}
    tokens = {"packed": sum(q.tokens for q in asked)}
    for name, (rows, by_length) in zip(names, kinds, strict=True):
        variants[name] = lambda rows=rows, by_length=by_length: batched(  # type: ignore[misc]
            model, asked, rows=rows, by_length=by_length
        )
        tokens[name] = padded_tokens(asked, rows, by_length=by_length)
    return _case(timed(variants, rounds=1), tokens, texts=len(asked))


def large_vocabulary() -> dict[str, Any]:
    """The snippet computes the logits of every token of 256,000."""
    model, asked = made(256_000), [question(256)]
    engine = Gemma(model, answers=(YES, NO))
    found = timed(
        {
            "packed": lambda: packed(engine, asked),
            "batched": lambda: batched(model, asked, rows=4, by_length=False),
            "snippet": lambda: snippet(model, asked),
        },
        rounds=2,
    )
    whole = sum(map(len, prompts(asked)))
    tokens = {
        "packed": asked[0].tokens,
        "batched": padded_tokens(asked, 4, by_length=False),
        "snippet": whole,
    }
    return _case(found, tokens, texts=1)


def _case(
    found: Mapping[str, Mapping[str, float]], tokens: Mapping[str, int], *, texts: int
) -> dict[str, Any]:
    base = found["packed"]["cpu_s"]
    return {
        name: {
            "tokens": tokens[name],
            **seconds,
            "texts_per_s": round(texts / seconds["cpu_s"], 2),
            "tokens_per_s": round(tokens[name] / seconds["cpu_s"]),
            "times_packed": round(seconds["cpu_s"] / base, 2),
        }
        for name, seconds in found.items()
    }


def growth() -> list[dict[str, Any]]:
    """Policies 1 → 4 → 16, texts of 100 → 8,000 tokens."""
    engine = Gemma(made(8192), answers=(YES, NO))
    table = []
    for text in (100, 1000, 8000):
        for policies in (1, 4, 16):
            asked = [question(text, policies)]
            packed(engine, asked[:1]) if text < 8000 else None
            rounds = []
            for _ in range(3 if text < 8000 else 1):
                began = time.process_time()
                packed(engine, asked)
                rounds.append(time.process_time() - began)
            alone = sum(map(len, prompts(asked)))
            table.append(
                {
                    "text_tokens": text,
                    "policies": policies,
                    "tokens": asked[0].tokens,
                    "tokens_unshared": alone,
                    "cpu_s": round(min(rounds), 3),
                }
            )
    return table


def half_precision() -> dict[str, Any]:
    """bfloat16: packed against plain, both against float32, on logits that spread over +-20."""
    plain, asked = made(8192, spread=0.6), [question(PICK.randint(16, 200)) for _ in range(50)]
    exact = batched(plain, asked, rows=16, by_length=True)
    model = made(8192, spread=0.6).to(torch.bfloat16)
    found = {
        "packed": packed(Gemma(model, answers=(YES, NO)), asked),
        "plain": batched(model, asked, rows=16, by_length=True),
    }
    gaps = sorted(abs(a - b) for a, b in zip(found["packed"], found["plain"], strict=True))
    return {
        "prompts": len(exact),
        "margin_spread_p50": round(statistics.median(map(abs, exact)), 3),
        "packed_against_plain_p99": round(gaps[int(len(gaps) * 0.99)], 3),
        **{f"{name}_against_float32_p99": _p99(exact, each) for name, each in found.items()},
        "flips_packed_against_plain": _flips(found["packed"], found["plain"]),
        **{f"flips_{name}_against_float32": _flips(exact, each) for name, each in found.items()},
    }


def _p99(wanted: Sequence[float], found: Sequence[float]) -> float:
    gaps = sorted(abs(a - b) for a, b in zip(wanted, found, strict=True))
    return round(gaps[int(len(gaps) * 0.99)], 3)


def _flips(wanted: Sequence[float], found: Sequence[float]) -> dict[str, int]:
    """How many scores lie on the other side of a band."""
    sides = {band: torch.logit(torch.tensor(band)).item() for band in (0.3, 0.5, 0.6)}
    return {
        str(band): sum((a >= at) != (b >= at) for a, b in zip(wanted, found, strict=True))
        for band, at in sides.items()
    }


def streamed() -> dict[str, Any]:
    """An answer judged after every 40 tokens: only what is new, or all of it again."""
    model = made(8192)
    cases = {f"{n}_tokens_{p}_policies": (n, p) for n, p in ((1000, 1), (1000, 4), (2000, 4))}
    return {name: _streamed(model, *case) for name, case in cases.items()}


def _streamed(model: Any, length: int, policies: int) -> dict[str, Any]:
    whole = question(length, policies)
    head, answer, after = whole.prefix[:HEAD], whole.prefix[HEAD:-MIDDLE], whole.prefix[-MIDDLE:]
    cuts = [answer[:cut] for cut in range(40, length + 1, 40)]
    found: dict[str, Any] = {"checks": len(cuts)}
    margins = {}
    for name, stream in (("kept", "s"), ("from_scratch", None)):
        engine = Gemma(model, answers=(YES, NO))
        asked = [Question((*head, *cut, *after), whole.suffixes, stream) for cut in cuts]
        began = time.process_time()
        margins[name] = [margin for each in asked for margin in packed(engine, [each])]
        found[name] = {"tokens": engine.tokens, "cpu_s": round(time.process_time() - began, 2)}
    _check_agree(margins["kept"], margins["from_scratch"])
    found["recipe_tokens"] = sum(len(prompt) for each in asked for prompt in prompts([each]))
    return found | fewer(found)


def fewer(found: Mapping[str, Any]) -> dict[str, float]:
    """How many times as many tokens are computed without what a stream leaves.

    No less than the suffixes of the policies has to be computed for every check: they stand behind
    a text that has grown. With four of them that is most of it.
    """
    kept = found["kept"]["tokens"]
    return {
        "packed_over_kept": round(found["from_scratch"]["tokens"] / kept, 2),
        "recipe_over_kept": round(found["recipe_tokens"] / kept, 2),
    }


CASES: Mapping[str, Callable[[], Any]] = {
    "one_text": one_text,
    "64_texts": many_texts,
    "one_text_vocabulary_256k": large_vocabulary,
    "growth": growth,
    "streamed": streamed,
    "bfloat16": half_precision,
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    kept = machine.RESULTS / "scoring.json"
    figures = json.loads(kept.read_text(encoding="utf-8"))["figures"] if kept.exists() else {}
    for name in sys.argv[1:] or CASES:
        figures[name] = CASES[name]()
    figures["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    machine.keep("scoring", machine.describe(["gemma-guard", "torch", "transformers"]), figures)
