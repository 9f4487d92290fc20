"""A shop whose products have pictures, prices and attributes, served by a real predictor and a real gateway in this process."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import uvicorn
from PIL import Image, ImageDraw
from starlette.requests import Request
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed
from ts.context import Context

from goodsight.digests import canonical_json
from goodsight.errors import InputError
from goodsight.files import read_json, write_json
from lineage.passport import passport
from lineage.sources import Sources
from serving.display import Display
from serving.gateway.app import create
from serving.gateway.gateway import Gateway
from serving.gateway.problems import Problem
from serving.gateway.server import listening
from serving.gateway.upstream import Transport, Upstream
from serving.goodsight_handler import GoodsightHandler
from serving.index import build_index
from serving.predictor import Predictor
from tests.serving.gateway.standing import InProcess

COLOURS = ("red", "blue", "green", "black")
HOSTILE = '<img src=x onerror="document.title=1">'
PRODUCTS = 20
KEY = "gs_let_me_in"


def picture(colour: str, kind: str = "WEBP") -> bytes:
    """A disc on white."""
    image, out = Image.new("RGB", (120, 90), "white"), io.BytesIO()
    ImageDraw.Draw(image).ellipse((35, 20, 85, 70), fill=colour)
    image.save(out, kind)
    return out.getvalue()


def archive(made: Any, folder: Path) -> Path:
    """A model archive with `made`'s candidate and an index of products like those of `made`, but with all that a page shows.

    The first product's title is markup, the second has no picture.
    """
    (folder / "candidate").symlink_to(made.candidate)
    predictor = Predictor.load(made.candidate, made.index)
    known = predictor.index.listing.products.to_pydict()
    products = pa.table(
        {
            "id": [f"shop/{id} ä" for id in known["id"]],
            "title": [HOSTILE, *known["title"][1:]],
            "category": known["category"],
            "price": [None, *[9.5 + 10 * row for row in range(1, PRODUCTS)]],
            "attributes": [canonical_json({"colour": COLOURS[row // 5], "movable": row % 2 == 0}) for row in range(PRODUCTS)],
        }
    )
    images = [(id, None if row == 1 else picture(COLOURS[row // 5])) for row, id in enumerate(products["id"].to_pylist())]
    build_index(predictor.index.vectors, products, predictor.index.record, folder / "index", images=images)
    write_json(folder / "version.json", {"version": "7"})
    return folder


@dataclass
class Window:
    """An open shop, at `url`."""

    url: str
    gateway: Gateway
    index: Path
    facets: dict[str, Any]


class Locked(Gateway):
    """A gateway whose callers need `KEY`."""

    async def admit(self, request: Request, scope: str) -> None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Problem(401, "Send a key as `Authorization: Bearer gs_...`.")
        await super().admit(request, scope)


def transport(folder: Path) -> InProcess:
    """To the archive in `folder`. Whoever calls this sees to it that the prediction log is the one of the settings."""
    handler = GoodsightHandler()
    handler.initialize(Context("goodsight", str(folder), {}, 8, -1, "0.12.0"))
    return InProcess(handler, folder / "predictions.db")


@contextmanager
def opened(carrier: Transport, folder: Path, kind: type[Gateway] = Gateway) -> Iterator[Window]:
    """The shop of the archive in `folder` on a free port of this machine, in a thread."""
    sources = Sources(folder, f"sqlite:///{folder / 'ledger.db'}", f"sqlite:///{folder / 'predictions.db'}", lambda name: [], _none)
    gateway = kind(Upstream(carrier, 64), 30.0, lambda id: passport(id, sources), display=Display(lambda: folder / "index"))
    port = listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create(gateway), lifespan="off", log_config=None, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [port]})
    thread.start()
    try:
        yield Window(f"http://127.0.0.1:{port.getsockname()[1]}", gateway, folder / "index", read_json(folder / "index" / "facets.json"))
    finally:
        server.should_exit = True
        thread.join()


def logged(url: str, id: str) -> None:
    """Waits until the prediction log, which is written a moment after the answer, has the answer `id`."""
    not_yet = retry_if_result(lambda status: status == 404)
    Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.05), retry=not_yet)(
        lambda: httpx.get(f"{url.rstrip('/')}/v1/predictions/{id}", trust_env=False).status_code
    )


def _none(revision: str) -> None:
    raise InputError(f"There is no version {revision}.")
