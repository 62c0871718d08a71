"""The figures in README.md are those that the benchmarks wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from gemma_guard.pacing import Pacing

CONFIRM = Pacing().confirm
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def measured(name: str) -> dict[str, float]:
    text = (ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8")
    figures: dict[str, float] = json.loads(text)["figures"]
    return figures


sys.path.append(str(ROOT / "benchmarks"))

import shipped  # noqa: E402  a script, not a package


def test_the_tables_of_the_shipped_guard_are_what_eval_measured() -> None:
    text = (ROOT / "benchmarks" / "results" / "shipped.json").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert shipped.tables(json.loads(text)["figures"]) in readme


def test_the_speed_table_is_what_the_benchmark_measured() -> None:
    found = measured("overhead")

    for figure in (
        f"{found['one_policy_p50_us']} µs; {found['one_policy_anew_p50_us']} µs",
        f"{found['four_policies_p50_us']} µs; {found['four_policies_anew_p50_us']} µs",
        f"{found['checks_per_s_64_concurrent_one_policy']:,}",
        f"{found['chat_of_21_p50_us_one_policy']:.0f} µs",
        f"{found['five_mb_loop_held_ms']} ms",
        f"{found['import_s']} s, {found['import_rss_mb']} MB",
        f"| {found['core_packages']} |",
    ):
        assert figure in README, figure


def test_the_wait_for_a_first_verdict_is_what_the_benchmark_measured() -> None:
    found = measured("first_check")

    for figure in (
        f"verdict | {found['start_to_verdict_s']} s |",
        f"verdict | {found['load_s']} s |",
        f"| {found['rss_mb']} MB |",
        f"p50 | {found['check_p50_ms']} ms |",
    ):
        assert figure in README, figure


def test_what_a_stream_saves_is_what_the_benchmark_counted() -> None:
    found: Any = measured("scoring")["streamed"]
    four, one = found["1000_tokens_4_policies"], found["1000_tokens_1_policies"]

    for figure in (
        f"judged {four['checks']} times under four policies",
        f"takes {four['recipe_over_kept']} times fewer",
        f"and {four['packed_over_kept']} times fewer than if nothing of it were kept",
        f"(one policy: {one['packed_over_kept']} times)",
    ):
        assert figure in README, figure


def test_the_figures_of_streams_are_what_the_benchmark_measured() -> None:
    found = measured("streaming")

    assert found["leaks"] == 0
    assert f"{found['leak_runs']:,} random chunkings, places and modes, 0 leaks" in README
    for figure in (
        f"time | {found['idle_chunk_us']} µs |",
        f"pack `lite` | {found[f'alarms_lite_extra_confirm_{CONFIRM}_per_1000']} |",
        f"at once | {found['alarms_lite_extra_confirm_1_per_1000']} |",
        f"| {found[f'alarms_default_extra_confirm_{CONFIRM}_per_1000']}; ",
        f"; {found['alarms_default_extra_confirm_1_per_1000']} |",
        f"of {found['catches_answers']} harmful answers, stopped whole",
        f"| {found['catches_whole']}; {found[f'catches_confirm_{CONFIRM}']}; ",
        f"; {found['catches_confirm_1']} |",
        f"| {found[f'catches_confirm_{CONFIRM}_wait_windows_mean']} |",
    ):
        assert figure in README, figure


def test_what_the_litellm_guardrail_costs_is_what_the_benchmark_measured() -> None:
    found: Any = measured("litellm_proxy")
    readme = (ROOT / "adapters" / "litellm" / "README.md").read_text(encoding="utf-8")
    own = found["pre_call_us"]

    for kind in found["at_once"].values():
        low, high = kind["interval"]
        assert f"| {kind['ratio']:.3f} ({low:.3f}–{high:.3f}) |" in readme
    assert f"takes {own['hook']} µs" in readme
    assert f"{own['our_own']} of them its own" in readme
