"""A copy of what is guarded is guarded, a pickled one too, here and in another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gemma_guard_langchain import GuardBlocked, guard_input, guard_output, wrap
from gemma_guard_langchain.agents import GuardMiddleware
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from gemma_guard import Guard, UsageError
from gemma_guard.scorers.fake import Fake
from tests.adapters.langchain.conftest import VIOLENCE, Local

BAD = "pipe bomb"
REFUSAL = "This was blocked by a content policy."
CLEAN = "[redacted: harassment]"
FILE = """
routes:
  default: {packs: [default], scorer: fake}
  kids: {extends: default, policies: {harassment: {bands: {input: {block: 0.4}}}}}
"""


class Answer(BaseModel):
    text: str


@pytest.fixture
def written(tmp_path: Path) -> Guard:
    file = tmp_path / "guard.yaml"
    file.write_text(FILE)
    return Guard.from_config(file, sinks=())


def again(thing: Any) -> Any:
    """As another process would have it: no guard lives there yet."""
    pickled = pickle.dumps(thing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gemma_guard.copying.os.getpid", lambda: 0)
        return pickle.loads(pickled)  # noqa: S301  our own


HOW = [copy.copy, copy.deepcopy, lambda model: model.model_copy(), again]


@pytest.mark.parametrize("copied", HOW)
def test_w5_a_copy_keeps_its_guard(written: Guard, copied: Callable[[Any], Any]) -> None:
    model = wrap(Local(answers=[BAD], model_name="m-7"), written, route="kids")
    made = copied(model)

    assert isinstance(made, Local)
    assert (made.invoke("hi").content, made.model_name) == (REFUSAL, "m-7")
    asked = made.invoke("What an idiot!")
    assert asked.response_metadata["guardrail"]["route"] == "kids"
    assert len(made.heard) == 1


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_w5_a_copy_shares_a_guard_that_was_given_its_scorers(
    guard: Guard, copied: Callable[[Any], Any]
) -> None:
    model = wrap(Local(answers=[BAD]), guard)

    assert copied(model).invoke("hi").content == REFUSAL
    assert wrap(copied(model), guard)  # it is the same guard


def test_w5_a_deep_copy_has_a_state_of_its_own(written: Guard) -> None:
    model = wrap(Local(), written)
    copy.deepcopy(model).invoke("hi")
    again(model).invoke("hi")

    assert model.heard == []


def test_w5_where_its_guard_lives_an_unpickled_model_has_the_very_same(written: Guard) -> None:
    model = wrap(Local(), written)
    made = pickle.loads(pickle.dumps(model))  # noqa: S301  our own

    assert wrap(made, written) is made


def test_w5_a_guard_that_cannot_travel_keeps_its_model_here(guard: Guard) -> None:
    with pytest.raises(UsageError, match=r"cannot be pickled.*guard\.yaml"):
        pickle.dumps(wrap(Local(), guard))


def _made_of(model: Any, guard: Guard) -> dict[str, Any]:
    field = ConfigurableField("which")
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    chain = prompt | model | StrOutputParser()
    return {
        "bound tools": wrap(model, guard).bind_tools([Answer]),
        "what was bound before": wrap(model.bind_tools([Answer]), guard),
        "fallbacks": wrap(model.with_fallbacks([model]), guard),
        "retries": wrap(model, guard).with_retry(),
        "fields": wrap(model, guard).configurable_fields(model_name=field),
        "alternatives": wrap(model.configurable_alternatives(field, b=model), guard),
        "a chain": wrap(chain, guard),
        "a chain of a guarded model": prompt | wrap(model, guard) | StrOutputParser(),
        "steps": guard_input(guard) | chain | guard_output(guard),
        "a prefix": wrap(chain, guard).with_config(tags=["a"]),
    }


@pytest.mark.parametrize("name", _made_of(Local(), Guard.of([VIOLENCE], Fake())))
def test_w5_whatever_holds_a_guarded_model_pickles_with_it(written: Guard, name: str) -> None:
    made = again(_made_of(Local(answers=[BAD, "Only an idiot."]), written)[name])
    asked = {"question": "hi"} if "chain" in name or name in ("steps", "a prefix") else "hi"

    said = [made.invoke(asked) for _ in range(2)]
    texts = [each if isinstance(each, str) else each.text for each in said]
    assert texts == [REFUSAL, f"Only an {CLEAN}."]


def test_w5_a_structured_answer_pickles_with_its_guard(
    written: Guard, tool_call: Callable[..., Any]
) -> None:
    model = Local(answers=[tool_call("Answer", text="fine"), tool_call("Answer", text=BAD)])
    structured = again(wrap(model, written).with_structured_output(Answer))

    assert structured.invoke("hi") == Answer(text="fine")
    with pytest.raises(GuardBlocked) as blocked:
        structured.invoke("hi")
    assert blocked.value.verdict.policies == ("dangerous_content",)


def test_w5_middleware_pickles_with_its_guard(written: Guard) -> None:
    state: Any = {"messages": [Local()._convert_input(f"a {BAD}?").to_messages()[0]]}  # noqa: SLF001
    update = again(GuardMiddleware(written)).before_agent(state, None)

    assert update["jump_to"] == "end"


def _told(model: Any, asked: list[str]) -> list[str]:
    return [answer.content for answer in model.batch(asked)]


@pytest.mark.parametrize("how", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_w5_another_process_guards_it_too(written: Guard, how: str) -> None:
    model, asked = wrap(Local(answers=["Only an idiot."]), written), ["hi", f"a {BAD}?"]
    raising = wrap(Local(), written, on_block="raise")
    context = multiprocessing.get_context(how)
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        there = pool.submit(_told, model, asked).result(120)
        with pytest.raises(GuardBlocked) as blocked:
            pool.submit(raising.invoke, asked[1]).result(120)

    assert there == _told(model, asked) == [f"Only an {CLEAN}.", REFUSAL]
    assert blocked.value.verdict.policies == ("dangerous_content",)
    assert BAD not in repr(blocked.value)
