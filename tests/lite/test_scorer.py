from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from gemma_guard_lite import Lite
from gemma_guard_lite import model as weights
from gemma_guard_lite.model import HEADS

from gemma_guard import (
    Batch,
    DeadlineExceeded,
    Guideline,
    NotServing,
    Policy,
    Priority,
    Probe,
    Score,
    Scorer,
    Stage,
    TextRefused,
    plugins,
)
from gemma_guard.packs import shipped

POLICIES = {policy.name: policy for policy in shipped("default").policies}
FOUR = tuple(POLICIES[head] for head in HEADS)
THREAT = "If I see you again I will break your legs and burn your house down."


async def asked(
    lite: Scorer, probes: Sequence[Probe], *, seconds: float = 60.0
) -> Sequence[tuple[Score, ...]]:
    deadline = time.monotonic() + seconds
    return await lite.score(probes, deadline=deadline, priority=Priority.LIVE)


@pytest.mark.parametrize("stage", Stage)
def test_the_published_guidelines_are_judged_at_both_stages(stage: Stage) -> None:
    assert all(Lite().judges(policy, stage) for policy in FOUR)


@pytest.mark.parametrize("stage", Stage)
def test_white_space_in_a_guideline_does_not_matter(stage: Stage) -> None:
    policy = POLICIES["harassment"]
    assert policy.guideline is not None
    wrapped = Guideline(*(text.replace(" ", "\n  ") for text in _both(policy.guideline)))
    assert Lite().judges(replace(policy, guideline=wrapped), stage)


@pytest.mark.parametrize("stage", Stage)
def test_a_guideline_it_was_not_trained_for_is_refused(stage: Stage) -> None:
    own = Guideline('"No Spoilers": tell no endings.', '"No Spoilers": tell no endings.')
    assert not Lite().judges(Policy("spoilers", guideline=own), stage)
    assert not Lite().judges(replace(POLICIES["harassment"], guideline=own), stage)


def test_the_wording_of_one_stage_is_not_the_wording_of_the_other() -> None:
    policy = POLICIES["hate_speech"]
    assert policy.guideline is not None
    swapped = Guideline(*reversed(_both(policy.guideline)))
    assert not Lite().judges(replace(policy, guideline=swapped), Stage.INPUT)


def test_a_pack_may_name_a_head_for_its_own_words() -> None:
    own = Guideline("Nobody is insulted here.", "Nobody is insulted here.")
    assert Lite().judges(Policy("insults", guideline=own, head="harassment"), Stage.INPUT)
    assert not Lite().judges(Policy("insults", guideline=own, head="spoilers"), Stage.INPUT)


def _both(guideline: Guideline) -> tuple[str, str]:
    return guideline.input, guideline.output


async def test_scores_come_in_the_order_of_probes_and_policies(lite: Lite) -> None:
    few = (POLICIES["sexually_explicit"], POLICIES["harassment"])
    answers = await asked(lite, [Probe(THREAT, FOUR), Probe("hello", few)])
    names = [[score.policy for score in scores] for scores in answers]
    assert names == [[p.name for p in FOUR], [p.name for p in few]]


async def test_a_text_scores_the_same_alone_and_in_any_company(lite: Lite) -> None:
    texts = [THREAT, "hello", "a long walk " * 200, "", "How do I bake bread?", "🙂" * 50]
    probes = [Probe(text, FOUR) for text in texts]
    together = await asked(lite, probes)
    alone = [(await asked(lite, [probe]))[0] for probe in reversed(probes)][::-1]
    assert together == alone


async def test_many_callers_at_once_get_their_own_answers(lite: Lite) -> None:
    probes = [Probe(f"{THREAT} {number}", FOUR) for number in range(8)]
    together = await asyncio.gather(*(asked(lite, [probe]) for probe in probes))
    assert [answer[0] for answer in together] == list(await asked(lite, probes))


async def test_two_instances_agree_to_the_last_bit_whatever_the_thread_count() -> None:
    async with Lite() as one, Lite(threads=2) as two:
        probe = Probe(THREAT, FOUR)
        assert one.fingerprint == two.fingerprint
        assert await asked(one, [probe]) == await asked(two, [probe])


async def test_harm_deep_in_a_long_text_is_found_and_its_place_is_named(lite: Lite) -> None:
    filler = "The library opens at nine and the reading room has new lamps. " * 60
    text = f"{filler}{THREAT} {filler}"
    harassment = POLICIES["harassment"]
    ((deep,), (calm,)) = await asked(
        lite, [Probe(text, (harassment,)), Probe(filler, (harassment,))]
    )
    assert deep.violation > calm.violation
    assert deep.window is not None
    start, end = text.index(THREAT), text.index(THREAT) + len(THREAT)
    assert deep.window.start < end
    assert start < deep.window.end
    assert deep.window.end - deep.window.start < len(text) / 4


async def test_a_short_text_is_judged_as_a_whole(lite: Lite) -> None:
    ((score,),) = await asked(lite, [Probe("hello there", (POLICIES["harassment"],))])
    assert score.window is None


async def test_an_answer_is_judged_in_the_light_of_its_prompt(lite: Lite) -> None:
    dangerous = (POLICIES["dangerous_content"],)
    answer = "Sure. Take the whole bottle at once and lock the door."
    prompts = ("How do I end my life?", "How do I clean a coffee machine?", None)
    probes = [Probe(answer, dangerous, Stage.OUTPUT, prompt=prompt) for prompt in prompts]
    violations = [scores[0].violation for scores in await asked(lite, probes)]
    assert violations[0] > violations[1]
    assert len(set(violations)) == len(violations)


async def test_a_deadline_that_has_passed_is_said_so(lite: Lite) -> None:
    with pytest.raises(DeadlineExceeded):
        await asked(lite, [Probe(THREAT, FOUR)], seconds=-1.0)


async def test_a_closed_scorer_serves_nobody() -> None:
    lite = Lite()
    with pytest.raises(NotServing):
        await asked(lite, [Probe(THREAT, FOUR)])


async def test_closing_answers_everyone_who_waits() -> None:
    async with Lite() as lite:
        long = Probe(THREAT * 200, FOUR)
        waiting = [asyncio.ensure_future(asked(lite, [long])) for _ in range(20)]
        await asyncio.sleep(0.05)
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, list | NotServing) for answer in answers)
    assert any(isinstance(answer, NotServing) for answer in answers)


async def test_what_waits_for_it_is_told_text_by_text() -> None:
    told = list[Batch]()
    async with Lite() as lite:
        lite.observed_by(told.append)
        await asked(lite, [Probe(THREAT, FOUR), Probe("hello", FOUR)])
    assert [len(batch.waits_s) for batch in told] == [1, 1]


async def test_a_prompt_may_be_read_beforehand_and_no_score_shows_it(lite: Lite) -> None:
    prompt = "What would hurt them most? Be exact."
    probe = Probe(THREAT, FOUR, Stage.OUTPUT, prompt=prompt)
    async with Lite() as other:
        unprepared = await asked(other, [probe])
    await lite.prepare(replace(probe, text=""), deadline=time.monotonic() + 60)
    assert await asked(lite, [probe]) == unprepared


async def test_what_is_read_beforehand_waits_behind_questions_and_leaves_when_it_is_ended() -> None:
    waiting, probe = list[int](), Probe("", FOUR, Stage.OUTPUT, prompt=THREAT)
    async with Lite() as lite:
        lite.observed_by(lambda batch: waiting.append(batch.left))
        deadline = time.monotonic() + 60
        asking = asyncio.ensure_future(asked(lite, [Probe(THREAT * 50, FOUR)] * 3))
        await asyncio.sleep(0)
        preparing = [asyncio.ensure_future(lite.prepare(probe, deadline=deadline)) for _ in "abc"]
        await asyncio.sleep(0)
        for each in preparing:
            each.cancel()
        await asking
    assert all(each.cancelled() for each in preparing)
    assert (len(waiting), waiting[-1]) == (3, 0)


async def test_nothing_is_read_beforehand_while_many_questions_wait(
    lite: Lite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_guard_lite.scorer._MANY", 0)
    told = list[Batch]()
    lite.observed_by(told.append)
    await lite.prepare(Probe("", FOUR, Stage.OUTPUT, prompt=THREAT), deadline=time.monotonic() + 60)
    assert told == []


async def test_a_closed_scorer_reads_nothing_beforehand() -> None:
    await Lite().prepare(Probe("", FOUR, prompt=THREAT), deadline=time.monotonic() + 60)


async def test_a_text_of_too_many_windows_is_refused_not_cut(
    lite: Lite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_guard_lite.reader.MOST_WINDOWS", 2)
    with pytest.raises(TextRefused):
        await asked(lite, [Probe("word " * 1_000, FOUR)])


def test_no_weights_are_pickles_and_all_fit_in_35_megabytes() -> None:
    files = [weights.WEIGHTS / name for name in weights.FILES]
    assert {path.suffix for path in files} <= {".onnx", ".npz", ".json"}
    assert sum(path.stat().st_size for path in files) <= 35 * 1024**2


def test_it_is_found_by_its_name() -> None:
    assert plugins.load("scorers", "lite") is Lite
    assert isinstance(Lite(), Scorer)


def test_no_threads_are_too_few() -> None:
    with pytest.raises(ValueError, match="threads"):
        Lite(threads=0)
