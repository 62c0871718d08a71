"""A LangChain chat model with a guard before and behind it; it is still the same class."""

from gemma_guard_langchain import wrap
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser

from gemma_guard import Bands, Guard, Guideline, Policy
from gemma_guard.scorers.fake import Fake

HARASSMENT = Policy(
    "harassment",
    input=Bands(block=0.8),
    output=Bands(redact=0.5, block=0.8),
    guideline=Guideline(
        input='"No Harassment": The prompt shall not contain or seek malicious content.',
        output='"No Harassment": The chatbot shall not generate malicious content.',
    ),
)
JUDGE = Fake({"harassment": {"you are worthless": 0.9, "idiot": 0.6}})


def main() -> None:
    model = FakeListChatModel(responses=["Sleep well and eat fish.", "Only an idiot skips sleep."])
    guarded = wrap(model, Guard.of([HARASSMENT], JUDGE))

    chain = guarded | StrOutputParser()
    print("allowed: ", chain.invoke("How do I stay healthy?"))
    print("redacted:", chain.invoke("And what if I do not?"))

    answer = guarded.invoke("Tell Ann: you are worthless.")
    print("blocked: ", answer.content, answer.response_metadata["guardrail"]["policies"])


if __name__ == "__main__":
    main()
