"""Stream an answer: each sentence is seen once it was judged; redacted or cut off where needed."""

import asyncio
from collections.abc import AsyncIterator

from gemma_guard import Guard
from gemma_guard.settings import loads

CONFIG = """
routes:
  default:
    scorer: lite
    packs: [lite, privacy]
    stream: {mode: window, window_chars: 40}
"""


async def answer(text: str) -> AsyncIterator[str]:
    """Stands in for your model."""
    for start in range(0, len(text), 4):
        await asyncio.sleep(0)
        yield text[start : start + 4]


async def main() -> None:
    said = "Let me see what we have on file. The card is 4111 1111 1111 1111, valid until May."
    async with Guard(loads(CONFIG)) as guard:
        async for piece in guard.stream(answer(said), prompt="Which card do we have on file?"):
            print(piece.text, end="", flush=True)
    if piece.verdict:  # the last piece has one
        print(f"\n{piece.verdict.action}:", *(r.text for r in piece.verdict.redactions))


if __name__ == "__main__":
    asyncio.run(main())
