"""Milvus answers what the files answer, and what is in it is checked (milvus-lite, in this process)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from goodsight.errors import IntegrityError
from goodsight.settings import settings
from serving import milvus
from serving.filters import Filters
from serving.index import Index, Wanted, build_index
from tests.serving.shop import PROVENANCE, shop, unit

FILTERS: list[dict[str, Any]] = [
    {},
    {"category": ["Seating > Sofa"]},
    {"category": ["Seatings", "Seating > Sofa > Corner"], "price": {"min": 3, "max": 17.5}},
    {"price": {"max": 5}},
    {"attributes": {"COLOUR": ["red"], "new": ["true"]}},
    {"attributes": {"nothing": ["x"]}},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shop") / "index"
    build_index(unit(40), shop(40), PROVENANCE, out)
    return out


@pytest.fixture
def local(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """The index from its files; the server that is configured is empty."""
    monkeypatch.setenv("GOODSIGHT_MILVUS_URI", str(tmp_path / "milvus.db"))
    settings.cache_clear()
    yield Index.load(folder, PROVENANCE["bundle"])
    settings.cache_clear()


@pytest.fixture
def server(local: Index) -> Iterator[Index]:
    milvus.fill(local)
    found = local.served()
    yield found
    assert found.server
    found.server.client.close()


def test_both_answer_the_same(local: Index, server: Index) -> None:
    assert local.server is None and server.server is not None
    queries = unit(3, seed=9)
    for filters in FILTERS:
        wanted = [Wanted(7, Filters.model_validate(filters), excluded=("p1", "p2"))] * 3
        for mine, theirs in zip(local.search(queries, wanted), server.search(queries, wanted), strict=True):
            assert [row["id"] for row, _ in mine] == [row["id"] for row, _ in theirs]
            assert [score for _, score in mine] == pytest.approx([score for _, score in theirs], abs=1e-6)


def test_words_count_beside_it(local: Index, server: Index) -> None:
    wanted = [Wanted(5, text="thing 7", lexical=0.8)]
    assert local.search(unit(1), wanted)[0][0][0]["id"] == server.search(unit(1), wanted)[0][0][0]["id"] == "p7"


def test_a_graph_is_a_graph_there_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_MILVUS_URI", str(tmp_path / "milvus.db"))
    settings.cache_clear()
    monkeypatch.setattr("serving.nearest.FLAT_FLOATS", 0)
    build_index(unit(300), shop(300), PROVENANCE, tmp_path / "index")
    local = Index.load(tmp_path / "index", PROVENANCE["bundle"])
    milvus.fill(local)
    server = local.served()
    assert server.server
    found = [row["id"] for (row, _), *_ in server.search(unit(300)[:20], [Wanted(3)] * 20)]
    server.server.client.close()
    assert found == [f"p{row}" for row in range(20)]


def test_what_was_not_brought_there_is_refused(local: Index) -> None:
    with pytest.raises(IntegrityError, match=f"Milvus does not have the index {local.digest[:12]}"):
        local.served()


def test_what_is_not_whole_is_refused_and_filled_again(local: Index) -> None:
    milvus.fill(local)
    with milvus.connected() as client:
        client.delete(milvus.collection(local.digest), ids=[3])
    with pytest.raises(IntegrityError, match="does not have the index"):
        local.served()
    milvus.fill(local)
    again = local.served()
    assert again.server
    assert np.array_equal([len(found) for found in again.search(unit(1), [Wanted(100)])], [40])
    again.server.client.close()


def test_an_index_that_is_served_no_more_leaves(local: Index) -> None:
    milvus.fill(local)
    milvus.forget(local.digest)
    with milvus.connected() as client:
        assert client.list_collections() == []
