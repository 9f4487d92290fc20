"""How often drift is found where nothing changed, and how large a change must be to be found: by simulation, at the default policy.

    python benchmarks/false_alarms.py REFERENCE         # <home>/monitoring/reference/<version>, as `goodsight drift` makes it

Traffic is drawn, with replacement, from the reference of a model that was trained on the furniture sample: real requests, really
answered. In a simulated month the champion's first days and each of 30 days are drawn anew, so nothing changes but by chance. An alarm
is what a policy acts on: the same finding in two windows in a row, a day apart. That it must also be far from the reference is left out
(`drawn.py`), so the alarms are rather too many. Changes of known size go through `monitoring.drift.compare` as traffic does.
Writes benchmarks/results/false-alarms.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from drawn import judged, parts, rates, tested
from machine import described

from monitoring.drift import DriftReport, compare, confirmed
from monitoring.drift_policy import DriftPolicy

RESULT = Path(__file__).with_name("results") / "false-alarms.json"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAYS, WEEK = 30, 7
CLICKED, EMPTY, REFUSED = 0.3, 0.01, 0.02  # of searches, of searches, of all
ROWS = 1_200  # of the reference that is drawn
Change = Callable[[pa.Table, float, np.random.Generator], pa.Table]


@dataclass(frozen=True)
class Scenario:
    """Unchanged traffic: so many answers a day to different requests; of equal ones drift counts one."""

    name: str
    months: int
    a_day: int


SCENARIOS = (Scenario("a shop", 1_000, 1_000), Scenario("a busier shop", 100, 4_000))


def drawn(pool: pa.Table, count: int, dice: np.random.Generator) -> pa.Table:
    """`count` rows of the pool."""
    return pool.take(dice.integers(0, pool.num_rows, count))


def lived(traffic: pa.Table, dice: np.random.Generator) -> pa.Table:
    """The same with clicks, searches without a result and refused requests."""
    searches = np.asarray(traffic["task"].to_numpy() == "search")
    chance = dice.random((3, len(searches)))
    results = np.where(searches & (chance[1] < EMPTY), 0, 10)
    status = np.where(chance[2] < REFUSED, "refused", "ok")
    clicked = pa.array(chance[0] < CLICKED, mask=~searches | (status != "ok"))
    return put(traffic, results=pa.array(results, pa.int32()), status=pa.array(status), clicked=clicked)


def put(traffic: pa.Table, **columns: pa.Array) -> pa.Table:
    for name, values in columns.items():
        place = traffic.schema.get_field_index(name)
        traffic = traffic.set_column(place, traffic.schema.field(place), values.cast(traffic.schema.field(place).type))
    return traffic


def at(report: DriftReport, day: int) -> DriftReport:
    return replace(report, until=(BEGIN + timedelta(days=day)).isoformat())


def unchanged(pool: pa.Table, scenario: Scenario, policy: DriftPolicy, dice: np.random.Generator) -> dict[str, Any]:
    """Alarms of so many months in which nothing changed."""
    slices, alarms, single, certain = parts(pool), 0, 0, 0
    searches = np.asarray(pool["task"].to_numpy() == "search")
    started = time.perf_counter()
    for month in range(scenario.months):
        size = round(scenario.a_day * policy.baseline_days)
        before, days = counts(pool.num_rows, size, 1, dice)[0], counts(pool.num_rows, scenario.a_day, DAYS, dice)
        found = [each for part in slices for each in tested(part, before, days, policy)]
        found += rates(happened(before, searches, dice), [happened(day, searches, dice) for day in days], policy)
        drifted, sure = judged(found, policy)
        twice = [bool(one & two) for one, two in zip(drifted[1:], drifted, strict=False)]
        alarms += sum(now and not before for now, before in zip(twice, [False, *twice], strict=False))
        single += sum(map(bool, drifted))
        certain += sum(sure)
        if month % 50 == 49:
            print(f"{scenario.name}: {month + 1} months, {alarms} alarms, {time.perf_counter() - started:.0f} s", flush=True)
    return {
        "months": scenario.months,
        "answers_a_day": scenario.a_day,
        "findings": len(found),
        "alarms": alarms,
        "alarms_a_month": alarms / scenario.months,
        "alarms_a_month_at_most_95": round(_upper(alarms) / scenario.months, 5),
        "windows": DAYS * scenario.months,
        "windows_with_drift": single,
        "windows_with_p_below_alpha": certain,
        "share_with_p_below_alpha": round(certain / DAYS / scenario.months, 5),
        "seconds": round(time.perf_counter() - started, 1),
    }


def counts(rows: int, size: int, samples: int, dice: np.random.Generator) -> np.ndarray:
    """How often each row was drawn (samples, rows)."""
    return np.stack([np.bincount(dice.integers(0, rows, size), minlength=rows) for _ in range(samples)])


def happened(drawn: np.ndarray, searches: np.ndarray, dice: np.random.Generator) -> dict[str, tuple[int, int]]:
    """Searches without a result, without a click, and refused requests: how many, of how many."""
    asked, found = int(drawn.sum()), int(drawn[searches].sum())
    chances = {"zero_results": (EMPTY, found), "no_click": (1 - CLICKED, found), "refused": (REFUSED, asked)}
    return {name: (int(dice.binomial(size, chance)), size) for name, (chance, size) in chances.items()}


def _upper(count: int) -> float:
    """The upper 95 % bound of the mean of a Poisson count."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * (count + 1)) / 2)


def darker(traffic: pa.Table, size: float, _: np.random.Generator) -> pa.Table:
    """All photos darker by this share: what is linear in the pixels goes with them."""
    scaled = {name: pa.array(traffic[name].to_numpy() * (1 - size), from_pandas=True) for name in ("brightness", "contrast", "sharpness")}
    return put(traffic, **scaled)


def other_language(traffic: pa.Table, size: float, dice: np.random.Generator) -> pa.Table:
    """This share of texts in a language that the reference lacks, none of whose words the index has."""
    moved = (dice.random(traffic.num_rows) < size) & traffic["text_chars"].is_valid().to_numpy()
    language = pa.array(np.where(moved, "fi", traffic["language"].to_numpy()), from_pandas=True)
    return put(traffic, language=language, oov=pa.array(np.where(moved, 1.0, traffic["oov"].to_numpy()), from_pandas=True))


def other_category(traffic: pa.Table, size: float, dice: np.random.Generator) -> pa.Table:
    """This share of the answers in one of the categories, and their embeddings alike."""
    known = traffic["category"].is_valid().to_numpy() & (traffic["task"].to_numpy() == "categorize")
    moved = known & (dice.random(traffic.num_rows) < size)
    names, categories = np.unique(traffic["category"].to_numpy()[known].astype(str), return_counts=True)
    wanted = names[np.argsort(categories)[len(names) // 2]]
    return put(traffic, category=pa.array(np.where(moved, wanted, traffic["category"].to_numpy()), from_pandas=True))


def new_topic(traffic: pa.Table, size: float, dice: np.random.Generator) -> pa.Table:
    """This share of the embeddings turned to where there were none: mirrored."""
    moved = (dice.random(traffic.num_rows) < size) & traffic["sketch"].is_valid().to_numpy()
    told = zip(traffic["sketch"].to_pylist(), moved.tolist(), strict=True)
    rows = [[-value for value in row] if turned else row for row, turned in told]
    return put(traffic, sketch=pa.array(rows, traffic.schema.field("sketch").type))


def longer(traffic: pa.Table, size: float, _: np.random.Generator) -> pa.Table:
    """All texts longer by this share."""
    long = {name: np.round(traffic[name].to_numpy() * (1 + size)) for name in ("text_chars", "text_words")}
    return put(traffic, **{name: pa.array(values, from_pandas=True) for name, values in long.items()})


def fewer_clicks(traffic: pa.Table, size: float, dice: np.random.Generator) -> pa.Table:
    """This share of the clicks stay away."""
    clicked = traffic["clicked"].to_pylist()
    lost = (dice.random(len(clicked)) < size).tolist()
    left = [None if value is None else value and not gone for value, gone in zip(clicked, lost, strict=True)]
    return put(traffic, clicked=pa.array(left))


def no_results(traffic: pa.Table, size: float, dice: np.random.Generator) -> pa.Table:
    """This share of the searches without a result."""
    moved = (dice.random(traffic.num_rows) < size) & (traffic["task"].to_numpy() == "search")
    return put(traffic, results=pa.array(np.where(moved, 0, traffic["results"].to_numpy())))


CHANGES: dict[str, tuple[Change, tuple[float, ...]]] = {
    "photos darker by": (darker, (0.02, 0.05, 0.1, 0.15, 0.2)),
    "texts longer by": (longer, (0.1, 0.2, 0.3, 0.5)),
    "share of texts in a new language": (other_language, (0.02, 0.05, 0.1, 0.2)),
    "share moved to one category": (other_category, (0.05, 0.1, 0.2, 0.3)),
    "share of a new topic": (new_topic, (0.02, 0.05, 0.1, 0.2)),
    "share of clicks lost": (fewer_clicks, (0.1, 0.2, 0.3, 0.5)),
    "share of searches without results": (no_results, (0.02, 0.04, 0.06, 0.1)),
}


def noticed(pool: pa.Table, change: Change, size: float, policy: DriftPolicy, times: int, dice: np.random.Generator) -> dict[str, Any]:
    """Of so many changes that came at once at the start of a day: how many were found within a week, and after how many days."""
    windows, days = 0, []
    for _ in range(times):
        reference, baseline = drawn(pool, ROWS, dice), lived(drawn(pool, 3_000, dice), dice)
        before = None
        for day in range(WEEK):
            report = at(compare(reference, change(lived(drawn(pool, 1_000, dice), dice), size, dice), policy, baseline), day)
            windows += bool(report.drifted) if day == 0 else 0
            if before and confirmed([report, before], policy):
                days.append(day + 1)
                break
            before = report
    told = {"size": size, "first_window": round(windows / times, 3), "within_a_week": round(len(days) / times, 3)}
    return {**told, "days": round(float(np.mean(days)), 2) if days else None}


def table(report: dict[str, Any]) -> str:
    """Markdown of a result: unchanged traffic, then changes and after how many days they are found."""
    rows = ["| unchanged traffic | months | alarms a month (at most, 95 %) | windows with p below alpha, % |", "|---|---|---|---|"]
    for name, found in report["unchanged"].items():
        alarms = f"{found['alarms_a_month']:.3f} ({found['alarms_a_month_at_most_95']:.3f})"
        told = f"{name}, {found['answers_a_day']:,} answers a day", f"{found['months']:,}"
        cells = (*told, alarms, f"{100 * found['share_with_p_below_alpha']:.2f}")
        rows.append(f"| {' | '.join(cells)} |")
    head = "change, from one day to the next", "size", "seen on the first day, %", "alarm within a week, %", "after days"
    rows += ["", f"| {' | '.join(head)} |", 5 * "|---" + "|"]
    for name, sizes in report["sensitivity"].items():
        for found in sizes:
            seen = [f"{100 * found[part]:.0f}" for part in ("first_window", "within_a_week")]
            size, days = found["size"], "" if found["days"] is None else f"{found['days']:.1f}"
            rows.append(f"| {' | '.join((name, f'{100 * size:.0f} %', *seen, days))} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--months", type=int, default=1_000, help="of the first scenario; the others in proportion")
    parser.add_argument("--times", type=int, default=20, help="changes of each size")
    parser.add_argument("--seed", type=int, default=20261127)
    parser.add_argument("--out", type=Path, default=RESULT)
    given = parser.parse_args()
    pool, policy, dice = pq.read_table(given.reference / "traffic.parquet"), DriftPolicy(), np.random.default_rng(given.seed)
    scenarios = [replace(each, months=max(1, each.months * given.months // 1_000)) for each in SCENARIOS]
    alarms = {each.name: unchanged(pool, each, policy, dice) for each in scenarios}
    sensitivity = {
        name: [noticed(pool, change, size, policy, given.times, dice) for size in sizes] for name, (change, sizes) in CHANGES.items()
    }
    record = json.loads((given.reference / "reference.json").read_text())
    told = {**described(), "seed": given.seed, "reference": record, "policy": policy.model_dump(), "times": given.times}
    given.out.write_text(json.dumps({**told, "unchanged": alarms, "sensitivity": sensitivity}, indent=1) + "\n")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
