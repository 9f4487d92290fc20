"""The gateway over ASGI, before a real predictor in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from ts.context import Context

from goodsight.files import write_json
from goodsight.settings import settings
from serving.gateway.access import Access
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.passports import passports
from serving.gateway.tracing import Tracing
from serving.gateway.upstream import Transport, Upstream
from serving.goodsight_handler import GoodsightHandler
from tests.serving.gateway.standing import InProcess, Stand, Standing
from tests.serving.gateway.window import Window, archive, opened, transport


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def stand() -> Stand:
    """Makes a gateway before `transport`."""

    @asynccontextmanager
    async def made(
        transport: Transport, queue: int = 64, slots: int = 16, seconds: float = 30.0, access: Access | None = None, tracer: Any = None
    ) -> AsyncIterator[Standing]:
        upstream = Upstream(transport, queue, slots, tracing=Tracing(tracer))
        gateway = Gateway(upstream, seconds, passports(settings().root), access or Access())
        app = create(gateway, tracer)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            yield Standing(app, gateway, client)

    return made


@pytest.fixture(scope="session")
def model(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """The transport to a real predictor."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "candidate").symlink_to(made.candidate)
    (folder / "index").symlink_to(made.index)
    write_json(folder / "version.json", {"version": "7"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_PREDICTIONS_URI", f"sqlite:///{folder / 'predictions.db'}")
        settings.cache_clear()
        handler = GoodsightHandler()
        handler.initialize(Context("goodsight", str(folder), {}, 8, -1, "0.12.0"))
    settings.cache_clear()
    yield InProcess(handler, folder / "predictions.db")


@pytest.fixture
async def gateway(model: InProcess, stand: Stand) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway before the real predictor."""
    async with stand(model) as standing:
        yield standing.client


@pytest.fixture(scope="module")
def carrier(made: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    folder = archive(made, tmp_path_factory.mktemp("shop"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOODSIGHT_PREDICTIONS_URI", f"sqlite:///{folder / 'predictions.db'}")
        settings.cache_clear()
        yield transport(folder)
    settings.cache_clear()


@pytest.fixture(scope="module")
def window(carrier: InProcess) -> Iterator[Window]:
    with opened(carrier, carrier.database.parent) as shop:
        yield shop
