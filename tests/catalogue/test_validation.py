"""Validation: bad rows go to quarantine with a reason that can be read, good ones stay, too many bad ones fail."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from catalogue.validation import DataVerdict, validate
from goodsight.errors import InputError, IntegrityError
from tests.catalogue.made import PRODUCTS, Make, Record, jpeg, noise_jpeg, product, query, write_catalogue, write_lines


class Outcome:
    """What validation of a catalogue folder gave."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.raw = import_catalogue(folder, work / "raw")
        self.report = work / "report"
        self.verdict: DataVerdict = validate(work / "raw", work / "out", work / "quarantine.parquet", self.report)
        self.rows: list[dict[str, Any]] = pq.read_table(work / "quarantine.parquet").to_pylist()
        self.snapshot = Snapshot.open(work / "out")

    @property
    def reasons(self) -> list[str]:
        return ["; ".join(row["reasons"]) for row in self.rows]

    def kept(self) -> list[str]:
        return self.snapshot.products(["id"])["id"].to_pylist()


def _outcome(make: Make, work: Path, change: dict[int, Record]) -> Outcome:
    """Validates the good catalogue with these fields of these products changed."""
    return Outcome(make([product(index) | change.get(index, {}) for index in range(PRODUCTS)]), work)


def test_a_good_catalogue_passes_untouched(make_catalogue: Make, tmp_path: Path) -> None:
    outcome = Outcome(make_catalogue(), tmp_path)
    verdict = outcome.verdict
    assert verdict.decision == "passed" and verdict.kept == verdict.products_in == PRODUCTS
    assert verdict.queries_kept == verdict.queries_in == PRODUCTS and outcome.rows == []
    assert verdict.digest == verdict.raw_digest == outcome.raw["digest"] == outcome.snapshot.manifest["parent"]
    assert verdict.coverage == {"image": 1.0, "video": 1.0, "audio": 1.0, "description": 1.0, "price": 1.0}
    assert json.loads(json.dumps(verdict.to_json()))["quarantined"] == 0


def _seven_bad(folder: Path, count: int) -> list[Record | str]:
    """`count` good products and the seven bad rows of every catalogue's life."""
    (folder / "images/cut.jpg").write_bytes(noise_jpeg(99)[:1500])
    (folder / "images/huge.jpg").write_bytes(jpeg(10_000, 10_000))
    return [
        *(product(index) for index in range(count)),
        product(0) | {"id": "cut", "images": ["images/cut.jpg"]},
        product(1),
        product(2) | {"id": "untitled", "title": "  "},
        product(3) | {"id": "stray", "category_path": ["Spaceships", "Shuttles"]},
        product(4) | {"id": "huge", "images": ["images/huge.jpg"]},
        product(5) | {"id": "unpriced", "price": math.nan},
        '{"id": "broken", "title": "Bro',
    ]


def test_seven_bad_rows_have_seven_readable_reasons(
    make_catalogue: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_catalogue(queries=[query(0), query(1), {"id": "q", "text": "cut", "relevant": ["cut"]}])
    write_lines(folder / "products.jsonl", _seven_bad(folder, PRODUCTS))
    monkeypatch.setattr("catalogue.validation.settings", lambda: type("Loose", (), {"max_quarantined": 0.5}))
    outcome = Outcome(folder, tmp_path)
    assert outcome.verdict.decision == "passed" and outcome.verdict.quarantined == len(outcome.rows) == 7
    expected = {
        13: "cannot be decoded",
        14: "duplicate id: 'p1' was used before, in line 2",
        15: "the title is empty",
        16: "unknown category 'Spaceships > Shuttles'",
        17: "10000 x 10000 px; at most 40,000,000 px are allowed",
        18: "the price is nan",
        19: "broken JSON",
    }
    assert {row["line"]: row["file"] for row in outcome.rows} == dict.fromkeys(expected, "products.jsonl")
    for row in outcome.rows:
        assert len(row["reasons"]) == len(row["expectations"]) == 1
        assert expected[row["line"]] in row["reasons"][0]
    assert outcome.kept() == [f"p{index}" for index in range(PRODUCTS)]
    assert outcome.verdict.queries_kept == 2 and outcome.verdict.queries_dropped == 1
    assert sum(outcome.verdict.by_reason.values()) == 7


def test_sixty_percent_bad_fails_and_says_why(make_catalogue: Make, tmp_path: Path) -> None:
    outcome = _outcome(make_catalogue, tmp_path, {index: {"title": ""} for index in range(7)} | {7: {"price": -1}})
    verdict = outcome.verdict
    assert verdict.decision == "failed"
    assert "8 of 12 products (67%) are in quarantine, more than the 20% allowed: 7 x empty title" in verdict.reason
    assert "GOODSIGHT_MAX_QUARANTINED" in verdict.reason
    assert len(outcome.rows) == 8 and outcome.kept() == ["p8", "p9", "p10", "p11"]


def test_nothing_but_broken_lines_fails(make_catalogue: Make, tmp_path: Path) -> None:
    outcome = Outcome(make_catalogue(["{", "{"]), tmp_path)
    assert outcome.verdict.decision == "failed" and outcome.verdict.products_in == outcome.verdict.quarantined == 2
    assert outcome.kept() == [] and (outcome.report / "index.html").is_file()


RULES: list[tuple[Record, str]] = [
    ({"price": -0.5}, "the price -0.5 is below 0"),
    ({"price": math.inf}, "the price is inf"),
    ({"price": "cheap"}, "the price 'cheap' is no number"),
    ({"category_path": []}, "no category_path"),
    ({"split": "dev"}, "the split 'dev' is none of train, val, test, catalogue"),
    ({"attributes": "red"}, "attributes: 'red' is no JSON object"),
    ({"images": ["images/p0.jpg", "images/none.jpg"]}, "the file 'images/none.jpg' is missing"),
    ({"images": ["../x.jpg"]}, "no path inside the catalogue folder"),
    ({"video": "images/wide.jpg"}, "the video is 100 x 32 px"),
    ({"video": "video/cut.mp4"}, "the video ends early"),
    ({"audio": "images/p0.jpg"}, "the sound cannot be decoded"),
    ({"id": "x" * 201}, "more than 200 characters"),
    ({"title": "x" * 1001}, "the title has 1001 characters"),
]


def test_each_rule_names_its_row(make_catalogue: Make, tmp_path: Path) -> None:
    good: list[Record | str] = [product(index) | {"id": f"good{index}"} for index in range(PRODUCTS - 1)]
    good.append(product(PRODUCTS - 1) | {"id": f"good{PRODUCTS - 1}", "video": "video/film.mp4"})
    folder = make_catalogue(good + [product(index) | change for index, (change, _) in enumerate(RULES)])
    (folder / "images/wide.jpg").write_bytes(jpeg(100, 32))
    outcome = Outcome(folder, tmp_path)
    assert [row["line"] for row in outcome.rows] == [PRODUCTS + 1 + index for index in range(len(RULES))]
    for found, (_, reason) in zip(outcome.reasons, RULES, strict=True):
        assert reason in found
    assert outcome.kept() == [f"good{index}" for index in range(PRODUCTS)]


def test_categories_txt_decides_which_categories_are_known(make_catalogue: Make, tmp_path: Path) -> None:
    folder = make_catalogue(
        [product(0), product(1), product(2) | {"category_path": ["Furniture", "Lamps"]}, *map(product, range(3, 9))]
    )
    (folder / "categories.txt").write_text("Furniture > Chairs\nFurniture > Tables\n")
    outcome = Outcome(folder, tmp_path)
    assert outcome.reasons == ["unknown category 'Furniture > Lamps'; add it to categories.txt to allow it"]


def test_leaks_are_warned_of_and_kept(make_catalogue: Make, tmp_path: Path) -> None:
    change: dict[int, Record] = {index: {"split": "train"} for index in range(8)} | {
        index: {"split": "test"} for index in range(8, 12)
    }
    change[0] |= {"group": "g"}
    change[8] |= {"group": "g"}
    change[9] |= {"images": ["images/p1.jpg"]}
    outcome = _outcome(make_catalogue, tmp_path, change)
    warnings = {warning["label"]: warning for warning in outcome.verdict.warnings}
    assert warnings["group in train"]["examples"] == ["p8"] and warnings["image in train"]["examples"] == ["p9"]
    assert outcome.verdict.decision == "passed" and outcome.verdict.quarantined == 0


def test_balance_coverage_and_a_missing_split_are_warned_of(make_catalogue: Make, tmp_path: Path) -> None:
    change: dict[int, Record] = {
        index: {"category_path": ["Furniture"], "images": [], "description": "", "split": "train"}
        for index in range(10)
    }
    verdict = _outcome(make_catalogue, tmp_path, change | {10: {"split": "train"}, 11: {"split": "train"}}).verdict
    labels = {warning["label"] for warning in verdict.warnings}
    assert labels == {"no image", "no description", "small category", "one category dominates", "split missing"}
    assert "83%" in next(
        warning["reason"] for warning in verdict.warnings if warning["label"] == "one category dominates"
    )
    assert verdict.decision == "passed"


def test_queries_are_judged_apart(make_catalogue: Make, tmp_path: Path) -> None:
    queries = [
        query(0),
        query(0),
        {"id": "mute", "kind": "voice", "relevant": ["p1"]},
        {"id": "blind", "image": "images/none.jpg", "relevant": ["p1"]},
        {"id": "blank", "text": " ", "relevant": ["p1"]},
        {"id": "lost", "text": "lost", "relevant": ["nothing"]},
        {"id": "half", "text": "half", "relevant": ["p1", "p2"]},
        {"id": "voice", "audio": "audio/p1.flac", "transcript": "chair", "relevant": ["p1"]},
    ]
    products = [product(index) | ({"title": ""} if index == 2 else {}) for index in range(PRODUCTS)]
    outcome = Outcome(make_catalogue(products, queries), tmp_path)
    verdict = outcome.verdict
    assert [(row["kind"], row["id"]) for row in outcome.rows] == [
        ("product", "p2"), ("query", "q0"), ("query", "mute"), ("query", "blind"), ("query", "blank"),
    ]  # fmt: skip
    assert outcome.reasons[2:] == [
        "the voice query has no audio",
        "the file 'images/none.jpg' is missing",
        "the text query has no text",
    ]
    assert (verdict.queries_in, verdict.queries_kept, verdict.queries_quarantined, verdict.queries_dropped) == (
        8,
        3,
        4,
        1,
    )
    assert verdict.quarantined == 1 and {warning["label"] for warning in verdict.warnings} == {"no relevant product"}
    relevant = {row["id"]: row["relevant"] for row in outcome.snapshot.queries(["id", "relevant"]).to_pylist()}
    assert relevant == {"q0": ["p0"], "half": ["p1"], "voice": ["p1"]}


def test_events_are_judged_by_their_times_and_products(make_catalogue: Make, tmp_path: Path) -> None:
    good = {"product": "p1", "kind": "view", "time": "2026-01-02T10:00:00Z"}
    folder = make_catalogue()
    events = [
        good,
        good | {"created": "2026-01-03"},
        good | {"product": "gone"},
        good,
        good | {"created": "2026-01-01"},
        {"product": "p1", "kind": "view"},
        good | {"time": "yesterday"},
        good | {"kind": ""},
        good | {"product": None},
        "broken",
        good | {"kind": "price", "value": math.nan},
    ]
    write_lines(folder / "events.jsonl", events)
    outcome = Outcome(folder, tmp_path)
    verdict = outcome.verdict
    assert (verdict.events_in, verdict.events_kept, verdict.events_quarantined) == (11, 4, 7)
    assert [(row["kind"], row["line"], row["labels"][0]) for row in outcome.rows] == [
        ("event", 5, "written before it happened"),
        ("event", 6, "no time"),
        ("event", 7, "wrong type"),
        ("event", 8, "no kind"),
        ("event", 9, "no product"),
        ("event", 11, "value is no number"),
        ("event", 10, "unreadable line"),
    ]
    assert {warning["label"]: warning["count"] for warning in verdict.warnings} == {"unknown product": 1, "told again": 4}
    assert outcome.snapshot.read("events", ["line"])["line"].to_pylist() == [1, 2, 3, 4]
    assert sum(verdict.events_by_reason.values()) == 7 and verdict.decision == "passed"


def test_the_page_names_the_failed_expectation_and_calls_nobody(make_catalogue: Make, tmp_path: Path) -> None:
    outcome = _outcome(make_catalogue, tmp_path, {3: {"category_path": ["<script>alert(1)</script>"]}})
    index = (outcome.report / "index.html").read_text()
    assert "The category is known" in index and "unknown category" in index
    [details] = (outcome.report / "validations" / "products-critical").rglob("*.html")
    assert details.relative_to(outcome.report).as_posix() in index
    assert "The category is known" in details.read_text() and "unknown category" in details.read_text()
    for page in outcome.report.rglob("*.html"):
        text = page.read_text()
        assert (
            "default-src 'none'" in text and "<script" not in text and "<link" not in text and 'src="http' not in text
        )


def test_pages_name_some_of_many_bad_rows_and_the_quarantine_all(make_catalogue: Make, tmp_path: Path) -> None:
    few, many = ([product(0) | {"id": f"bad{index}", "price": -1.0 - index} for index in range(count)] for count in (60, 600))
    outcomes = [Outcome(make_catalogue(bad, [], name=f"shop{len(bad)}"), tmp_path / f"work{len(bad)}") for bad in (few, many)]
    assert [len(outcome.rows) for outcome in outcomes] == [60, 600]
    assert [row["reasons"] for row in outcomes[1].rows[:2]] == [["the price -1 is below 0"], ["the price -2 is below 0"]]
    small, large = (sum(len(page.read_text()) for page in outcome.report.rglob("*.html")) for outcome in outcomes)
    assert large < small + 2_000
    assert "600 rows" in (outcomes[1].report / "index.html").read_text()


def test_same_snapshot_same_validated_digest(make_catalogue: Make, tmp_path: Path) -> None:
    change = {3: {"title": ""}}
    products = [product(index) | change.get(index, {}) for index in range(PRODUCTS)]
    digests = {
        Outcome(make_catalogue(products, name=name), tmp_path / f"work-{name}").verdict.digest for name in ("a", "b")
    }
    assert len(digests) == 1


def test_a_broken_snapshot_is_not_judged(make_catalogue: Make, tmp_path: Path) -> None:
    import_catalogue(make_catalogue(), tmp_path / "raw")
    places = (tmp_path / "out", tmp_path / "quarantine.parquet", tmp_path / "report")
    shard = next((tmp_path / "raw" / "products").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        validate(tmp_path / "raw", *places)
    (tmp_path / "raw" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="broken manifest"):
        validate(tmp_path / "raw", *places)
    assert not any(place.exists() for place in places)


DAMAGE: list[Any] = [
    {"title": ""},
    {"title": None},
    {"title": 7.5},
    {"price": math.nan},
    {"price": "?"},
    {"images": ["/etc/passwd"]},
    {"images": {"a": 1}},
    {"audio": "images/p1.jpg"},
    {"category_path": [["Furniture"]]},
    {"category_path": None},
    {"group": "\ud800"},
    {"split": {}},
    {"id": None},
    {"attributes": {"a": math.nan}},
    "{",
    "null",
    '{"id": 1e999}',
]


@examples(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.dictionaries(st.integers(0, PRODUCTS - 1), st.sampled_from(DAMAGE), max_size=PRODUCTS),
    twins=st.lists(st.integers(0, PRODUCTS - 1), max_size=3),
)
def test_counts_add_up_and_no_good_row_is_lost(
    media: Path, tmp_path_factory: pytest.TempPathFactory, damage: dict[int, Any], twins: list[int]
) -> None:
    lines: list[Record | str] = []
    for index in range(PRODUCTS):
        harm = damage.get(index, {})
        lines.append(harm if isinstance(harm, str) else product(index) | harm)
    lines += [product(index) for index in twins]
    work = tmp_path_factory.mktemp("damaged")
    folder = write_catalogue(work / "shop", media, lines, [])
    (folder / "categories.txt").write_text("Furniture > Tables\nFurniture > Chairs\n")
    outcome = Outcome(folder, work)
    verdict, kept = outcome.verdict, outcome.kept()
    assert verdict.products_in == len(lines) == verdict.kept + verdict.quarantined
    assert verdict.kept == len(kept) == len(set(kept)) and verdict.quarantined == len(outcome.rows)
    assert sum(verdict.by_reason.values()) == verdict.quarantined
    assert {f"p{index}" for index in range(PRODUCTS) if index not in damage} <= set(kept)
    assert all(row["reasons"] and all(row["reasons"]) for row in outcome.rows)
