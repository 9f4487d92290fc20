"""Versions: the very bytes come back, the same digest is kept once, and a killed store harms no version."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue.importer import import_catalogue
from catalogue.manifest import checksum
from catalogue.snapshot import Snapshot
from catalogue.versions import describe, fetch, import_version, list_versions, opened, resolve, store
from goodsight.digests import sha256_files
from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.files import exclusive
from tests.catalogue.made import PRODUCTS, Make, product


@pytest.fixture
def first(make_catalogue: Make, tmp_path: Path) -> Path:
    """A snapshot."""
    import_catalogue(make_catalogue(name="first"), tmp_path / "snapshot-1")
    return tmp_path / "snapshot-1"


@pytest.fixture
def second(make_catalogue: Make, tmp_path: Path) -> Path:
    """Another snapshot of the same catalogue, one product shorter."""
    import_catalogue(make_catalogue(list(map(product, range(1, PRODUCTS))), name="second"), tmp_path / "snapshot-2")
    return tmp_path / "snapshot-2"


def _commits(home: Path) -> int:
    count = subprocess.run(["git", "-C", home / "data", "rev-list", "--count", "HEAD"], capture_output=True, check=True)
    return int(count.stdout)


def test_the_very_bytes_come_back(first: Path, second: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    revisions = [store(folder, home, "my shop") for folder in (first, second)]
    assert revisions == [f"my-shop-{Snapshot.open(folder).digest[:12]}" for folder in (first, second)]
    assert [version["revision"] for version in list_versions(home)] == revisions
    for folder, revision in zip((first, second), revisions, strict=True):
        out = fetch(revision, home, tmp_path / f"out-{folder.name}")
        assert sha256_files(out) == sha256_files(folder)
        assert describe(revision, home)["counts"] == Snapshot.open(folder).manifest["counts"]


def test_the_same_digest_is_kept_once(first: Path, make_catalogue: Make, tmp_path: Path) -> None:
    home = tmp_path / "home"
    revision, commits = store(first, home, "shop"), _commits(home)
    import_catalogue(make_catalogue(name="again"), tmp_path / "snapshot-again")
    manifest = json.loads((tmp_path / "snapshot-again" / "manifest.json").read_text())
    later = manifest | {"created": "later"}
    (tmp_path / "snapshot-again" / "manifest.json").write_text(json.dumps(later | {"checksum": checksum(later)}))
    assert store(tmp_path / "snapshot-again", home, "shop") == revision
    assert _commits(home) == commits and len(list_versions(home)) == 1


def test_a_second_import_at_once_is_told_to_wait(first: Path, tmp_path: Path) -> None:
    with exclusive(tmp_path / "home" / "data.lock", "another import"), pytest.raises(BusyError, match="in progress"):
        store(first, tmp_path / "home", "shop")


def test_what_is_not_there_is_told(first: Path, tmp_path: Path) -> None:
    assert list_versions(tmp_path / "home") == []
    with pytest.raises(InputError, match="no version 'shop-0'"):
        fetch("shop-0", tmp_path / "home", tmp_path / "out")
    shard = Snapshot.open(first).shards("products")[0]
    shard.write_bytes(shard.read_bytes() + b"x")
    with pytest.raises(IntegrityError):
        store(first, tmp_path / "home", "shop")
    assert not (tmp_path / "home" / "data").exists()


@pytest.mark.parametrize("harm", ["lose", "change"])
def test_harmed_bytes_never_come_back(first: Path, tmp_path: Path, harm: str) -> None:
    home = tmp_path / "home"
    revision = store(first, home, "shop")
    largest = max((home / "data/.dvc/cache").rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    largest.chmod(0o644)
    if harm == "lose":
        largest.unlink()
    else:
        largest.write_bytes(largest.read_bytes()[::-1])
    with pytest.raises(IntegrityError):
        fetch(revision, home, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_harm_to_what_was_fetched_is_no_harm_to_the_version(first: Path, tmp_path: Path) -> None:
    revision = store(first, tmp_path / "home", "shop")
    shard = Snapshot.open(fetch(revision, tmp_path / "home", tmp_path / "out")).shards("products")[0]
    shard.chmod(0o644)
    with open(shard, "r+b") as file:
        file.write(b"harm")
    assert sha256_files(fetch(revision, tmp_path / "home", tmp_path / "out")) == sha256_files(first)


STORE_AND_STOP = """
import os, sys
from pathlib import Path
import catalogue.versions as versions
calls = []
real = versions.git
def git(root, *arguments):
    if arguments[0] == sys.argv[4] and root.name == "data":
        (root / ".git/index.lock").touch()
        (root / ".dvc/tmp/rwlock").write_text("{")
        (root / ".shop.abcdefgh").mkdir()
        (root / ".shop.abcdefgh" / "half.parquet").write_text("half")
        os.kill(os.getpid(), 9)
    return real(root, *arguments)
versions.git = git
versions.store(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
"""


@pytest.mark.parametrize("step", ["add", "commit"])
def test_a_killed_store_leaves_the_last_version_whole(first: Path, second: Path, tmp_path: Path, step: str) -> None:
    home = tmp_path / "home"
    revision = store(first, home, "shop")
    command = [sys.executable, "-c", STORE_AND_STOP, str(second), str(home), "shop", step]
    killed = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert [version["revision"] for version in list_versions(home)] == [revision]
    assert sha256_files(fetch(revision, home, tmp_path / "out")) == sha256_files(first)
    again = store(second, home, "shop")
    assert sha256_files(fetch(again, home, tmp_path / "out")) == sha256_files(second)
    assert len(list_versions(home)) == 2 and not list((home / "data").glob(".shop.*"))


def test_a_git_that_started_us_is_left_alone(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    store(first, tmp_path / "home", "shop")
    assert not (tmp_path / "elsewhere").exists() and not (tmp_path / "index").exists()


def test_a_version_is_found_by_tag_digest_name_and_date(first: Path, second: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    one, two = store(first, home, "shop"), store(second, home, "shop")
    other = store(first, home, "garden")
    digest = Snapshot.open(second).digest
    for wanted in (two, digest, digest[:8], digest[:20], "shop", "shop@9999-01-01", "shop@9999-01-01T00:00:00+02:00"):
        assert resolve(wanted, home) == two
    assert resolve("9999-01-01", home) == other and one in str(pytest.raises(InputError, resolve, Snapshot.open(first).digest, home).value)
    for wanted in ("none", "shop@1999-01-01", "1999-01-01", "abc", "garden@", "@", ""):
        with pytest.raises(InputError, match="there is no version"):
            resolve(wanted, home)


def test_what_was_imported_last_is_the_newest_also_when_it_is_old(first: Path, second: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    one, two = store(first, home, "shop"), store(second, home, "shop")
    assert resolve("shop", home) == two
    assert store(first, home, "shop") == one == resolve("shop", home)
    assert [version["revision"] for version in list_versions(home)] == [one, two]
    assert Snapshot.open(fetch("shop", home, tmp_path / "out")).digest == Snapshot.open(first).digest


def test_an_update_needs_a_version_to_update(make_catalogue: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no catalogue 'shop'"):
        import_version(make_catalogue(), "shop", tmp_path / "home", update=True)


def test_changes_are_not_put_on_another_version_than_they_were_made_for(first: Path, second: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    parent = store(first, home, "shop")
    store(second, home, "shop")
    with pytest.raises(BusyError, match="was imported while the changes to"):
        store(first, home, "shop", parent)


def test_imports_and_updates_follow_each_other(make_catalogue: Make, tmp_path: Path) -> None:
    home = tmp_path / "home"
    one = import_version(make_catalogue(), "shop", home)
    two = import_version(make_catalogue([product(0) | {"title": "New"}], [], name="changes"), "shop", home, update=True)
    assert [version["revision"] for version in list_versions(home)] == [one, two]
    assert describe("shop", home)["parent"] == describe(one, home)["digest"]
    with opened("shop", home) as (snapshot, revision):
        assert revision == two and snapshot.products(["title"])["title"].to_pylist()[-1] == "New"
    assert sorted(path.name for path in home.iterdir()) == ["data", "data.lock"]
