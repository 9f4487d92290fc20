"""Why a step of a run came from the cache, and why one did not: what it was asked with, beside what it was asked with before.

Kept of every run: `runs/<id>/asked.json` (`pipelines.cache`). Kept once for every version of the code of a step:
`cache/code/<digest>.json`, the files that it runs, so that a change of code is told by the names of the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from goodsight.digests import code_listing
from goodsight.errors import GoodsightError, InputError
from goodsight.files import read_json, write_json
from lineage import runs
from lineage.runs import Run

ASKED = "asked.json"
SHORT = 12
MOST_FILES = 5
ALWAYS = "finish"


@dataclass(frozen=True)
class Reason:
    """Why a step ran or did not: one sentence, and what differs from the nearest run before (`compared`)."""

    step: str
    cached: bool
    sentence: str
    differences: list[str] = field(default_factory=list)
    compared: str = ""
    same: list[str] = field(default_factory=list)


def keep_code(root: Path, step: str, digest: str) -> None:
    """Keeps which files the code of a step is made of."""
    place = root / "cache" / "code" / f"{digest}.json"
    if not place.exists():
        write_json(place, code_listing(f"components.steps.{step.split()[0]}"))


def why(root: Path, run: Run, step: str, everything: Iterable[Run]) -> Reason:
    """The reason for one step. Raises `InputError` when the run has no such step, or nothing is kept of what it was asked with."""
    return next(iter(_reasons(root, run, everything, step)))


def why_each(root: Path, run: Run, everything: Iterable[Run]) -> list[Reason]:
    """The reason for every step, in the order in which they came."""
    return list(_reasons(root, run, everything))


def _reasons(root: Path, run: Run, everything: Iterable[Run], only: str = "") -> Iterator[Reason]:
    asked = _asked(root, run.run_id)
    if not asked:
        hint = "Runs on a cluster are cached by Kubeflow Pipelines: see them there."
        raise InputError(f"Nothing is kept of what the steps of the run {run.run_id} were asked with.", hint)
    if only and only not in asked:
        raise InputError(*_no_such_step(run, only, list(asked)))
    newest_first = sorted(everything, key=_begun, reverse=True)
    earlier = [one for one in newest_first if _begun(one) < _begun(run)]
    for step in [only] if only else asked:
        yield _hit(root, asked[step], earlier) if asked[step]["outcome"] == "hit" else _miss(root, asked, step, earlier)


def _begun(run: Run) -> str:
    return run.since or run.started


def _no_such_step(run: Run, step: str, known: list[str]) -> tuple[str, str]:
    if step == ALWAYS:
        return f"The step {ALWAYS} is never cached: it runs at the end of every run.", "Ask for another one."
    reached = f"Its steps: {', '.join(known)}."
    if run.data_verdict == "failed" or run.verdict == "reject":
        judge = "the data were refused" if run.data_verdict == "failed" else "the gate rejected the candidate"
        return f"The run {run.run_id} did not come to a step {step!r}: {judge}.", reached
    return f"The run {run.run_id} has no step {step!r}.", reached


def _asked(root: Path, run_id: str) -> dict[str, dict[str, Any]]:
    """step -> what it was asked with."""
    try:
        return {each["step"]: each for each in read_json(runs.folder(root, run_id) / ASKED)}
    except GoodsightError:
        return {}


def _hit(root: Path, asked: dict[str, Any], earlier: list[Run]) -> Reason:
    made = asked["made"]
    maker = next((run for run in earlier if run.run_id == made.get("run_id")), None)
    seconds = next((step.seconds for step in maker.steps if step.name == asked["step"]), 0.0) if maker else 0.0
    by = f"the run {made['run_id']} made it at {made['time']}" if made else "a run before made it"
    took = f" in {seconds:,.1f} s" if seconds else ""
    sentence = f"Asked with the same code, arguments and inputs, {by}{took}; the bytes of its outputs are those that it left."
    return Reason(asked["step"], True, sentence, compared=made.get("run_id", ""), same=list(_shown(asked["parts"])))


def _miss(root: Path, asked: dict[str, dict[str, Any]], step: str, earlier: list[Run]) -> Reason:
    this = asked[step]
    if this["outcome"] in ("gone", "altered"):
        return Reason(step, False, _lost(this), compared=this["made"].get("run_id", ""))
    before = [(run, found[step]) for run in earlier if step in (found := _asked(root, run.run_id))]
    if not before:
        return Reason(step, False, "No run before in this home came to this step.")
    run, nearest = min(before, key=lambda pair: len(_changed(pair[1]["parts"], this["parts"])))  # of several the newest
    changed = _changed(nearest["parts"], this["parts"])
    if not changed:
        state = next((one.state for one in run.steps if one.name == step), "")
        ended = "and did not finish it" if state != "SUCCEEDED" else "but the entry is no longer in the cache"
        return Reason(step, False, f"The run {run.run_id} asked the same {ended}.", compared=run.run_id)
    told = [_difference(root, name, nearest["parts"], this["parts"], asked) for name in changed]
    sentence = f"It was never asked so before; nearest is the run {run.run_id}, which differs in {', '.join(map(_plain, changed))}."
    return Reason(step, False, sentence, told, run.run_id)


def _lost(asked: dict[str, Any]) -> str:
    by = f"What the run {asked['made']['run_id']} made" if asked["made"] else "What a run before made"
    if asked["outcome"] == "gone":
        return f"{by} is no longer there: its files were removed."
    return f"{by} is no longer what it was: {', '.join(asked['outputs'])} changed since, so it was made again."


def _flat(parts: dict[str, Any]) -> dict[str, Any]:
    arguments = {f"argument {name}": value for name, value in parts["arguments"].items()}
    return {**{name: value for name, value in parts.items() if name != "arguments"}, **arguments}


def _by_content(value: Any) -> Any:
    """What counts of a value: of an artifact its digest alone."""
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    return value["digest"] if isinstance(value, dict) and value.get("digest") else value


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    one, two = _flat(before), _flat(now)
    return [name for name in {**one, **two} if _by_content(one.get(name)) != _by_content(two.get(name))]


def _plain(name: str) -> str:
    return name.removeprefix("argument ")


def _difference(root: Path, name: str, before: dict[str, Any], now: dict[str, Any], asked: dict[str, Any]) -> str:
    one, two = _flat(before).get(name), _flat(now).get(name)
    if name == "argument code":
        return _code(root, str(one), str(two))
    if name == "command":
        return "what the component itself runs is another: its shell, or kfp"
    if maker := _maker(two):
        ran = next((step for step in asked if step.split()[0] == maker and asked[step]["outcome"] != "hit"), "")
        because = f", because {ran} ran" if ran else f", from {maker}"
        return f"input {_plain(name)}: {_value(one)} → {_value(two)}{because}"
    return f"{_plain(name)}: {_value(one)} → {_value(two)}"


def _maker(value: Any) -> str:
    """The step that made an input."""
    first = value[0] if isinstance(value, list) and value else value
    return str(first["from"]).split("/")[0].split()[0] if isinstance(first, dict) and first.get("from") else ""


def _code(root: Path, before: str, now: str) -> str:
    try:
        one, two = (read_json(root / "cache" / "code" / f"{digest}.json") for digest in (before, now))
    except GoodsightError:
        return f"code: {before[:SHORT]} → {now[:SHORT]}"
    files = sorted(path for path in {**one, **two} if one.get(path) != two.get(path))
    more = f" and {len(files) - MOST_FILES} more" if len(files) > MOST_FILES else ""
    return f"code: {', '.join(files[:MOST_FILES])}{more} changed"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    if isinstance(value, dict):
        return str(value.get("digest") or value.get("sha256") or value)[:SHORT]
    return "nothing" if value in (None, "") else str(value)


def _shown(parts: dict[str, Any]) -> Iterator[str]:
    for name, value in _flat(parts).items():
        if value not in ("", {}):
            text = _value(value)
            yield f"{_plain(name)} {text[:SHORT] if name in ('command', 'argument code') else text}"
