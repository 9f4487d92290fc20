"""Two verdicts side by side: what moved is in figures, what matters in sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue.comparison import compare, shift
from catalogue.importer import import_catalogue
from catalogue.validation import validate
from catalogue.verdict import DataVerdict
from tests.catalogue.made import Make

COUNTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), max_size=6)


@pytest.fixture
def verdict(make_catalogue: Make, tmp_path: Path) -> DataVerdict:
    import_catalogue(make_catalogue(), tmp_path / "raw")
    return validate(tmp_path / "raw", tmp_path / "out", tmp_path / "quarantine.parquet", tmp_path / "report")


def test_the_same_data_have_nothing_notable(verdict: DataVerdict) -> None:
    found = compare(verdict.to_json(), verdict)
    assert found["notable"] == [] and found["category_shift"] == 0 and found["products"] == [12, 12]


def test_what_matters_is_said(verdict: DataVerdict) -> None:
    after = replace(
        verdict,
        kept=10,
        quarantined=2,
        queries_kept=1,
        categories={"Furniture > Chairs": 9, "Garden": 1},
        coverage={**verdict.coverage, "image": 0.8, "price": 0.99},
    )
    assert compare(verdict.to_json(), after)["notable"] == [
        "2 of 12 products are gone",
        "11 of 12 queries are gone",
        "50% of the products moved between categories",
        "new categories: Garden",
        "gone categories: Furniture > Tables",
        "20% fewer products have image",
        "17% of the products are in quarantine, 0% were",
    ]


@given(before=COUNTS, after=COUNTS)
def test_the_shift_is_a_distance(before: dict[str, int], after: dict[str, int]) -> None:
    assert 0 <= shift(before, after) <= 1 + 1e-9
    assert shift(before, after) == pytest.approx(shift(after, before))
    assert shift(before, before) == 0
    if sum(before.values()) and sum(after.values()) and not {k for k, v in before.items() if v} & {k for k, v in after.items() if v}:
        assert shift(before, after) == pytest.approx(1)
