from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from gemma_guard_lite import Lite
from gemma_guard_lite.model import Model


@pytest.fixture(scope="session")
def model() -> Model:
    return Model()


@pytest.fixture
async def lite() -> AsyncIterator[Lite]:
    async with Lite() as scorer:
        yield scorer
