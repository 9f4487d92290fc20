"""A validated snapshot beside the one before it: how the data moved, in figures and in sentences worth a look."""

from __future__ import annotations

from typing import Any

from catalogue.verdict import DataVerdict

SHRINKS, MOVES, LACKS, SPOILS = 0.1, 0.1, 0.05, 0.05  # shares from which on a change is worth a look
NAMED = 5  # categories in a sentence

Figures = dict[str, Any]


def compare(before: Figures, after: DataVerdict) -> Figures:
    """The verdict on the snapshot before (as JSON) against this one: figures, and `notable` sentences."""
    old, new = before["categories"], after.categories
    coverage = {name: round(after.coverage[name] - share, 4) for name, share in before["coverage"].items() if name in after.coverage}
    quarantined = [_share(side["quarantined"], side["products_in"]) for side in (before, after.to_json())]
    found: Figures = {
        "with": before["raw_digest"],
        "products": [before["kept"], after.kept],
        "queries": [before["queries_kept"], after.queries_kept],
        "quarantined": quarantined,
        "category_shift": round(shift(old, new), 4),
        "new_categories": sorted(new.keys() - old.keys()),
        "gone_categories": sorted(old.keys() - new.keys()),
        "coverage": coverage,
    }
    return found | {"notable": list(_notable(found))}


def shift(before: dict[str, int], after: dict[str, int]) -> float:
    """Total variation distance of two distributions over categories: the share of products that would have to move."""
    names, totals = before.keys() | after.keys(), (sum(before.values()) or 1, sum(after.values()) or 1)
    return sum(abs(before.get(name, 0) / totals[0] - after.get(name, 0) / totals[1]) for name in names) / 2


def _notable(found: Figures) -> list[str]:
    told = []
    (before, after), (queries_before, queries_after) = found["products"], found["queries"]
    for what, old, new in (("products", before, after), ("queries", queries_before, queries_after)):
        if new < old * (1 - SHRINKS):
            told.append(f"{old - new:,} of {old:,} {what} are gone")
    if found["category_shift"] > MOVES:
        told.append(f"{found['category_shift']:.0%} of the products moved between categories")
    for words, names in (("new", found["new_categories"]), ("gone", found["gone_categories"])):
        if names:
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            told.append(f"{words} categories: {', '.join(names[:NAMED])}{more}")
    told += [f"{-change:.0%} fewer products have {name}" for name, change in found["coverage"].items() if change < -LACKS]
    if found["quarantined"][1] > found["quarantined"][0] + SPOILS:
        told.append("{:.0%} of the products are in quarantine, {:.0%} were".format(*reversed(found["quarantined"])))
    return told


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
