"""Versions elsewhere: pushed, pulled and fetched bit by bit the same, from a folder and from S3; interrupted pushes harm nobody."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec.core import url_to_fs

from catalogue import remote
from catalogue.remote import BUNDLE, collect, collect_remote, pull, push, superfluous
from catalogue.snapshot import Snapshot
from catalogue.versions import fetch, import_version, list_versions, resolve
from goodsight.errors import GoodsightError, InputError, IntegrityError
from goodsight.settings import settings
from tests.catalogue.made import Make, product


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as the remote."""
    (tmp_path / "storage").mkdir()
    monkeypatch.setenv("GOODSIGHT_DATA_REMOTE", str(tmp_path / "storage"))
    settings.cache_clear()
    yield tmp_path / "storage"
    settings.cache_clear()


def imported(make: Make, home: Path, name: str, title: str) -> str:
    return import_version(make([product(0) | {"title": title}, product(1)], [], name=f"{home.name}-{title}"), name, home)


def round_trip(make: Make, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    revisions = [imported(make, one, "shop", title) for title in ("first", "second")]
    assert push(one) == revisions and push(one) == []
    assert pull(two) == revisions and pull(two) == []
    assert resolve("shop", two) == revisions[1] and [each["revision"] for each in list_versions(two)] == revisions
    for revision in revisions:
        here, there = (Snapshot.open(fetch(revision, home, tmp_path / f"{home.name}-{revision}")) for home in (one, two))
        assert here.manifest == there.manifest


def test_versions_travel_by_folder(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    round_trip(make_catalogue, tmp_path)


def test_versions_travel_by_s3(make_catalogue: Make, tmp_path: Path, s3: str, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_DATA_REMOTE", s3)
    settings.cache_clear()
    round_trip(make_catalogue, tmp_path)
    assert not list(storage.iterdir())


def test_two_homes_share_a_remote(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first = imported(make_catalogue, one, "shop", "first")
    push(one)
    pull(two)
    theirs, mine = imported(make_catalogue, two, "shop", "theirs"), imported(make_catalogue, one, "garden", "mine")
    assert push(two) == [theirs]
    with pytest.raises(InputError, match="has versions that"):
        push(one)
    assert pull(one) == [theirs] and push(one) == [mine]
    assert set(pull(two)) == {mine}
    assert {each["revision"] for each in list_versions(one)} == {each["revision"] for each in list_versions(two)} == {first, theirs, mine}
    assert resolve("shop", one) == resolve("shop", two) == theirs
    assert Snapshot.open(fetch(mine, two, tmp_path / "out")).digest.startswith(mine.rpartition("-")[2])


def test_an_interrupted_push_leaves_the_versions_before_it(
    make_catalogue: Make, tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first = imported(make_catalogue, one, "shop", "first")
    push(one)
    second = imported(make_catalogue, one, "shop", "second")
    with monkeypatch.context() as patch:
        patch.setattr(remote, "_write", lambda url, bundle: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            push(one)
    assert pull(two) == [first] and Snapshot.open(fetch("shop", two, tmp_path / "out"))
    assert push(one) == [second] and pull(two) == [second]


def test_bytes_that_the_remote_has_lost_or_changed_are_not_taken(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    revision = imported(make_catalogue, one, "shop", "first")
    push(one)
    pull(two)
    shard = max((path for path in storage.rglob("*") if path.is_file() and path.name != BUNDLE), key=lambda path: path.stat().st_size)
    shard.chmod(0o644)
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        fetch(revision, two, tmp_path / "changed")
    shard.unlink()
    with pytest.raises(IntegrityError):
        fetch(revision, two, tmp_path / "lost")


def test_without_a_remote_or_versions_it_is_said(tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"has no versions\.bundle"):
        pull(tmp_path / "home")
    with pytest.raises(InputError, match="has no versions to push"):
        push(tmp_path / "home")
    monkeypatch.delenv("GOODSIGHT_DATA_REMOTE")
    settings.cache_clear()
    with pytest.raises(InputError, match="Set GOODSIGHT_DATA_REMOTE"):
        pull(tmp_path / "home")
    monkeypatch.setenv("GOODSIGHT_DATA_REMOTE", "nonsense://x")
    settings.cache_clear()
    with pytest.raises(GoodsightError, match="cannot be read"):
        pull(tmp_path / "home")


def test_old_versions_go_and_their_bytes_with_them(make_catalogue: Make, tmp_path: Path) -> None:
    home = tmp_path / "home"
    old = [imported(make_catalogue, home, "shop", title) for title in ("first", "second", "third")]
    garden = imported(make_catalogue, home, "garden", "fourth")
    size = sum(path.stat().st_size for path in (home / "data/.dvc/cache").rglob("*") if path.is_file())
    assert superfluous(home, 1) == collect(home, 1) == [old[1], old[0]]
    assert [each["revision"] for each in list_versions(home)] == [old[2], garden]
    assert sum(path.stat().st_size for path in (home / "data/.dvc/cache").rglob("*") if path.is_file()) < size
    assert Snapshot.open(fetch("shop", home, tmp_path / "out")).products(["title"])["title"][0].as_py() == "third"
    with pytest.raises(InputError, match="there is no version"):
        fetch(old[0], home, tmp_path / "gone")


def test_what_one_home_has_removed_stays_in_the_remote(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    old = imported(make_catalogue, one, "shop", "first")
    imported(make_catalogue, one, "shop", "second")
    push(one)
    assert collect(one, 1) == [old]
    new = imported(make_catalogue, one, "shop", "third")
    assert push(one) == [new]
    assert old in pull(two) and Snapshot.open(fetch(old, two, tmp_path / "out")).products(["title"])["title"][0].as_py() == "first"


def test_homes_that_began_apart_come_together(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    same = {imported(make_catalogue, home, "shop", "same") for home in (one, two)}
    mine, theirs = imported(make_catalogue, one, "garden", "mine"), imported(make_catalogue, two, "kitchen", "theirs")
    push(one)
    with pytest.raises(InputError, match="has versions that"):
        push(two)
    assert pull(two) == [mine] and push(two) == [theirs] and pull(one) == [theirs]
    for home in (one, two):
        assert {each["revision"] for each in list_versions(home)} == {*same, mine, theirs}
        for revision in (*same, mine, theirs):
            assert Snapshot.open(fetch(revision, home, tmp_path / f"{home.name}-{revision}"))
    imported(make_catalogue, one, "shop", "later")
    assert push(one) and pull(two)


def held(url: str) -> set[str]:
    """The shards and lists of shards in a remote."""
    files, path = url_to_fs(url)
    files.invalidate_cache()
    return {"".join(name.rsplit("/", 2)[1:]) for name in files.find(path) if not name.endswith(BUNDLE)}


def dropped_everywhere(make: Make, tmp_path: Path, url: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    old = [imported(make, one, "shop", title) for title in ("first", "second")]
    push(one)
    before = held(url)
    new = imported(make, one, "shop", "third")
    shutil.rmtree(tmp_path / "one-first")
    garden = imported(make, one, "garden", "first")
    push(one)
    pull(two)
    assert collect_remote(one, 1) == old[::-1] and collect_remote(one, 1) == []
    left = held(url)
    assert len(before) == 6 and len(before & left) == 1  # a shard, a manifest and a list each; one shard is garden's too
    assert [each["revision"] for each in list_versions(one)] == [new, garden]
    assert pull(tmp_path / "three") == [new, garden]
    theirs = imported(make, two, "kitchen", "theirs")
    with pytest.raises(InputError, match="has versions that"):
        push(two)
    assert pull(two) == [] and {each["revision"] for each in list_versions(two)} == {new, garden, theirs}
    assert push(two) == [theirs] and not (before - left) & held(url)
    for revision in (new, garden, theirs):
        assert Snapshot.open(fetch(revision, two, tmp_path / f"two-{revision}"))
    pull(tmp_path / "three")
    assert Snapshot.open(fetch(theirs, tmp_path / "three", tmp_path / "three-theirs"))


def test_versions_dropped_from_a_folder_free_their_bytes_for_all_homes(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    dropped_everywhere(make_catalogue, tmp_path, str(storage))


def test_versions_dropped_from_s3_free_their_bytes_for_all_homes(
    make_catalogue: Make, tmp_path: Path, s3: str, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOODSIGHT_DATA_REMOTE", f"{s3}-dropped")
    settings.cache_clear()
    dropped_everywhere(make_catalogue, tmp_path, f"{s3}-dropped")


def test_only_what_home_and_remote_both_have_is_dropped(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with pytest.raises(InputError, match=r"has no versions\.bundle"):
        collect_remote(one, 1)
    imported(make_catalogue, one, "shop", "first")
    push(one)
    with pytest.raises(InputError, match=r"storage has versions that .*two has not"):
        collect_remote(two, 1)
    pull(two)
    theirs = [imported(make_catalogue, two, "shop", title) for title in ("theirs", "newest")]
    with pytest.raises(InputError, match=r"two has versions that .*storage has not"):
        collect_remote(two, 1)
    push(two)
    before = held(str(storage))
    with pytest.raises(InputError, match=r"storage has versions that .*one has not"):
        collect_remote(one, 1)
    assert held(str(storage)) == before and pull(one) == theirs


@pytest.mark.parametrize("step", ["_write", "_free"])
def test_an_interrupted_removal_goes_on(
    make_catalogue: Make, tmp_path: Path, storage: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "one"
    old, new = (imported(make_catalogue, home, "shop", title) for title in ("first", "second"))
    push(home)
    before = held(str(storage))
    with monkeypatch.context() as patch:
        patch.setattr(remote, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            collect_remote(home, 1)
    assert held(str(storage)) == before
    collect_remote(home, 1)
    assert held(str(storage)) < before and pull(tmp_path / "two") == [new]
    with pytest.raises(InputError, match="there is no version"):
        resolve(old, home)
    assert Snapshot.open(fetch(new, tmp_path / "two", tmp_path / "out"))


def test_a_dropped_version_that_is_imported_again_is_shared_again(make_catalogue: Make, tmp_path: Path, storage: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    old = imported(make_catalogue, one, "shop", "first")
    imported(make_catalogue, one, "shop", "second")
    push(one)
    assert collect_remote(one, 1) == [old]
    shutil.rmtree(tmp_path / "one-first")
    assert imported(make_catalogue, one, "shop", "first") == old and push(one) == [old]
    assert old in pull(two) and Snapshot.open(fetch(old, two, tmp_path / "out"))
