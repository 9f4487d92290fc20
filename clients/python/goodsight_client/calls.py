"""What each call sends and how its answer is read, whoever carries it: the part that `Client` and `AsyncClient` share."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from goodsight_client.errors import Failed, GoodsightError, Refused, Unavailable
from goodsight_client.models import Categories, Feedback, Problem, Products, Vectors
from goodsight_client.retries import TEMPORARY, Retries

Media = bytes | Path
Task = Literal["categorize", "search", "embed", "recommend"]
Effort = Literal["low", "medium", "high"]
ANSWERS: dict[str, Any] = {"categorize": Categories, "search": Products, "embed": Vectors, "recommend": Products}
LARGEST_BATCH = 32


class Prices(TypedDict, total=False):
    min: float
    max: float


class Filters(TypedDict, total=False):
    """What products must have; of several values for one property, one suffices."""

    category: list[str]
    price: Prices
    attributes: dict[str, list[str]]


class Asked(TypedDict, total=False):
    """What any request may have beside a text."""

    image: Media
    attributes: dict[str, Any]
    video: Media
    audio: Media
    effort: Effort
    k: int


class Searched(Asked, total=False):
    """What a search may have beside."""

    filters: Filters
    lexical: float
    rerank: bool


class Recommended(Asked, total=False):
    """What a recommendation may have beside."""

    liked: list[str]
    filters: Filters


class Said(TypedDict, total=False):
    """What any feedback may have beside."""

    time: str  # when it happened, ISO 8601; default: now
    visitor: str  # tells your visitors apart


class Done(Said, total=False):
    """What a click or a purchase may have beside."""

    query: str  # the words searched for, only where they are to be kept


T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request and what its answer is read as."""

    method: str
    path: str
    read: Callable[[Any], T]
    json: Any = None
    params: dict[str, Any] = field(default_factory=dict)

    def answer(self, response: httpx.Response) -> T:
        """The answer in a response. Raises `Refused`, `Unavailable` or `Failed`."""
        if not response.is_success:
            raise _error(response)
        try:
            return self.read(response.json())
        except (ValueError, ValidationError, KeyError) as error:
            raise Failed(f"{response.request.url} did not answer as a Goodsight server does: {error}") from error


def predict(task: Task, asked: Mapping[str, Any]) -> Call[Any]:
    """One request of a task."""
    return Call("POST", f"/v1/{task}", ANSWERS[task].model_validate, _fields(asked))


def batches(task: Task, requests: Iterable[Mapping[str, Any]]) -> list[Call[list[Any]]]:
    """Many requests of a task, as many a call as the server takes; in the place of a request that failed is its `Problem`."""
    return _parts(f"/v1/{task}", ANSWERS[task], map(_fields, requests))


def _parts(path: str, answer: Any, requests: Iterable[Any]) -> list[Call[list[Any]]]:
    each, asked = TypeAdapter(answer | Problem), list(requests)
    parts = [asked[start : start + LARGEST_BATCH] for start in range(0, len(asked), LARGEST_BATCH)]
    return [
        Call("POST", path, lambda body: [each.validate_python(one) for one in body["responses"]], {"requests": part}) for part in parts
    ]


def feedback(kind: str, prediction: str, about: Mapping[str, Any]) -> Call[Feedback]:
    """One piece of feedback on an answer."""
    piece = {"kind": kind, "prediction": prediction, **about}
    return Call("POST", "/v1/feedback", Feedback.model_validate, _fields(piece))


def much_feedback(pieces: Iterable[Mapping[str, Any]]) -> list[Call[list[Any]]]:
    """Many pieces, as many a call as the server takes; in the place of one that was refused is its `Problem`."""
    return _parts("/v1/feedback", Feedback, map(_fields, pieces))


def similar(product: str, k: int) -> Call[Products]:
    """The products that are like one of the catalogue."""
    return Call("GET", f"/v1/products/{quote(product, safe='')}/similar", Products.model_validate, params={"k": k})


def passport(id: str) -> Call[dict[str, Any]]:
    """What stands behind an answer."""
    return Call("GET", f"/v1/predictions/{quote(id, safe='')}", dict)


def tries(call: Call[T], retries: Retries) -> Generator[float, httpx.Response | httpx.TransportError, T]:
    """Yields the seconds to wait before each try, is sent what came of it, and returns the answer.

    Raises `Unavailable` when no try reached the server, and like `Call.answer`.
    """
    wait = 0.0
    for tried in range(1, retries.tries + 1):
        came = yield wait
        last = tried == retries.tries
        if isinstance(came, httpx.TransportError):
            if last:
                raise Unavailable(f"{call.path} was tried {tried} times: {came or type(came).__name__}") from came
            wait = retries.wait(tried)
        elif last or came.status_code not in TEMPORARY:
            return call.answer(came)
        else:
            wait = retries.wait(tried, came.headers.get("Retry-After"))
    raise AssertionError("a last try returns or raises")


def _fields(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a request: what is there, media as base64."""
    return {name: _plain(value) for name, value in asked.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        value = value.read_bytes()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _error(response: httpx.Response) -> GoodsightError:
    try:
        problem = Problem.model_validate(response.json())
    except (ValueError, ValidationError):
        problem = Problem(status=response.status_code, title=response.reason_phrase, detail=response.text[:200])
    kind = Unavailable if response.status_code in TEMPORARY else Refused if response.is_client_error else Failed
    return kind(str(problem), problem)
