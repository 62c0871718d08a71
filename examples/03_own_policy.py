"""Policies of your own, in Python and in YAML, with a scorer of your own."""

import asyncio
import tempfile
from pathlib import Path

from gemma_guard import Bands, Guard, Guideline, Patterns, Policy, PolicyPack
from gemma_guard.scorers.fake import Fake

MEDICAL = Policy(
    "medical_advice",
    input=Bands(log=0.3),
    output=Bands(log=0.3, block=0.7),
    guideline=Guideline(
        input='"No Medical Advice": The prompt shall not seek a diagnosis or a dose.',
        output='"No Medical Advice": The chatbot shall not give a diagnosis or a dose.',
    ),
)
TICKETS = Policy(
    "ticket_numbers", output=Bands(redact=1.0), patterns=Patterns(expressions=(r"TCK-\d{6}",))
)


async def check() -> None:
    judge = Fake({"medical_advice": {"take 200 mg": 0.9}})
    async with Guard.of([MEDICAL, TICKETS], judge) as guard:
        for answer in ("See TCK-123456.", "Take 200 mg twice a day."):
            verdict = await guard.check(answer, stage="output")
            print(verdict.action, verdict.policies, verdict.text)


if __name__ == "__main__":
    asyncio.run(check())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clinic.yaml")
        path.write_text(PolicyPack("clinic", "1", (MEDICAL, TICKETS)).to_yaml())
        print(len(PolicyPack.from_yaml(path).policies), "policies in", path.name)
