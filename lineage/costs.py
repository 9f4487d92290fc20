"""What a run cost, from its event in the ledger."""

from __future__ import annotations

from typing import Any

from goodsight.errors import InputError
from lineage import history
from lineage.event import Event
from lineage.passport import subject_of
from lineage.sources import Sources


def cost_of(wanted: str, sources: Sources) -> dict[str, Any]:
    """Seconds of the run `wanted`, or of the run that made the model `wanted`, in all and by step, and the steps that it did not do.

    A step that came from the cache cost its seconds in the run before. Raises `InputError` when the ledger tells of no such run.
    """
    told = next((event for event in history.of_kind(sources.ledger, "run").events if event.payload["run_id"] == wanted), None)
    told = told or _of_model(wanted, sources)
    payload = told.payload
    kept = {name: payload.get(name) for name in ("run_id", "revision", "state", "seconds", "version")}
    return {**kept, "ended": told.time, "steps": payload.get("steps") or {}, "cached": list(payload.get("cached") or ())}


def _of_model(wanted: str, sources: Sources) -> Event:
    subject = subject_of(wanted, sources)
    registered = [event for event in history.of_kind(sources.ledger, "registration").events if event.payload["version"] == subject.name]
    runs = history.about(sources.ledger, registered[0].payload["candidate"]).of("run") if registered else []
    if subject.kind != "model" or not runs:
        hint = "See them with: goodsight models list"
        raise InputError(f"The ledger tells of no run {wanted!r}, and of none that made such a model.", hint)
    return runs[0]
