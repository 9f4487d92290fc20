"""Reads what was asked: JSON, one request or a batch; multipart/form-data; or an image alone. Nothing is decoded here.

Every failure is a `Problem`: 400 for a malformed body, 413 for a large one, 415 for another content type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.filters import Filters
from serving.gateway.problems import Problem, fields_at_fault
from serving.gateway.schemas import FORMS as BODIES
from serving.gateway.schemas import LARGEST_BATCH, MEDIA, SAID
from serving.request import max_media_bytes

LARGE = 2**17  # bytes from which a body is read in a thread
FORMS = "Send application/json, multipart/form-data, or an image as the body (content type image/...)."

T = TypeVar("T")
Fields = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """The requests of a body: fields that passed their checks, or in the place of a wrong one of a batch its problem."""

    requests: list[Fields | Problem]
    batch: bool = False


async def read(request: Request, task: str) -> Asked:
    """What the body of `request` asks of `task`. Raises `Problem`."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json")):
        body = await request.body()
        return await asyncio.to_thread(_of_json, body, task) if len(body) > LARGE else _of_json(body, task)
    if kind.startswith("image/"):
        return Asked([_with_media({}, {"image": await request.body()}, task)])
    if kind == "multipart/form-data":
        return Asked([await _of_form(request, task)])
    raise Problem(415, f"The content type {'is missing' if not kind else 'is none that is read here'}. {FORMS}")


async def in_time(request: Request, reading: Awaitable[T]) -> T:
    """What `reading` a body gives. Raises `Problem` when the body does not come before the request's time is up."""
    try:
        async with asyncio.timeout_at(request.state.deadline):
            return await reading
    except TimeoutError as error:
        raise Problem(408, "The body did not come in time.") from error


def _of_json(body: bytes, task: str) -> Asked:
    try:
        told = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"The body is not JSON: {error}.") from error
    if not isinstance(told, dict):
        raise Problem(400, "The body is JSON, but not an object.")
    if "requests" not in told:
        return Asked([checked(told, task)])
    requests = told["requests"]
    if len(told) > 1 or not isinstance(requests, list) or not all(isinstance(each, dict) for each in requests):
        raise Problem(400, "A batch is an object with the one field `requests`: a list of objects.")
    if not 1 <= len(requests) <= LARGEST_BATCH:
        raise Problem(400, f"A batch has 1 to {LARGEST_BATCH} requests; this one has {len(requests)}.")
    return Asked([_checked_or_problem(each, task) for each in requests], batch=True)


def _checked_or_problem(fields: Fields, task: str) -> Fields | Problem:
    try:
        return checked(fields, task)
    except Problem as problem:
        return problem


def checked(fields: Mapping[str, Any], task: str, strict: bool = True) -> Fields:
    """The fields that have a value. Raises `Problem` when one is wrong, or too few are there."""
    media = {name: fields[name] for name in MEDIA if fields.get(name) is not None}
    for name, value in media.items():
        if not isinstance(value, str):
            raise Problem(400, f"Bad request: {name}: it is a string, the file in base64.")
    _check_media({name: len(value) * 3 // 4 for name, value in media.items()})
    return _complete({**_validated(fields, task, strict), **media})


def _validated(fields: Mapping[str, Any], task: str, strict: bool) -> Fields:
    """The fields beside media, which the model server decodes."""
    others = {name: value for name, value in fields.items() if name not in MEDIA}
    try:
        return BODIES[task].model_validate(others, strict=strict).model_dump(exclude_unset=True, exclude_none=True)
    except ValidationError as error:
        raise Problem(400, f"Bad request: {fields_at_fault(error)}.") from error


def _with_media(fields: Mapping[str, Any], media: dict[str, bytes], task: str) -> Fields:
    """The checked fields of a form, with its media as they came."""
    _check_media({name: len(data) for name, data in media.items()})
    return _complete({**_validated(fields, task, strict=False), **{name: data for name, data in media.items() if data}})


def _check_media(sizes: Mapping[str, int]) -> None:
    limit = max_media_bytes()
    for name, size in sizes.items():
        if size > limit:
            raise Problem(413, f"The {name} has {size:,} bytes; at most {limit:,} are allowed.")


def _complete(fields: Fields) -> Fields:
    """`fields` themselves. Raises `Problem` when there is nothing to answer."""
    said = {**fields, "text": fields.get("text", "").strip()}
    if not any(said.get(name) for name in SAID):
        raise Problem(400, "Bad request: give a text, an image, attributes, a video or a sound.")
    return fields


def filters(text: str) -> Fields:
    """The filters in a parameter of the address. Raises `Problem`."""
    try:
        return Filters.model_validate(_json("filters", text)).model_dump(exclude_unset=True, exclude_none=True)
    except ValidationError as error:
        raise Problem(400, f"Bad request: filters: {fields_at_fault(error)}.") from error


async def _of_form(request: Request, task: str) -> Fields:
    try:
        async with request.form(max_files=len(MEDIA), max_fields=200, max_part_size=2**18) as form:
            media = await _media(form)
            return _with_media(_texts(form), media, task)
    except HTTPException as error:
        raise Problem(400, f"The form cannot be read: {error.detail}") from error
    except (ValueError, LookupError) as error:
        raise Problem(400, "The form cannot be read: it is not multipart/form-data in UTF-8.") from error


async def _media(form: FormData) -> dict[str, bytes]:
    files = [(name, part) for name, part in form.multi_items() if isinstance(part, UploadFile)]
    names = [name for name, _ in files]
    if not set(names) <= set(MEDIA) or len(set(names)) < len(names):
        raise Problem(400, f"Bad request: a form has at most one file each for {', '.join(MEDIA)}, and no other file.")
    return {name: await part.read() for name, part in files}


def _texts(form: FormData) -> Fields:
    """The other fields; those that are JSON, read."""
    fields: Fields = {}
    for name in form:
        values = [value for value in form.getlist(name) if isinstance(value, str)]
        if not values:
            continue
        if name in MEDIA:
            raise Problem(400, f"Bad request: {name}: in a form it is a file, with a file name.")
        if name != "liked" and len(values) > 1:
            raise Problem(400, "Bad request: of the fields of a form, only `liked` may be repeated.")
        fields[name] = values if name == "liked" else _json(name, values[0]) if name in ("attributes", "filters") else values[0]
    return fields


def _json(name: str, text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, f"Bad request: {name}: it is not JSON.") from error
