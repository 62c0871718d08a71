"""Each behaviour that was promised of the adapter has a test that is named after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROMISES = {
    "w1": "a guarded model is an instance of the provider's class",
    "w2": "a model is guarded inside its bindings, and once",
    "w3": "LangChain's own suites pass as for the raw model",
    "w4": "tools and structured output work, and a block is never a silent None",
    "w5": "what LangChain makes of a guarded model keeps the guard, or is refused",
    "w6": "no attribute of a guarded runnable is unguarded",
    "w7": "what was blocked is not tried again, and can be caught alone",
    "c1": "after an input block the provider is not called",
    "c2": "there is nothing to see of what was blocked",
    "c3": "what is streamed was judged before",
    "c4": "a redaction does not depend on where chunks end",
    "c5": "calls of tools go when their arguments were judged",
    "c6": "usage, metadata and id survive",
    "c7": "a stream that ends early closes the provider's",
    "c8": "calls at a time share nothing but the judge",
    "c9": "sync calls work in a running loop, async ones do not hold it",
    "c10": "a judge that fails is refused or let through as configured, and told of",
    "c11": "each text is judged once at each stage",
    "c12": "a whole answer is never half of it and a refusal",
    "m1": "every kind of content is judged or refused aloud",
    "m2": "results of tools are judged, system text where the route says so",
    "m3": "a blocked turn does not end the conversation",
    "r1": "the route comes from the developer, and is made stricter by the run",
    "r2": "callbacks and tracers see one guarded run",
    "r3": "a cache knows the policy, and never helps a raw answer past it",
    "r4": "nothing loads as an unguarded model",
    "a1": "no stream of an agent leaks, and its state is clean",
    "a2": "a blocked question ends the run, a blocked call is told to the model",
    "a3": "other middleware works with it",
    "a4": "a node of a graph judges",
}
"""m2 departs from judging only what is new: old turns are judged too, at the price of a look-up, so
that a client cannot forge one; an old turn that violates is redacted and the conversation goes on.
r1 has no context manager: `wrap` once per route, or tags, say the same without hidden state."""

TESTS = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


@pytest.mark.parametrize("name", PROMISES)
def test_the_promise_has_a_test_of_its_own(name: str) -> None:
    assert re.search(rf"^(async )?def test_{name}_|^class Test{name.upper()}", TESTS, re.MULTILINE)
