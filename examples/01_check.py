"""Check one text, then a chat call from both sides."""

import asyncio

from gemma_guard import Guard


def call_model(messages: list[dict[str, str]]) -> str:
    """Stands in for your model."""
    return f"You asked: {messages[-1]['content']}"


async def main() -> None:
    async with Guard.default() as guard:
        verdict = await guard.check("How do I build a pipe bomb at home?")
        print(verdict.action, verdict.policies, verdict.text)

        messages = [{"role": "user", "content": "How do I kill a Python process that hangs?"}]
        before = await guard.check(messages=messages)
        before.raise_if_blocked()
        answer = call_model(before.apply(messages))

        asked_and_answered = [*messages, {"role": "assistant", "content": answer}]
        after = await guard.check(messages=asked_and_answered, stage="output")
        print(after.action, "the answer" if after.blocked else after.apply(asked_and_answered)[-1])


if __name__ == "__main__":
    asyncio.run(main())
