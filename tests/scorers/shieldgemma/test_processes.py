"""Each device of `shieldgemma` has a process of its own: what becomes of it, and what it tells."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gemma_guard import (
    Batch,
    Cause,
    ConfigError,
    DeadlineExceeded,
    Guard,
    NotServing,
    Policy,
    Priority,
    Probe,
    Score,
    ScoringFailed,
    Stage,
    plugins,
)
from gemma_guard.prompt import template
from gemma_guard.scorers.shieldgemma import ShieldGemma

TEXTS = ("hello", "You are an idiot.", "")


async def asked(
    scorer: ShieldGemma, *probes: Probe, seconds: float = 120.0
) -> Sequence[tuple[Score, ...]]:
    deadline = time.monotonic() + seconds
    return await scorer.score(probes, deadline=deadline, priority=Priority.LIVE)


def pids(scorer: ShieldGemma) -> list[int]:
    """The processes that it has, and that are up."""
    told = scorer.describe()["processes"].partition(";")[0]
    return [int(pid) for pid in re.findall(r"(\d+) up", told)]


async def back(scorer: ShieldGemma) -> list[int]:
    """Its processes, once there are any again."""
    async with asyncio.timeout(120):
        while not (found := pids(scorer)):  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.05)
    return found


async def test_the_parent_never_imports_torch(model_folder: Path) -> None:
    code = (
        "import asyncio, sys, time\n"
        "from gemma_guard import Priority, Probe\n"
        "from gemma_guard.packs import default\n"
        "from gemma_guard.scorers.shieldgemma import ShieldGemma\n"
        "async def main():\n"
        f"    async with ShieldGemma({str(model_folder)!r}) as one:\n"
        "        probe = Probe('hello', default().policies)\n"
        "        await one.score([probe], deadline=time.monotonic() + 60, priority=Priority.LIVE)\n"
        "asyncio.run(main())\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)


async def test_two_devices_share_the_work_and_leave_no_process(
    gemma: ShieldGemma, model_folder: Path, policies: tuple[Policy, ...]
) -> None:
    answers = ("It rains. So take a coat.", "You are an idiot, said the fox.")
    growing = [
        Probe(text[:end], policies[:1], Stage.OUTPUT, "Why?", f"stream {text[0]}")
        for end in (9, 20, 40)
        for text in answers
    ]
    async with ShieldGemma(str(model_folder), devices=("cpu", "cpu")) as two:
        processes = pids(two)
        told = await asyncio.gather(*(asked(two, Probe(text, policies)) for text in TEXTS))
        streamed = [score.raw for probe in growing for (score,) in await asked(two, probe)]
    with pytest.raises(NotServing):
        await asked(two, Probe("hello", policies))
    wanted = await asked(gemma, *(replace(probe, stream=None) for probe in growing))
    assert streamed == pytest.approx([score.raw for (score,) in wanted], abs=1e-4)
    assert len(set(processes)) == 2
    assert len(told) == len(TEXTS)
    assert not any(map(psutil.pid_exists, processes))


async def test_what_waits_for_it_is_told(gemma: ShieldGemma, policies: tuple[Policy, ...]) -> None:
    told = list[Batch]()
    gemma.observed_by(told.append)
    await asked(gemma, Probe("hello", policies))
    assert [len(batch.waits_s) for batch in told] == [1]
    assert told[0].tokens > 100


# faults


async def test_a_worker_that_is_killed_comes_back_and_a_guard_names_the_gap(
    model_folder: Path, policies: tuple[Policy, ...]
) -> None:
    scorer = ShieldGemma(str(model_folder))
    async with Guard.of(policies, scorer, sinks=()) as guard:
        (pid,) = pids(scorer)
        os.kill(pid, signal.SIGKILL)
        verdicts = [await guard.check(f"hello {i}") for i in range(3)]
        assert verdicts[0].gaps[0].cause in {Cause.CRASHED, Cause.UNREACHABLE}
        assert await back(scorer) != [pid]
        assert (await asked(scorer, Probe("hello", policies)))[0]


async def test_a_worker_that_hangs_is_killed_and_its_callers_answered(
    model_folder: Path, policies: tuple[Policy, ...]
) -> None:
    async with ShieldGemma(str(model_folder), step_s=0.5) as scorer:
        (pid,) = pids(scorer)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ScoringFailed, match=r"took longer than 0\.5 s"):
            await asked(scorer, Probe("hello", policies))
    assert not psutil.pid_exists(pid)


@pytest.fixture
def broken(model_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "broken"
    shutil.copytree(model_folder, folder)
    return folder


async def test_pickled_weights_are_never_read(broken: Path) -> None:
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights are never read"):
        async with ShieldGemma(str(broken)):
            pass


async def test_a_bad_weights_file_is_named_when_a_guard_opens(broken: Path, tmp_path: Path) -> None:
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    file = tmp_path / "guard.yaml"
    file.write_text(
        f"scorers: {{judge: {{type: shieldgemma, model: {broken}}}}}\n"
        "routes: {default: {packs: [default], scorer: judge}}\n"
    )
    with pytest.raises(ConfigError, match=r"broken: its weights cannot be read"):
        async with Guard.from_config(file, sinks=()):
            pass


async def test_a_closed_one_serves_nobody(model_folder: Path, policies: tuple[Policy, ...]) -> None:
    with pytest.raises(NotServing):
        await asked(ShieldGemma(str(model_folder)), Probe("hello", policies))


# what it says of itself


async def test_it_describes_device_dtype_weights_template_and_processes(
    gemma: ShieldGemma, model_folder: Path
) -> None:
    told = gemma.describe()
    assert model_folder.name in told["model"]
    assert told["device"] == "cpu, float32"
    assert told["template"] == template("hf-chat").fingerprint
    assert told["weights"] in gemma.fingerprint
    assert "up; 0 questions of 0 tokens wait" in told["processes"]
    assert "Gemma Terms of Use" in told["licence"]


def test_doctor_tells_all_of_it(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "guard.yaml").write_text(
        f"scorers: {{judge: {{type: shieldgemma, model: {model_folder}, mass: true}}}}\n"
        "routes: {default: {packs: [default], scorer: judge, deadline_ms: 60000}}\n"
    )
    command = [str(Path(sys.executable).parent / "gemma-guard"), "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    for part in (
        "device       cpu, float32",
        "template     hf-chat",
        "calibration  none: its scores are unvalidated",
        "licence      Gemma Terms of Use",
        "token ids    NOT OK",  # the small tokenizer has ids of its own
        "label mass",
        "both in",
    ):
        assert part in done.stdout, done.stderr


async def test_it_says_why_in_as_many_tokens_as_it_may(
    gemma: ShieldGemma, policies: tuple[Policy, ...]
) -> None:
    probe = Probe("hello", policies[:1])
    deadline = time.monotonic() + 120
    words = await gemma.reason(probe, tokens=8, deadline=deadline)
    again = await gemma.reason(probe, tokens=4, deadline=deadline)
    assert words.startswith(again)
    assert len(again) < len(words) < 8 * 40


async def test_words_that_take_too_long_are_given_up(
    gemma: ShieldGemma, policies: tuple[Policy, ...]
) -> None:
    with pytest.raises(DeadlineExceeded, match="nothing was written"):
        await gemma.reason(Probe("hello", policies[:1]), tokens=8, deadline=time.monotonic() + 0.2)


def test_it_is_found_by_its_name() -> None:
    assert plugins.load("scorers", "shieldgemma") is ShieldGemma
