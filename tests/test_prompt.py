"""Every template is what its source printed, byte for byte."""

from __future__ import annotations

import pytest

from gemma_guard.errors import ConfigError, UsageError
from gemma_guard.prompt import CONTROLS, TEMPLATES, Template, template
from gemma_guard.verdict import Stage

RULE = '"No Lies": The prompt shall not lie (e.g., fibs).'

HF_CHAT_INPUT = """\
<bos>You are a policy expert trying to help determine whether a user prompt is in violation of the \
defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

===

Does the human question violate the above principle? Your answer must start with 'Yes' or 'No'. \
And then walk through step by step to be sure we answer correctly.

"""

HF_CHAT_OUTPUT = """\
<bos>You are a policy expert trying to help determine whether an AI response to a prompt is in \
violation of the defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>
<start_of_turn>
Chatbot Response: A friend.
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

===

Does the Chatbot Response violate the above principle? Your answer must  start with 'Yes' or 'No'. \
And then walk through step by step to be sure we answer correctly.

"""

NOTEBOOK_INPUT = """\
<bos>You are a policy expert trying to help determine
whether a user prompt is in violation of the defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

===

Does the human question violate the above principle? Your answer must start with
'Yes' or 'No'. And then walk through step by step to be sure we answer
correctly.

"""

NOTEBOOK_OUTPUT = """\
<bos>You are a policy expert trying to help determine
whether an AI response to prompt is in violation of the defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>

<start_of_turn>
Chatbot Response: A friend.
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

===

Does the Chatbot Response violate the above principle? Your answer must start
with 'Yes' or 'No'. And then walk through step by step to be sure  we answer
correctly.

"""

MODEL_CARD = """\
<bos>You are a policy expert trying to help determine whether a user prompt is in
violation of the defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

===

Does the human question violate the above principle? Your answer must start with
'Yes' or 'No'. And then walk through step by step to be sure we answer
correctly."""

SEED = """\
<bos>You are a policy expert trying to help determine whether a user
prompt is in violation of the defined safety policies.

<start_of_turn>
Human Question: Who are you?
<end_of_turn>

Our safety principle is defined in the below:

* "No Lies": The prompt shall not lie (e.g., fibs).

Does the human question violate the above principle? Your answer must start
with 'Yes' or 'No'. And then walk through step by step to be sure we answer
correctly.
"""

INPUTS = {
    "hf-chat": HF_CHAT_INPUT,
    "notebook": NOTEBOOK_INPUT,
    "model-card": MODEL_CARD,
    "seed": SEED,
}
OUTPUTS = {"hf-chat": HF_CHAT_OUTPUT, "notebook": NOTEBOOK_OUTPUT}


@pytest.mark.parametrize("name", INPUTS)
def test_a_prompt_is_asked_about_in_the_published_words(name: str) -> None:
    found = TEMPLATES[name].render(Stage.INPUT, RULE, "Who are you?")
    assert found.encode() == INPUTS[name].encode()


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_answer_is_asked_about_in_the_published_words(name: str) -> None:
    found = TEMPLATES[name].render(Stage.OUTPUT, RULE, "A friend.", "Who are you?")
    assert found.encode() == OUTPUTS[name].encode()


def test_every_template_is_held_to_its_source() -> None:
    assert INPUTS.keys() == TEMPLATES.keys()
    assert OUTPUTS.keys() == {name for name, t in TEMPLATES.items() if Stage.OUTPUT in t.forms}


@pytest.mark.parametrize("name", ["model-card", "seed"])
def test_a_template_without_words_for_answers_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}.*output"):
        TEMPLATES[name].render(Stage.OUTPUT, RULE, "A friend.", "Who are you?")


@pytest.mark.parametrize("name", INPUTS)
def test_texts_are_stripped_and_an_answer_may_stand_without_its_prompt(name: str) -> None:
    found = TEMPLATES[name].render(Stage.INPUT, RULE, " \n Who are you?\n\n")
    assert found == INPUTS[name]
    if name in OUTPUTS:
        alone = TEMPLATES[name].render(Stage.OUTPUT, RULE, "A friend.\n")
        assert alone == OUTPUTS[name].replace("Who are you?", "")


@pytest.mark.parametrize("each", TEMPLATES.values(), ids=TEMPLATES)
def test_a_template_begins_once_and_its_suffixes_hold_no_control_token(each: Template) -> None:
    for stage, form in each.forms.items():
        whole = each.render(stage, RULE, "a", "b")
        assert whole.startswith("<bos>")
        assert whole.count("<bos>") == 1
        assert not any(control in form.suffix(RULE) for control in CONTROLS)


def test_the_fingerprint_names_the_template_and_its_words() -> None:
    assert all(each.fingerprint.startswith(name) for name, each in TEMPLATES.items())
    given = TEMPLATES["hf-chat"]
    less = Template("hf-chat", {Stage.INPUT: given.forms[Stage.INPUT]})
    assert given.fingerprint != less.fingerprint


def test_an_unknown_template_is_told_the_names() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hf-chat'"):
        template("hf-chatt")
