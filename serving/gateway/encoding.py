"""The JSON of a request as the model server takes it. Media of some size are encoded in a thread, in pieces that let others go on."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from serving.gateway.bodies import LARGE

PIECE = 3 * 2**16  # bytes; a multiple of three, so that the pieces of base64 join


async def encoded(fields: Mapping[str, Any]) -> bytes:
    """`fields` as JSON, those that are bytes as base64."""
    size = sum(len(value) for value in fields.values() if isinstance(value, (bytes, str)))
    return await asyncio.to_thread(_encoded, fields) if size > LARGE else _encoded(fields)


def _encoded(fields: Mapping[str, Any]) -> bytes:
    plain = {name: value for name, value in fields.items() if not isinstance(value, bytes)}
    pieces = [json.dumps(plain, ensure_ascii=True).encode()[:-1]]
    for name, value in fields.items():
        if isinstance(value, bytes):
            pieces += [b', "' if len(pieces) > 1 or plain else b'"', name.encode(), b'": "', *_base64(value), b'"']
    return b"".join([*pieces, b"}"])


def _base64(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE):
        yield base64.b64encode(data[start : start + PIECE])
