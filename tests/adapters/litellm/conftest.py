"""One proxy and one scripted model for every test here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3]))  # --import-mode=importlib leaves it out

from tests.adapters.litellm import upstream as scripted
from tests.adapters.litellm.proxying import Proxy, proxy_config, start, stop, wait_for, write
from tests.adapters.litellm.upstream import Upstream


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Upstream]:
    with scripted.serving() as upstream:
        yield upstream


@pytest.fixture
def upstream(upstreams: Upstream) -> Upstream:
    upstreams.reset()
    return upstreams


@pytest.fixture(scope="session")
def proxy(upstreams: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    proxy = start(write(folder, proxy_config(upstreams.url)))
    try:
        wait_for(proxy)
        yield proxy
    finally:
        stop(proxy)
