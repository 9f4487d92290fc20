"""The stream for training: every row once an epoch, another order each time, and after a kill the exact next row."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.reader import Reader
from catalogue.records import product_row
from catalogue.snapshot import ShardWriter, write_manifest
from goodsight.errors import InputError, IntegrityError

ROWS, GROUP = 500, 20


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """500 rows in row groups of 20, 120 rows a shard; row 7 of each ten is in test."""
    folder = tmp_path_factory.mktemp("reader") / "snapshot"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalogue.snapshot.GROUP_ROWS", GROUP)
        patch.setattr("catalogue.snapshot.SHARD_ROWS", 120)
        with ShardWriter(folder, "products") as writer:
            for index in range(ROWS):
                record = {"id": f"p{index}", "title": "t", "images": [b"%d" % index], "split": "test" if index % 10 == 7 else "train"}
                writer.add(product_row(record, index, "products.jsonl", lambda data: data))  # type: ignore[arg-type,return-value]
        write_manifest(folder, None, "made", None)
    yield folder


def ids(reader: Reader) -> list[str]:
    return [row["id"] for row in reader]


def test_every_row_once_an_epoch_and_each_epoch_its_own_order(snapshot: Path) -> None:
    reader = Reader(snapshot, seed=3, window=4)
    first, second = ids(reader), ids(reader)
    assert len(first) == len(reader) == ROWS and len(set(first)) == ROWS
    assert first != second and set(first) == set(second) and reader.state_dict()["epoch"] == 2
    assert first == ids(Reader(snapshot, seed=3, window=4)) != ids(Reader(snapshot, seed=4, window=4))
    places = [int(name[1:]) for name in first]
    assert sum(after == before + 1 for before, after in zip(places, places[1:], strict=False)) < ROWS / 20  # neighbours are parted


def test_media_and_columns_come_along(snapshot: Path) -> None:
    row = next(iter(Reader(snapshot)))
    assert row["images"] == [row["id"][1:].encode()] and row["problems"] == []
    assert next(iter(Reader(snapshot, columns=["title"]))) == {"title": "t"}


def test_splits_choose_rows(snapshot: Path) -> None:
    assert set(ids(Reader(snapshot, splits=["test"]))) == {f"p{index}" for index in range(ROWS) if index % 10 == 7}
    assert len(ids(Reader(snapshot, splits=["train", "test"]))) == ROWS
    with pytest.raises(InputError, match="has 0 row groups"):
        Reader(snapshot, splits=["val"])


@settings(deadline=None, max_examples=40)
@given(ranks=st.integers(1, 6), seed=st.integers(0, 3), window=st.integers(1, 9))
def test_ranks_share_an_epoch_evenly(snapshot: Path, ranks: int, seed: int, window: int) -> None:
    parts = [ids(Reader(snapshot, seed=seed, rank=rank, ranks=ranks, window=window)) for rank in range(ranks)]
    together = [identity for part in parts for identity in part]
    assert len({len(part) for part in parts}) == 1 and len(set(together)) == len(together)
    assert ROWS - len(together) <= ranks * GROUP


@settings(deadline=None, max_examples=60)
@given(stops=st.lists(st.integers(0, 700), min_size=1, max_size=4), rank=st.integers(0, 1), window=st.integers(1, 9))
def test_killed_anywhere_it_goes_on_at_the_exact_next_row(snapshot: Path, stops: list[int], rank: int, window: int) -> None:
    def made() -> Reader:
        return Reader(snapshot, splits=["train"], seed=5, rank=rank, ranks=2, window=window)

    whole = made()
    uninterrupted = [identity for _ in range(sum(stops) // len(whole) + 2) for identity in ids(whole)]
    seen: list[str] = []
    state = made().state_dict()
    for stop in stops:
        reader = made()
        reader.load_state_dict(json.loads(json.dumps(state)))
        rows = (row["id"] for _ in range(10) for row in reader)
        seen += [next(rows) for _ in range(stop)]
        state = reader.state_dict()
    assert seen == uninterrupted[: len(seen)]


KILLED = """
import json, os, sys
from catalogue.reader import Reader
reader = Reader(sys.argv[1], seed=9, window=3)
for number, row in enumerate(reader):
    print(row["id"], flush=True)
    open(sys.argv[2] + ".aside", "w").write(json.dumps(reader.state_dict()))
    os.replace(sys.argv[2] + ".aside", sys.argv[2])
    if number == 123:
        os.kill(os.getpid(), 9)
"""


def test_a_killed_process_goes_on_from_its_last_state(snapshot: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(snapshot), str(tmp_path / "state")]
    killed = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -9, killed.stderr
    reader = Reader(snapshot, seed=9, window=3)
    reader.load_state_dict(json.loads((tmp_path / "state").read_text()))
    assert killed.stdout.split() + ids(reader) == ids(Reader(snapshot, seed=9, window=3))


def test_a_state_of_another_stream_is_refused(snapshot: Path) -> None:
    state = Reader(snapshot, seed=1).state_dict()
    for other in (Reader(snapshot, seed=2), Reader(snapshot, seed=1, ranks=2), Reader(snapshot, seed=1, splits=["train"])):
        with pytest.raises(InputError, match="is of another stream"):
            other.load_state_dict(state)
    with pytest.raises(InputError, match="Rank 2 is none of 2"):
        Reader(snapshot, rank=2, ranks=2)


def test_a_changed_byte_is_found_while_reading(snapshot: Path, tmp_path: Path) -> None:
    import shutil

    broken = shutil.copytree(snapshot, tmp_path / "broken")
    shard = broken / "products" / "00001.parquet"
    data = bytearray(shard.read_bytes())
    place = data.index(b"125")  # the bytes of an image, which nothing compresses
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match="cannot be read"):
        ids(Reader(broken))


def test_what_is_no_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no snapshot"):
        Reader(tmp_path)


def test_it_reads_from_an_object_store(snapshot: Path, s3: str) -> None:
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).put(str(snapshot), "versions/reader", recursive=True)
    assert ids(Reader("s3://versions/reader", seed=3)) == ids(Reader(snapshot, seed=3))
