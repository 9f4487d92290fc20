"""What a hostile caller gets: 10,000 damaged requests, then ten minutes of good and damaged ones with memory watched.

    python benchmarks/fuzz.py --home .goodsight [--damaged 10000] [--minutes 10]

Photos and sounds of the sample are cut, flipped, stuffed and mislabelled, JSON and forms are damaged as text, and all is sent to the
gateway of a copy of the home. Nothing may be answered by a 5xx (a 429 is no fault), nothing may stay without an answer, and memory
must not grow. Writes `benchmarks/results/fuzz.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import struct
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from load import Asked
from machine import described
from served import asked_for, copied, gateway, memory, resident, to_gateway

from goodsight.files import write_json
from goodsight.settings import settings
from samples import furniture

OUT = Path(__file__).resolve().parent / "results" / "fuzz.json"
CALLERS = 8
TASKS = ("categorize", "search", "embed", "recommend")
HANG_SECONDS = 30
JSON_VALUES: tuple[Any, ...] = (None, True, -1, 1e308, "", "\ud800", "x" * 5000, [], {}, [[]], {"min": "a"}, "NaN", 10**30, "\x00")


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def flipped(data: bytes, draw: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(draw.randint(1, 40)):
        altered[draw.randrange(len(altered))] = draw.randrange(256)
    return bytes(altered)


def header_flipped(data: bytes, draw: random.Random) -> bytes:
    altered = bytearray(data)
    for _ in range(draw.randint(1, 8)):
        altered[draw.randrange(min(200, len(altered)))] = draw.randrange(256)
    return bytes(altered)


def stuffed(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + draw.randbytes(draw.randint(1, 5000)) + data[place:]


def bomb(data: bytes, draw: random.Random) -> bytes:
    """A PNG whose header promises many pixels."""
    sides = struct.pack(">II", draw.choice((1, 60_000, 2**31 - 1)), draw.choice((60_000, 2**31 - 1)))
    header = b"IHDR" + sides + b"\x08\x02\x00\x00\x00"
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + draw.randbytes(200)


MEDIA_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (cut, flipped, header_flipped, stuffed, bomb)


def damaged_json(fields: dict[str, Any], draw: random.Random) -> bytes:
    changed = dict(fields)
    name = draw.choice([*changed, "effort", "filters", "lexical", "rerank", "liked", "product", "attributes", "k", "unknown"])
    changed[name] = draw.choice(JSON_VALUES)
    text = json.dumps(changed).encode()
    way = draw.randrange(5)
    if way == 0:
        return cut(text, draw)
    if way == 1:
        return flipped(text, draw)
    if way == 2:
        return b"[" * draw.choice((10, 100_000)) + text
    if way == 3:
        return json.dumps({"requests": [changed] * draw.choice((0, 1, 33))}).encode()
    return text


def form(fields: dict[str, bytes], files: dict[str, bytes], draw: random.Random) -> tuple[bytes, str]:
    """A multipart body, in half of the cases damaged as bytes."""
    boundary, out = "x" * draw.randint(1, 70), io.BytesIO()
    for name, value in fields.items():
        out.write(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n")
    for name, data in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="f"\r\nContent-Type: image/jpeg\r\n\r\n'
        out.write(head.encode() + data + b"\r\n")
    out.write(f"--{boundary}--\r\n".encode())
    body = out.getvalue()
    return (flipped(body, draw) if draw.random() < 0.5 else body), f"multipart/form-data; boundary={boundary}"


def damaged(draw: random.Random, photos: list[bytes], sounds: list[bytes]) -> Iterator[Asked]:
    """Damaged requests without end."""
    while True:
        path, way = f"/v1/{draw.choice(TASKS)}", draw.randrange(5)
        medium, kind = (draw.choice(photos), "image") if draw.random() < 0.7 else (draw.choice(sounds), "audio")
        broken = draw.choice(MEDIA_DAMAGES)(medium, draw)
        if way == 0:
            yield Asked(path, broken, draw.choice(("image/jpeg", "image/png", "image/x-nothing")))
        elif way == 1:
            yield Asked(path, json.dumps({kind: base64.b64encode(broken).decode()}).encode())
        elif way == 2:
            yield Asked(path, damaged_json({"text": "a red sofa", "k": 3}, draw))
        elif way == 3:
            body, content_type = form({"k": b"3", "text": draw.randbytes(8)}, {kind: broken}, draw)
            yield Asked(path, body, content_type)
        else:
            yield Asked(path, draw.randbytes(draw.randrange(2000)), draw.choice(("application/json", "text/plain", "", "a/b; c")))


async def send(url: str, requests: Iterator[Asked], ends: Callable[[int], bool]) -> tuple[Counter[str], float, list[str]]:
    """Statuses, the longest wait, and what was answered by a 5xx or not at all."""
    statuses: Counter[str] = Counter()
    longest, faults, begun = 0.0, [], 0

    async def caller(session: aiohttp.ClientSession) -> None:
        nonlocal longest, begun
        while not ends(begun):
            begun += 1
            asked, started = next(requests), time.perf_counter()
            try:
                async with session.post(url + asked.path, data=asked.body, headers={"Content-Type": asked.content_type}) as response:
                    said = await response.read()
                    status = response.status
            except (aiohttp.ClientError, TimeoutError) as error:
                said, status = repr(error).encode(), 0
            longest = max(longest, time.perf_counter() - started)
            statuses[str(status)] += 1
            if status == 0 or status >= 500:
                faults.append(f"{asked.path} {asked.content_type} {asked.body[:80]!r}: {status} {said[:300]!r}")

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HANG_SECONDS)) as session:
        await asyncio.gather(*(caller(session) for _ in range(CALLERS)))
    return statuses, longest, faults


def soak(url: str, leader: int, requests: Iterator[Asked], minutes: float) -> dict[str, Any]:
    """Good and damaged requests for so long, memory after each half minute."""
    statuses: Counter[str] = Counter()
    faults: list[str] = []
    used: list[dict[str, float]] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        until = min(end, time.monotonic() + 30)
        found, _, wrong = asyncio.run(send(url, requests, lambda _, until=until: time.monotonic() >= until))  # type: ignore[misc]
        statuses += found
        faults += wrong
        used.append(resident(leader))
    by_process = {name: [each[name] for each in used] for name in used[-1]}
    return {"statuses": dict(statuses), "faults": faults[:5], "resident_mib": by_process}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, default=settings().root)
    parser.add_argument("--damaged", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    chosen = parser.parse_args()
    draw = random.Random(0)
    photos = [path.read_bytes() for path in sorted((furniture() / "images").iterdir())[:40]]
    sounds = [path.read_bytes() for path in sorted(furniture().rglob("*")) if path.suffix in (".flac", ".ogg", ".wav", ".mp3")][:20]
    bad, good = damaged(draw, photos, sounds), [to_gateway(each) for each in asked_for(40)]

    def mixed() -> Iterator[Asked]:
        while True:
            yield next(bad) if draw.random() < 0.5 else draw.choice(good)

    with tempfile.TemporaryDirectory() as folder:
        home = copied(chosen.home, Path(folder) / "home")
        os.environ |= {"GOODSIGHT_HOME": str(home), "GOODSIGHT_THREADS": "1", "OMP_NUM_THREADS": "1"}
        settings.cache_clear()
        result: dict[str, Any] = described()
        with gateway(home, Path(folder) / "log") as (url, started):
            asyncio.run(send(url, iter(good), lambda begun: begun >= len(good) - CALLERS))
            before = memory(started.pid)
            statuses, longest, faults = asyncio.run(send(url, bad, lambda begun: begun >= chosen.damaged))
            result["damaged"] = {"requests": sum(statuses.values()), "statuses": dict(sorted(statuses.items())), "faults": faults[:20]}
            result["damaged"] |= {"longest_seconds": round(longest, 2), "memory_mib": [before, memory(started.pid)]}
            print(json.dumps(result["damaged"], indent=2), flush=True)
            result["soak"] = {"minutes": chosen.minutes, **soak(url, started.pid, mixed(), chosen.minutes)}
    write_json(OUT, result)
    print(json.dumps(result["soak"], indent=2))


if __name__ == "__main__":
    main()
