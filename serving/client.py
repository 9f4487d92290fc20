"""A small client of the running server: `Client.connect(home).search("red sofa")`."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from goodsight.errors import BusyError, GoodsightError, InputError, NotFoundError
from serving import running
from serving.running import ANSWER_SECONDS, MODEL, Running

if TYPE_CHECKING:
    import httpx

START = "Start it with: goodsight serve"
REFUSED = {400: InputError, 404: NotFoundError}


Media = bytes | Path | None


class Others(TypedDict, total=False):
    """What a request may have beside a text and an image; only some architectures read it."""

    attributes: dict[str, Any]
    video: Media
    audio: Media


def _fields(attributes: dict[str, Any] | None = None, **media: Media) -> dict[str, Any]:
    """The fields of a request that are there, media as base64."""
    found: dict[str, Any] = {"attributes": attributes} if attributes else {}
    for name, data in media.items():
        if isinstance(data, Path):
            try:
                data = data.read_bytes()
            except OSError as error:
                hint = f"Give the {name} as a file that can be read."
                raise InputError(f"The {name} {error.filename} cannot be read: {error.strerror}.", hint) from error
        if data is not None:
            found[name] = base64.b64encode(data).decode()
    return found


class Client:
    """Requests to one server, to its default version or to `version`."""

    def __init__(self, server: Running, version: str = "") -> None:
        import httpx

        self.path = f"/predictions/{MODEL}/{version}" if version else f"/predictions/{MODEL}"
        headers = {"Authorization": f"Bearer {server.key('inference')}"}
        self.http = httpx.Client(base_url=server.url, headers=headers, timeout=ANSWER_SECONDS + 10, trust_env=False)

    @staticmethod
    def connect(home: Path) -> Client:
        """A client of the server that `goodsight serve` keeps up for `home`.

        Raises `GoodsightError` when there is none and `BusyError` while it starts or stops.
        """
        from goodsight.settings import settings

        server = running.read(running.runtime(home))
        if server is None or not server.alive():
            raise GoodsightError(f"There is no server at http://127.0.0.1:{settings().inference_port} for {home}.", START)
        if server.state != "ready":
            raise BusyError(f"The server at {server.url} is {server.state}.", "Try again in some seconds.")
        return Client(server)

    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises `InputError` for a malformed one, `NotFoundError` for one about a product that is not
        there, `GoodsightError` when the server fails.
        """
        import httpx

        try:
            response = self.http.post(self.path, json=request)
        except httpx.HTTPError as error:
            raise GoodsightError(f"The server at {self.http.base_url} does not answer: {error}.", START) from error
        body = _json(response)
        if response.status_code in REFUSED and "error" in body:
            raise REFUSED[response.status_code](body["error"])
        if response.is_error:
            raise GoodsightError(f"The server failed: {response.status_code} {body.get('message', response.text[:200])}.")
        return body

    def search(self, text: str | None = None, image: Media = None, k: int = 10, **others: Unpack[Others]) -> dict[str, Any]:
        """The `k` products nearest to a text, an image, a table of attributes, a video, a sound, or several of them."""
        return self.predict({"task": "search", "text": text, "k": k, **_fields(image=image, **others)})

    def categorize(self, text: str | None = None, image: Media = None, k: int = 5, **others: Unpack[Others]) -> dict[str, Any]:
        """The `k` likeliest categories of a product with this text, image, attributes, video, sound, or several of them."""
        return self.predict({"task": "categorize", "text": text, "k": k, **_fields(image=image, **others)})


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
