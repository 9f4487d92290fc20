"""What happens to a shop in the simulated year: deliveries, and the events that the loop must notice, or must not.

Everything is drawn from a seed before the first day; no strategy changes what happens. A record is a product as the catalogue has it
from one day to another: with a category, by a camera.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np
from loop_features import Features
from loop_model import Known

START = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday
YEAR = 365
AT_START = 0.6  # of the products of the first day's categories
DELIVERIES = (0, 3)  # days of the week
NEW_SHARE, RENAMED_SHARE, SEASON_SHARE = 0.1, 0.15, 0.25  # of the products, by category
BAD_SHARE, POISON_SHARE = 0.35, 0.7  # rows of the bad file beside those known, copies with wrong categories beside those for training
RESHOT, RESHOT_MOST = 0.04, 0.6  # of the catalogue a delivery day, and in the end
FOREVER = 10_000


@dataclass(frozen=True)
class Calendar:
    """The day of each event, and how long those last that end."""

    days: int = YEAR
    bad_file: int = 37
    bad_file_lasts: int = 3  # until the supplier sends it again
    new_categories: int = 75
    new_range_takes: int = 21
    camera: int = 130
    season: int = 190
    season_lasts: int = 45
    labels: int = 275
    labels_take: int = 14  # from the day people use the new names until the last record has them
    poison: int = 321
    poison_lasts: int = 14  # until people take it out

    @staticmethod
    def of(days: int) -> Calendar:
        """The same events in as many days."""
        given = {field.name: field.default for field in fields(Calendar)}
        return Calendar(**{name: max(1, round(int(day) * days / YEAR)) for name, day in given.items()})


def time_of(day: float) -> datetime:
    return START + timedelta(days=day)


@dataclass(frozen=True)
class Record:
    """`until` is the day from which it is no more."""

    row: int
    since: int
    until: int
    category: str
    camera: int
    split: str
    why: str = ""  # `bad file` or `poison`


class World:
    """A year of a catalogue."""

    def __init__(self, features: Features, calendar: Calendar, seed: int = 17) -> None:
        self.features, self.calendar, self.seed = features, calendar, seed
        self.dice = np.random.default_rng(seed)
        self.base = features.shop.categories
        self.split = [row["split"] for row in features.shop.products]
        sizes = Counter(self.base)
        order = [sorted(sizes)[place] for place in self.dice.permutation(len(sizes))]
        small = [name for name in order if sizes[name] <= 0.06 * len(self.base)]
        self.fresh = _up_to(small, sizes, NEW_SHARE * len(self.base))
        left = [name for name in order if name not in self.fresh and sizes[name] >= min(10, len(self.base) // len(sizes))]
        self.renamed = {name: _renamed(name) for name in _up_to(left, sizes, RENAMED_SHARE * len(self.base))}
        others = [name for name in left if name not in self.renamed]
        self.in_season = set(_up_to(others, sizes, SEASON_SHARE * len(self.base)))
        self.arrival = self._arrivals()
        self._digests: dict[tuple[int, bool], str] = {}
        self._differences: dict[tuple[int, int, bool], tuple[float, int]] = {}
        self.records = [*self._catalogue(), *self._bad_file(), *self._poison()]

    def _delivery_days(self, first: int, last: int) -> list[int]:
        days = [day for day in range(first, last) if time_of(day).weekday() in DELIVERIES]
        return days or [first]

    def _arrivals(self) -> np.ndarray:
        """(N,) the day on which each product comes."""
        days = self._delivery_days(1, self.calendar.days)
        range_days = self._delivery_days(self.calendar.new_categories, self.calendar.new_categories + self.calendar.new_range_takes)
        found = np.zeros(len(self.base), dtype=int)
        for row, category in enumerate(self.base):
            drawn = self.dice.random(2)
            if category in self.fresh:
                found[row] = range_days[int(drawn[1] * len(range_days))]
            elif drawn[0] > AT_START:
                found[row] = days[int(drawn[1] * len(days))]
        return found

    def _catalogue(self) -> Iterable[Record]:
        """Each product from its arrival: photographed again, and under its category's new name, from some day on."""
        reshoots = self._delivery_days(self.calendar.camera + 1, self.calendar.days)
        moves = self._delivery_days(self.calendar.labels + 2, self.calendar.labels + self.calendar.labels_take)
        for row, category in enumerate(self.base):
            since, again, moved = int(self.arrival[row]), FOREVER, FOREVER
            place = int(self.dice.random() / RESHOT)
            if since < self.calendar.camera and place < min(len(reshoots), RESHOT_MOST / RESHOT):
                again = reshoots[place]
            if category in self.renamed:
                moved = max(since, moves[int(self.dice.integers(len(moves)))])
            starts = sorted({since, *(day for day in (again, moved) if since < day < FOREVER)})
            for start, end in zip(starts, [*starts[1:], FOREVER], strict=True):
                camera = int(start >= again or since >= self.calendar.camera)
                yield Record(row, start, end, self.renamed[category] if start >= moved else category, camera, self.split[row])

    def _bad_file(self) -> Iterable[Record]:
        """Rows without a text, in whatever category: columns of a supplier's table that slipped."""
        there = np.flatnonzero(self.arrival < self.calendar.bad_file)
        names = sorted({self.base[row] for row in there})
        first, last = self.calendar.bad_file, self.calendar.bad_file + self.calendar.bad_file_lasts
        for row in self.dice.choice(there, size=round(BAD_SHARE * len(there)), replace=False):
            yield Record(int(row), first, last, names[int(self.dice.integers(len(names)))], 0, "train", "bad file")

    def _poison(self) -> Iterable[Record]:
        """Copies of training products, each category's in the place of another: every rule on the data is kept."""
        there = [row for row in np.flatnonzero(self.arrival < self.calendar.poison) if self.split[row] == "train"]
        names = sorted({self.truth(int(row), self.calendar.poison) for row in there})
        wrong = dict(zip(names, [*names[1:], names[0]], strict=True))
        first, last = self.calendar.poison, self.calendar.poison + self.calendar.poison_lasts
        for row in self.dice.choice(there, size=round(POISON_SHARE * len(there)), replace=False):
            yield Record(int(row), first, last, wrong[self.truth(int(row), first)], 1, "train", "poison")

    def truth(self, row: int, day: int) -> str:
        """What people call a product's category on that day."""
        return self.renamed.get(self.base[row], self.base[row]) if day >= self.calendar.labels else self.base[row]

    def live(self, day: int) -> np.ndarray:
        """Held-out products that are asked about: those of the categories that the shop sells by then."""
        sold = day >= self.calendar.new_categories
        return np.array([row for row, name in enumerate(self.base) if self.split[row] == "test" and (sold or name not in self.fresh)])

    def dark(self, day: int) -> bool:
        return day >= self.calendar.camera

    def season(self, day: int) -> bool:
        return self.calendar.season <= day < self.calendar.season + self.calendar.season_lasts

    def refused(self, day: int) -> bool:
        """Whether the newest delivery is the bad file."""
        return 0 <= day - self.calendar.bad_file < self.calendar.bad_file_lasts

    def poisoned(self, day: int) -> bool:
        """Whether copies with wrong categories are in the catalogue."""
        return 0 <= day - self.calendar.poison < self.calendar.poison_lasts

    def at(self, day: int, checked: bool = True) -> list[Record]:
        """The records of a day; `checked` without those of a file that validation refuses."""
        return [record for record in self.records if record.since <= day < record.until and not (checked and record.why == "bad file")]

    def known(self, day: int, checked: bool = True) -> Known:
        """The snapshot of a day."""
        records = self.at(day, checked)
        return Known(
            rows=np.array([record.row for record in records]),
            camera=np.array([record.camera for record in records]),
            categories=[record.category for record in records],
            split=[record.split for record in records],
            blank=np.array([record.why == "bad file" for record in records]),
        )

    def digest(self, day: int, checked: bool = True) -> str:
        """Of the snapshot of a day."""
        key = (day, checked)
        if key not in self._digests:
            self._digests[key] = self.known(day, checked).digest
        return self._digests[key]

    def difference(self, before: int, now: int, checked: bool = True) -> tuple[float, int]:
        """Between two days: the share of the products of both that are new, changed or gone, and how many categories are new."""
        if (before, now, checked) not in self._differences:
            sides = (self.at(before), self.at(now, checked))
            old, new = ({(each.row, each.why): (each.category, each.camera) for each in side} for side in sides)
            every = old.keys() | new.keys()
            changed = sum(old.get(key) != new.get(key) for key in every)
            categories = {name for name, _ in new.values()} - {name for name, _ in old.values()}
            self._differences[before, now, checked] = changed / len(every), len(categories)
        return self._differences[before, now, checked]


def _up_to(names: Sequence[str], sizes: Counter[str], wanted: float) -> list[str]:
    """The first of `names` that together have so many products."""
    found: list[str] = []
    for name in names:
        if sum(sizes[each] for each in found) >= wanted:
            break
        found.append(name)
    return found


def _renamed(path: str) -> str:
    *above, leaf = path.split(" > ")
    return " > ".join([*above, f"New {leaf.lower()} range"])
