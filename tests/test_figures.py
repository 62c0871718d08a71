"""The figures in README.md are those that the benchmarks wrote."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_speed_table_is_what_the_benchmark_measured() -> None:
    text = (ROOT / "benchmarks" / "results" / "overhead.json").read_text(encoding="utf-8")
    found = json.loads(text)["figures"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    for figure in (
        f"{found['one_policy_p50_us']} µs",
        f"{found['four_policies_p50_us']} µs",
        f"{found['checks_per_s_64_concurrent_one_policy']:,}",
        f"{found['chat_of_21_p50_us_one_policy']:.0f} µs",
        f"{found['five_mb_loop_held_ms']} ms",
        f"{found['import_s']} s, {found['import_rss_mb']} MB",
        f"| {found['core_packages']} |",
    ):
        assert figure in readme, figure
