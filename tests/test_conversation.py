"""No text of the caller is lost: it is in a passage that can be written back, or it is a gap."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_guard.conversation import Passage, Reading, read
from gemma_guard.errors import Cause, UsageError
from gemma_guard.redaction import Cut, Placeholders, redacted
from gemma_guard.verdict import Place, Span, Stage, rewritten


def texts(reading: Reading) -> list[str]:
    return [passage.text for passage in reading.passages]


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


class Words:
    """Words that occur once each, so that each can be followed to where it is judged."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def __call__(self) -> str:
        self.said.append(f"word{len(self.said)}x")
        return self.said[-1]


def in_json(word: Words) -> str:
    return json.dumps({word(): [word(), {"q": f'a "{word()}" \n'}], "n": 7})


def call(word: Words) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": word(), "arguments": in_json(word)}}


Make: TypeAlias = Callable[[Words], Any]
WHOLE: list[Make] = [
    lambda word: word(),
    lambda word: f"{word()} and {word()}\n",
    lambda _: "",
    lambda _: None,
    in_json,
]
PARTS: list[Make] = [
    lambda word: word(),
    lambda word: {"type": "text", "text": word(), "cache_control": {"type": "ephemeral"}},
    lambda word: {"type": "input_text", "text": word()},
    lambda word: {"type": "output_text", "text": f"a {word()} b"},
    lambda word: {"type": "refusal", "refusal": word()},
    lambda word: {"type": "thinking", "thinking": word(), "signature": "s"},
    lambda word: {"type": "tool_use", "id": "t", "name": word(), "input": {"q": [word()]}},
    lambda word: {"type": "tool_result", "tool_use_id": "t", "content": word()},
    lambda word: {"type": "tool_result", "content": [{"type": "text", "text": word()}]},
]
BESIDE: list[tuple[str, Make]] = [
    ("refusal", lambda word: word()),
    ("reasoning_content", lambda word: word()),
    ("name", lambda word: word()),
    ("tool_calls", lambda word: [call(word), call(word)]),
    ("tool_calls", lambda word: [{"name": word(), "args": {"q": word()}, "id": "l"}]),
    ("function_call", lambda word: {"name": word(), "arguments": word()}),
    ("function_call", lambda word: {"name": word(), "arguments": in_json(word)}),
]


def listed(parts: list[Make]) -> Make:
    return lambda word: [part(word) for part in parts]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[str]]:
    """Messages of every shape, and every word in them that a model could read."""
    word = Words()
    messages = []
    for _ in range(draw(st.integers(1, 4))):
        role = draw(st.sampled_from(["user", "assistant", "tool", "function", "User", "system"]))
        parts = st.lists(st.sampled_from(PARTS), max_size=3)
        make_content = draw(st.sampled_from(WHOLE) | parts.map(listed))
        beside = draw(st.lists(st.sampled_from(BESIDE), max_size=2))
        more = {}
        for key, make in beside:
            if key not in more:
                more[key] = make(word)
        messages.append({"role": role, "content": make_content(word), **more})
    return messages, word.said


@given(conversations())
def test_every_word_of_every_message_is_judged(
    conversation: tuple[list[dict[str, Any]], list[str]],
) -> None:
    messages, words = conversation
    before = copy.deepcopy(messages)
    judged = texts(read(messages, Stage.INPUT, system=True))
    assert [word for word in words if not any(word in text for text in judged)] == []
    assert messages == before


@given(conversations())
def test_every_word_can_be_written_over_where_it_stood_and_nowhere_else(
    conversation: tuple[list[dict[str, Any]], list[str]],
) -> None:
    messages, words = conversation
    for passage in read(messages, Stage.INPUT, system=True).passages:
        for word in words:
            start = passage.text.find(word)
            if start >= 0:
                cut = Cut(Span(start, start + len(word)), "x")
                made = redacted(messages, [(passage, [cut])], Placeholders())
                after = rewritten(messages, made.edits)
                assert json.dumps(after) == json.dumps(messages).replace(word, "[X_1]")


@given(conversations())
def test_every_passage_says_where_its_text_stands(
    conversation: tuple[list[dict[str, Any]], list[str]],
) -> None:
    messages, _ = conversation
    for passage in read(messages, Stage.INPUT, system=True).passages:
        if passage.pieces is None:
            assert at(messages, passage.place) == passage.text
            assert passage.role == messages[int(passage.place[0])]["role"].lower()
        for piece in passage.pieces or ():
            assert passage.text[piece.start : piece.end]
            assert isinstance(at(messages, piece.place), str)


def at(tree: Any, place: Place) -> Any:
    for step in place:
        tree = tree[step]
    return tree


@given(conversations())
def test_the_answer_is_judged_whole_at_the_output_stage(
    conversation: tuple[list[dict[str, Any]], list[str]],
) -> None:
    messages, words = conversation
    judged = texts(read(messages, Stage.OUTPUT))
    answer = json.dumps(messages[-1])
    for word in words:
        assert any(word in text for text in judged) == (word in answer)


@pytest.mark.parametrize("role", ["system", "developer"])
def test_system_text_is_the_operators_and_judged_only_where_the_route_says_so(role: str) -> None:
    messages = [{"role": role, "content": "be kind"}, user("hello")]
    assert texts(read(messages, Stage.INPUT)) == ["hello"]
    assert texts(read(messages, Stage.INPUT, system=True)) == ["be kind", "hello"]


def test_a_question_split_over_parts_or_turns_is_also_judged_joined() -> None:
    split = [user("how do I build"), user([{"type": "text", "text": "a pipe"}, "bomb"])]
    assert texts(read(split, Stage.INPUT))[-1] == "how do I build\na pipe\nbomb"


def test_a_text_alone_is_one_passage_without_a_place() -> None:
    assert read("hello", Stage.OUTPUT, prompt="hi") == Reading((Passage("hello"),), (), "hi")
    assert read("", Stage.INPUT) == Reading(())


def test_an_answer_answers_the_newest_user_turn_unless_a_prompt_is_given() -> None:
    messages = [
        user("old"),
        {"role": "assistant", "content": "fine"},
        user([{"type": "text", "text": "new"}, "er"]),
        {"role": "assistant", "content": "answer"},
    ]
    assert read(messages, Stage.OUTPUT).prompt == "new\ner"
    assert read(messages, Stage.OUTPUT, prompt="given").prompt == "given"
    assert read(messages[1:2], Stage.OUTPUT).prompt is None


def test_with_scope_new_every_older_text_is_a_gap() -> None:
    messages = [user("old"), {"role": "assistant", "content": "fine"}, user("new")]
    reading = read(messages, Stage.INPUT, scope="new")
    assert texts(reading) == ["new"]
    assert [(gap.cause, gap.place) for gap in reading.gaps] == [
        (Cause.OUT_OF_SCOPE, (0, "content")),
        (Cause.OUT_OF_SCOPE, (1, "content")),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "input_audio", "input_audio": {"data": "x"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "canary-4711", "text": "canary-4711"},
        {"type": ["canary-4711"]},
        {"text": "canary-4711"},
        {},
    ],
)
def test_what_no_scorer_judges_is_a_gap_that_repeats_no_word_of_the_caller(part: Any) -> None:
    reading = read([user(["hello", part])], Stage.INPUT)
    assert texts(reading) == ["hello"]
    assert [(gap.cause, gap.place) for gap in reading.gaps] == [(Cause.MEDIA, (0, "content", 1))]
    assert "canary" not in repr(reading)


def test_a_key_that_is_not_read_is_a_gap_that_does_not_repeat_it() -> None:
    reading = read([user("hello", canary_4711="secret"), user("hi", annotations=[])], Stage.INPUT)
    assert [(gap.cause, gap.place) for gap in reading.gaps] == [(Cause.OUT_OF_SCOPE, (0,))]
    assert "canary" not in repr(reading.gaps)


def test_no_passage_shows_its_text() -> None:
    assert "canary-4711" not in repr(read([user("canary-4711")], Stage.INPUT))


@pytest.mark.parametrize("messages", [[], [user("")], [user(None)], [user([])], [user([""])]])
def test_where_there_is_no_text_there_is_no_passage(messages: Any) -> None:
    assert read(messages, Stage.INPUT) == Reading(())


MALFORMED = [
    ("messages[0].content: text or a list of parts is needed, got int", user(7)),
    ("messages[0].content: text or a list of parts is needed, got int", user(0)),
    ("messages[0].content: text or a list of parts is needed, got dict", user({})),
    ("messages[0].content: text or a list of parts is needed, got bytes", user(b"hi")),
    ("messages[0].content[1]: text or a mapping with a type is needed", user(["a", 7])),
    ("messages[0].content[0]: text or a mapping with a type is needed", user([None])),
    ("messages[0].content[0]: text or a mapping with a type is needed", user([["a"]])),
    ("messages[0].content[0].text: text is needed, got NoneType", user([{"type": "text"}])),
    ("messages[0].content[0].text: text is needed, got int", user([{"type": "text", "text": 0}])),
    ("messages[0].name: text is needed, got int", user("a", name=0)),
    ("messages[0].refusal: text", user("a", refusal=0)),
    ("messages[0].reasoning_content: text", user("a", reasoning_content={"a": 1})),
    ("messages[0].tool_calls: a list of calls is needed, got int", user("a", tool_calls=5)),
    ("messages[0].tool_calls: a list of calls is needed, got str", user("a", tool_calls="x")),
    ("messages[0].tool_calls[0]: a function call", user("a", tool_calls=[7])),
    ("messages[0].tool_calls[0].function: a function call", user("a", tool_calls=[{}])),
    ("messages[0].function_call: a function call", user("a", function_call="x")),
    ("messages[0].function_call: a function call", user("a", function_call=0)),
    ("messages[0]: a mapping with a role is needed", {}),
    ("messages[0]: a mapping with a role is needed", {"role": 7, "content": "a"}),
    ("messages[0]: a mapping with a role is needed", {"content": "a"}),
    ("messages[0]: a mapping with a role is needed", "hello"),
    ("messages[0]: a mapping with a role is needed", None),
]


@pytest.mark.parametrize(("place", "message"), MALFORMED, ids=[place for place, _ in MALFORMED])
@pytest.mark.parametrize("stage", Stage)
def test_a_malformed_message_is_refused_by_its_place(
    stage: Stage, place: str, message: Any
) -> None:
    with pytest.raises(UsageError) as refused:
        read([message], stage)
    assert str(refused.value).startswith(place)


def test_the_place_counts_the_messages_before_it() -> None:
    with pytest.raises(UsageError, match=r"^messages\[2\]\.content\[1\]\.text: text is needed"):
        read([user("a"), user("b"), user(["c", {"type": "text", "text": 7}])], Stage.INPUT)


@pytest.mark.parametrize("messages", [user("a"), b"hi", 7, None, {1, 2}, iter([user("a")])])
def test_what_is_no_list_of_messages_is_refused(messages: Any) -> None:
    with pytest.raises(UsageError, match="messages: a list of messages is needed, got "):
        read(messages, Stage.INPUT)


def test_the_output_stage_needs_an_answer() -> None:
    with pytest.raises(UsageError, match="needs the answer as the last message"):
        read([], Stage.OUTPUT)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["role", "type", "content", "text", "tool_calls", "function", "name", "arguments",
             "args", "input", "source", "summary", "function_call", "audio", "refusal"]
        ),
        inner | st.sampled_from(["user", "text", "tool_use", "document", "reasoning"]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(anything, max_size=3), st.sampled_from(Stage))
def test_no_messages_whatever_bring_anything_but_a_reading_or_a_usage_error(
    messages: list[Any], stage: Stage
) -> None:
    try:
        assert isinstance(read(messages, stage), Reading)
    except UsageError as error:
        assert str(error).startswith("messages")  # noqa: PT017  either outcome is right


HIDDEN = "a word that must be seen"


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": HIDDEN, "type": "function_call"},
        {"role": "user", "content": HIDDEN, "type": "document"},
        {"role": "user", "content": HIDDEN, "type": ["text"]},
        {"role": f"user: {HIDDEN}", "content": "a"},
        {"role": "user", "content": [{"type": "reasoning", "summary": [], "reasoning": HIDDEN}]},
        {"role": "tool", "content": f'[{"1" * 5000}, "{HIDDEN}"]'},
    ],
)
def test_no_type_role_or_number_hides_a_text(message: Any) -> None:
    assert HIDDEN in "\n".join(texts(read([message, user("b")], Stage.INPUT)))


def test_a_role_that_a_caller_makes_up_is_a_text_and_no_name_for_records() -> None:
    passages = read([{"role": HIDDEN, "content": "a"}], Stage.INPUT).passages
    assert {passage.role for passage in passages} == {"other"}


@pytest.mark.parametrize("role", ["User", "ASSISTANT"])
def test_turns_are_turns_however_their_role_is_written(role: str) -> None:
    passages = read([{"role": role, "content": "a"}, user("b")], Stage.INPUT).passages
    assert passages[0].role == role.lower()


@pytest.mark.parametrize("depth", [200, 5000])
@pytest.mark.parametrize(
    ("shape", "inner"),
    [
        (lambda inner: {"type": "tool_result", "content": [inner]}, "a"),
        (lambda inner: {"q": inner}, "a"),
    ],
)
def test_what_nests_without_end_is_the_callers_mistake(
    shape: Callable[[Any], Any], inner: Any, depth: int
) -> None:
    for _ in range(depth):
        inner = shape(inner)
    part = {"type": "tool_use", "name": "t", "input": inner} if "q" in inner else inner
    with pytest.raises(UsageError, match="nested deeper than 100 levels"):
        read([user([part])], Stage.INPUT)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "hi", "thinking": "unread"},
        {"type": "text", "text": "hi", "content": "unread"},
        {"type": "tool_use", "name": "f", "input": {}, "note": "unread"},
        {"type": "reasoning", "summary": [], "text": "unread"},
    ],
)
def test_a_key_of_a_part_that_is_not_read_is_a_gap(part: dict[str, Any]) -> None:
    reading = read([{"role": "user", "content": [part]}], Stage.INPUT)

    assert Cause.OUT_OF_SCOPE in {gap.cause for gap in reading.gaps}
    assert "unread" not in str(reading.gaps)


def test_what_says_nothing_to_a_model_is_no_gap() -> None:
    part = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "index": 3}

    assert read([{"role": "user", "content": [part]}], Stage.INPUT).gaps == ()
