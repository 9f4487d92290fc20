"""Thumbnails: small, whole, each product's own, read where they lie, and part of what the index's digest covers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from catalogue.snapshot import Snapshot
from goodsight.errors import InputError, IntegrityError
from goodsight.files import read_json
from serving.index import Index, build_index, update_index
from serving.thumbnails import SIDE, THUMBNAILS, Thumbnails, first_images, thumbnail, write_thumbnails
from tests.serving.test_index import PROVENANCE, table, unit

COLOURS = ("red", "lime", "blue")


def picture(width: int, height: int, colour: str = "red", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, kind)
    return out.getvalue()


def opened(data: bytes | None) -> Image.Image:
    assert data
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("size", "small"), [((1024, 512), (SIDE, SIDE // 2)), ((300, 900), (85, SIDE)), ((128, 128), (128, 128)), ((3000, 1), (SIDE, 1))]
)
def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged(size: tuple[int, int], small: tuple[int, int]) -> None:
    found = opened(thumbnail(picture(*size)))
    assert (found.format, found.size) == ("WEBP", small)
    assert np.abs(np.asarray(found.convert("RGB"))[0, 0] - np.array([255, 0, 0])).max() < 15


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError):
        thumbnail(picture(64, 64)[:60])


def test_each_product_has_its_own_of_several_batches(tmp_path: Path) -> None:
    def images() -> Iterator[tuple[str, bytes | None]]:
        for row in range(600):
            yield f"p{row}", None if row % 7 == 0 else b"no picture" if row % 11 == 0 else picture(8, 8, COLOURS[row % 3])

    write_thumbnails(images(), tmp_path)
    found = Thumbnails(tmp_path)
    assert len(found) == sum(row % 7 != 0 and row % 11 != 0 for row in range(600))
    assert [found.of(id) for id in ("p0", "p11", "p594", "p600")] == [None] * 4
    for row in (1, 255, 256, 257, 599):
        assert np.asarray(opened(found.of(f"p{row}")).convert("RGB"))[4, 4].argmax() == row % 3


def test_the_index_covers_them(tmp_path: Path) -> None:
    pictures = [(f"p{row}", picture(20, 20, COLOURS[row % 3])) for row in range(30)]
    build_index(unit(30), table(30), PROVENANCE, tmp_path / "index", images=pictures)
    assert THUMBNAILS in read_json(tmp_path / "index" / "index.json")["files"]
    assert opened(Thumbnails(tmp_path / "index").of("p7")).size == (20, 20)
    path = tmp_path / "index" / THUMBNAILS
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    with pytest.raises(IntegrityError, match=THUMBNAILS):
        Index.load(tmp_path / "index", PROVENANCE["bundle"])


def test_an_index_that_goes_on_from_another_keeps_those_of_unchanged_products(tmp_path: Path) -> None:
    def products(rows: range, changed: int) -> pa.Table:
        content = [f"{row} again" if row == changed else str(row) for row in rows]
        return table(rows.stop).slice(rows.start).append_column("content", pa.array(content))

    before = [(f"p{row}", picture(20, 20, "red")) for row in range(30)]
    build_index(unit(30), products(range(30), -1), PROVENANCE, tmp_path / "old", images=before)
    old, fresh = Index.load(tmp_path / "old", PROVENANCE["bundle"]), [(id, picture(20, 20, "blue")) for id in ("p7", "p30")]
    update_index(old, unit(2, seed=1), products(range(2, 31), 7), PROVENANCE, tmp_path / "new", images=fresh)
    found = Thumbnails(tmp_path / "new")
    assert len(found) == 29 and found.of("p1") is None and found.of("p2") == Thumbnails(tmp_path / "old").of("p2")
    assert [np.asarray(opened(found.of(id)).convert("RGB"))[9, 9].argmax() for id in ("p2", "p7", "p30")] == [0, 2, 2]


def test_without_pictures_the_file_is_there_and_empty(tmp_path: Path) -> None:
    build_index(unit(3), table(3), PROVENANCE, tmp_path / "index")
    assert len(Thumbnails(tmp_path / "index")) == 0
    (tmp_path / "index" / THUMBNAILS).unlink()
    with pytest.raises(InputError, match="no thumbnails"):
        Thumbnails(tmp_path / "index")
    (tmp_path / "index" / THUMBNAILS).write_bytes(b"damaged" * 100)
    with pytest.raises(IntegrityError, match="cannot be read"):
        Thumbnails(tmp_path / "index")


def test_pictures_come_in_the_order_asked_for(snapshot: Path) -> None:
    opened_snapshot = Snapshot.open(snapshot)
    known = opened_snapshot.products(["id", "images"])
    ids = known["id"].to_pylist()
    wanted = [*reversed(ids), "unknown"]
    found = dict(first_images(opened_snapshot, wanted))
    assert list(found) == wanted and found["unknown"] is None
    for id, images in zip(ids, known["images"].to_pylist(), strict=True):
        assert found[id] == (images[0] if images else None)
    assert any(found.values())


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from catalogue.importer import import_catalogue
    from samples import furniture

    out = tmp_path_factory.mktemp("snapshot") / "snapshot"
    import_catalogue(furniture(), out)
    return out


def test_the_schema_has_room_for_any_number(tmp_path: Path) -> None:
    write_thumbnails([("a", None)], tmp_path)
    with pa.memory_map(str(tmp_path / THUMBNAILS)) as file:
        assert pa.ipc.open_file(file).schema.field("image").type == pa.large_binary()
