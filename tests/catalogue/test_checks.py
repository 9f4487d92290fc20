"""The facts of validation: each warning finds its row, and the columns say what a slow look at row after row says."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catalogue.checks import product_checks, query_checks
from catalogue.importer import import_catalogue
from catalogue.snapshot import Snapshot
from tests.catalogue.made import write_lines

Record = dict[str, Any]


def snapshot(folder: Path, products: list[Record], queries: list[Record] = ()) -> Snapshot:  # type: ignore[assignment]
    write_lines(folder / "products.jsonl", [{"title": "Sofa", "category_path": ["Home"], "split": "train"} | row for row in products])
    write_lines(folder / "queries_text.jsonl", list(queries))
    import_catalogue(folder, folder / "snapshot")
    return Snapshot.open(folder / "snapshot")


def picture(folder: Path, name: str, seed: int, size: tuple[int, int] = (128, 96), flat: bool = False) -> str:
    """Large soft shapes, another for each seed; the same seed in another size looks alike."""
    tones = np.full((6, 8), 90.0) if flat else np.random.default_rng(seed).uniform(0, 255, (6, 8))
    data = io.BytesIO()
    Image.fromarray(tones.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC).convert("RGB").save(data, "PNG")
    (folder / name).write_bytes(data.getvalue())
    return name


def test_pictures_that_look_alike_small_and_blank_ones(tmp_path: Path) -> None:
    large, small = picture(tmp_path, "a.png", 1), picture(tmp_path, "b.png", 1, (96, 72))
    rows = [
        {"id": "held", "images": [large], "split": "test"},
        {"id": "other", "images": [picture(tmp_path, "c.png", 2)]},
        {"id": "learned", "images": [small]},
        {"id": "twin", "images": [large], "group": "held", "split": "val"},
        {"id": "tiny", "images": [picture(tmp_path, "d.png", 3, (40, 200))]},
        {"id": "blank", "images": [picture(tmp_path, "e.png", 4, flat=True)]},
        {"id": "blank too", "images": [picture(tmp_path, "f.png", 5, (64, 64), flat=True)], "split": "test"},
        {"id": "none"},
    ]
    frame = product_checks(snapshot(tmp_path, rows)).set_index("id")
    assert frame["lookalike_of"].dropna().to_dict() == {"learned": "held"}  # the twin is of the same group
    assert frame["lookalike_leak"].dropna().to_dict() == {"held": "learned", "twin": "learned"}
    assert frame["image_side"].loc[["held", "tiny"]].tolist() == [96, 40] and np.isnan(frame["image_side"]["none"])
    assert frame.index[frame["image_contrast"] < 2].tolist() == ["blank", "blank too"]


def test_scripts_boilerplate_and_labels(tmp_path: Path) -> None:
    rows = [{"id": f"p{index}", "title": f"Sofa {index}"} for index in range(100)]
    rows[7] |= {"title": "Диван красный"}
    rows[8] |= {"title": "赤いソファ"}
    rows[9] |= {"title": "42 — 7"}
    rows[10] |= {"title": "Canapé d'été"}
    for index in range(20, 45):
        rows[index] |= {"description": "Buy now!"}
    for index, category in ((50, "Home"), (51, "Home"), (52, "Garden")):
        rows[index] |= {"title": " Bench" if index == 51 else "bench", "category_path": [category, "Seats"]}
    frame = product_checks(snapshot(tmp_path, rows)).set_index("id")
    assert frame["foreign_script"].dropna().to_dict() == {"p7": "Cyrillic", "p8": "Han or kana"}
    assert set(frame.index[frame["description_copies"] > 20]) == {f"p{index}" for index in range(20, 45)}
    assert frame["label_conflict"].dropna().to_dict() == {"p52": "products of the same title are in 'Home > Seats'"}


def test_queries_that_leak_are_strangers_or_ask_for_all(tmp_path: Path) -> None:
    queries = [
        {"qid": "q0", "text": "Sofa", "relevant": ["p0"], "split": "train"},
        {"qid": "q1", "text": "sofa", "relevant": ["p1"], "split": "test"},
        {"qid": "q2", "text": "couch", "relevant": ["p1"], "split": "test"},
        {"qid": "q3", "text": "couch", "relevant": ["gone"], "split": "val"},
        {"qid": "q4", "text": "", "relevant": ["p1"], "split": "train"},
        {"qid": "q5", "text": "", "relevant": ["p1"], "split": "test"},
    ]
    products = [{"id": f"p{index}"} for index in range(3)]
    frame = query_checks(snapshot(tmp_path, products, queries), {"p0", "p1", "p2"}).set_index("id")
    assert frame["text_leak"].dropna().to_dict() == {"q1": "q0"}
    assert frame["stranger"].dropna().to_dict() == {"q2": "couch"}
    assert frame["relevant_count"].tolist() == [1] * 6


ROW = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdef"),
        "title": st.sampled_from(["sofa", "Sofa ", "lamp", ""]),
        "description": st.sampled_from(["", "soft", "bright"]),
        "category_path": st.sampled_from([[], ["Home"], ["Home", "Sofas"], ["Garden"]]),
        "group": st.sampled_from("xyz"),
        "split": st.sampled_from(["train", "val", "test", "catalogue"]),
    }
)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(ROW, min_size=1, max_size=12))
def test_columns_say_what_row_after_row_says(tmp_path_factory: pytest.TempPathFactory, rows: list[Record]) -> None:
    frame = product_checks(snapshot(tmp_path_factory.mktemp("rows"), rows))
    firsts = {row["id"]: place for place, row in reversed(list(enumerate(rows)))}
    own = [rows[place] for place in sorted(firsts.values())]
    paths = [" > ".join(row["category_path"]) for row in rows]
    sizes = Counter(" > ".join(row["category_path"]) for row in own)
    tops = Counter(row["category_path"][0] for row in own if row["category_path"])
    for place, row in enumerate(rows):
        found = frame.iloc[place]
        first = firsts[row["id"]]
        assert (found["duplicate_of"] == first + 1) if first != place else np.isnan(found["duplicate_of"])
        assert found["category"] == (paths[place] or None) and found["category_size"] == sizes[paths[place]]
        assert bool(found["unknown_category"]) == (bool(row["category_path"]) and tops[row["category_path"][0]] < 2)
        same = sum(other["description"] == row["description"] for other in rows)
        assert found["description_copies"] == (same if row["description"] else 0)
        learned = [other["id"] for other in own if other["split"] == "train" and other["group"] == row["group"]]
        assert found["group_leak"] == (learned[0] if learned and row["split"] in ("val", "test") else None)
        votes = Counter(
            " > ".join(other["category_path"])
            for other in own
            if other["category_path"] and other["title"].strip() and other["title"].strip().lower() == row["title"].strip().lower()
        )
        counted = first == place and row["category_path"] and row["title"].strip()
        assert bool(found["label_conflict"]) >= bool(counted and votes[paths[place]] < max(votes.values()))
        assert not found["label_conflict"] or (counted and len(votes) > 1)
