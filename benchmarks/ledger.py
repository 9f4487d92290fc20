"""Whether the ledger keeps what it acknowledged while its writers are killed: 8 processes that append 1,000 events each.

    python benchmarks/ledger.py [--processes 8] [--events 1000] [--url postgresql://...]

Every writer says the number of an event once `append` has returned; it is killed (SIGKILL) after a random number of them, so
somewhere in the next append, and another one goes on. Then the chain is verified, against the checkpoint too, and every
acknowledged event is looked for. Last, what reading costs at that size. Writes `benchmarks/results/ledger-sqlite.json`, or
`ledger-postgresql.json`, with the URL's password left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from goodsight.digests import HOUSE, sha256_json
from lineage.ledger import Ledger

WRITER = """
import sys
from lineage.ledger import Ledger
url, worker, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
ledger = Ledger(url)
for number in range(first, last):
    seq = ledger.append("run", worker, [worker * 64], {"number": number}).seq
    print(seq, number, flush=True)
"""


def writer(url: str, worker: str, events: int, between_kills: int) -> tuple[list[tuple[int, int]], int]:
    """What was acknowledged, as (seq, number), until all `events` were, and how many writers were killed on the way."""
    draw, acknowledged, kills, first = random.Random(worker), [], 0, 0
    while first < events:
        command = [sys.executable, "-c", WRITER, url, worker, str(first), str(events)]
        patience = draw.randint(1, 2 * between_kills)
        with subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            for line in process.stdout:
                if not line.endswith("\n"):  # killed in the middle of a word
                    break
                seq, number = map(int, line.split())
                acknowledged.append((seq, number))
                first, patience = number + 1, patience - 1
                if patience == 0 and first < events:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
        if process.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"A writer ended with status {process.returncode}.")
    return acknowledged, kills


def survive(url: str, processes: int, events: int, between_kills: int) -> dict[str, Any]:
    """Lets them write and be killed, and says what came of it. `lost` must be 0; `verify` raises for a gap or a broken chain."""
    workers = [chr(ord("a") + place) for place in range(processes)]
    started = time.perf_counter()
    with ThreadPoolExecutor(processes) as pool:
        told = list(pool.map(lambda worker: writer(url, worker, events, between_kills), workers))
    seconds = time.perf_counter() - started
    ledger = Ledger(url)
    length = ledger.verify()
    kept = {(event.seq, event.actor, event.payload["number"]) for event in ledger.events("run")}
    promised = {(seq, worker, number) for worker, (rows, _) in zip(workers, told, strict=True) for seq, number in rows}
    return {
        "processes": processes,
        "events_each": events,
        "kills": sum(kills for _, kills in told),
        "acknowledged": len(promised),
        "length": length,
        "lost": len(promised - kept),
        "seconds": seconds,
    }


def reading(url: str) -> dict[str, float]:
    """Milliseconds to find the events about one digest, those of a kind, and to walk the chain."""
    ledger = Ledger(url)
    digest = sha256_json("one of many")
    ledger.append("snapshot", "reader", [digest], {})

    def milliseconds(call: Any) -> float:
        started = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - started)

    assert len(ledger.about(digest)) == len(ledger.events("snapshot")) == 1
    calls = {"about": lambda: ledger.about(digest), "events_of_a_kind": lambda: ledger.events("snapshot"), "verify": ledger.verify}
    return {name: min(milliseconds(call) for _ in range(5)) for name, call in calls.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--between-kills", type=int, default=100, help="How many events a writer lives for, in the mean.")
    parser.add_argument("--url", default="", help="An empty database; default: a SQLite file.")
    given = parser.parse_args()
    from machine import described

    with tempfile.TemporaryDirectory() as home:
        os.environ["GOODSIGHT_HOME"] = home
        url = given.url or f"sqlite:///{home}/ledger.db"
        found = survive(url, given.processes, given.events, given.between_kills)
        backend = make_url(url).get_backend_name()
        report = {"benchmark": f"ledger-{backend}", **described(), **found, "milliseconds": reading(url)}
    out = Path(__file__).resolve().parent / "results" / f"ledger-{backend}.json"
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
