"""`goodsight embed` and `goodsight categorize` with `--input`: what a registered version says of every product of a catalogue."""

from __future__ import annotations

import contextlib
from pathlib import Path

import typer

from goodsight.errors import InputError
from pipelines.options import login, print_json


def answer_catalogue(task: str, given: Path, out: Path | None, version: str, k: int, root: Path, as_json: bool) -> None:
    """Imports the catalogue folder `given` as a version, answers every product into the Parquet file `out`, tells the ledger.

    Raises `InputError` when there is no `out`, no model or no catalogue.
    """
    from dataclasses import asdict

    from catalogue.versions import describe, import_version, opened
    from goodsight.settings import silence_telemetry
    from lineage import record
    from lineage.registry import candidate_folder
    from pipelines.events import Listener
    from serving.bulk import predict, work_of

    if out is None:
        raise InputError("There is no file to write to.", "Give --output FILE.parquet.")
    silence_telemetry()
    wanted = version or _champion()
    candidate = candidate_folder(wanted)
    with Listener(root / "bulk.log", quiet=as_json) as listener, contextlib.redirect_stdout(listener):
        revision = import_version(given, given.resolve().name, root)
        record.snapshot(describe(revision, root), "import", login())
        with opened(revision, root) as (snapshot, _):
            work = work_of(task, wanted, candidate, snapshot, k)  # type: ignore[arg-type]
            count = predict(candidate, work, snapshot, out)
    record.bulk(asdict(work), revision, out, count, login())
    if as_json:
        print_json({**asdict(work), "revision": revision, "products": count, "file": str(out)})
    else:
        typer.echo(f"{out}: {count:,} products of {revision}, by version {wanted}")


def _champion() -> str:
    from lineage import champion

    now = champion.current()
    if now is None:
        raise InputError("No version is champion.", "Train one first (goodsight run), or give --version.")
    return now.version
