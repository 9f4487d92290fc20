"""Files are whole or absent, whatever happens on the way, and a lock dies with its holder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import goodsight.files
from goodsight.digests import HOUSE, sha256_files
from goodsight.errors import BusyError, InputError
from goodsight.files import exclusive, read_json, whole_folder, write_bytes, write_json


def everything(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with whole_folder(target) as aside:
        (aside / "sub").mkdir()
        (aside / "sub" / "file").write_text("new")
        assert not target.exists()
    assert everything(tmp_path) == ["deep", "deep/target", "deep/target/sub", "deep/target/sub/file"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with whole_folder(tmp_path / "target") as aside:
            (aside / name).write_text(name)
    assert everything(tmp_path) == ["target", "target/new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_leaves_what_was_there(error: type[BaseException], exists: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    if exists:
        target.mkdir()
        (target / "old").write_text("old")
    before = everything(tmp_path)
    with pytest.raises(error), whole_folder(target) as aside:
        (aside / "half").write_text("half")
        raise error
    assert everything(tmp_path) == before


def test_a_disk_that_refuses_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with whole_folder(tmp_path / "target") as aside:
        (aside / "old").write_text("old")

    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(goodsight.files, "_flush", refuse)
    with pytest.raises(OSError, match="No space"), whole_folder(tmp_path / "target") as aside:
        (aside / "new").write_text("new")
    assert everything(tmp_path) == ["target", "target/old"]


def test_killed_in_the_middle_nothing_looks_whole(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from goodsight.files import whole_folder
import os, signal
with whole_folder(Path({str(tmp_path / "target")!r})) as aside:
    (aside / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=HOUSE).returncode == -signal.SIGKILL
    assert not (tmp_path / "target").exists()
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000))
def test_bytes_come_back(data: bytes, tmp_path: Path) -> None:
    write_bytes(tmp_path / "deep" / "file", data)
    assert (tmp_path / "deep" / "file").read_bytes() == data
    assert everything(tmp_path) == ["deep", "deep/file"]


@pytest.mark.parametrize("broken", ["replace", "fsync"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_file_that_cannot_be_written_is_as_before(
    broken: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    if exists:
        path.write_bytes(b"old")

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, refuse)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert everything(tmp_path) == (["file"] if exists else [])
    assert not exists or path.read_bytes() == b"old"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_mode_is_what_was_asked(mode: int, tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"x", mode)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_json_comes_back(value: object, tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_what_is_no_json_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"value\.json") as caught:
        read_json(path)
    assert caught.value.hint


HOLDER = """
from pathlib import Path
from goodsight.files import exclusive
import sys
with exclusive(Path(sys.argv[1]), "The import"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_holder_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / "home" / "import.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], cwd=HOUSE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match="The import is already in progress") as caught, exclusive(lock, "The import"):
        pytest.fail("two held the lock")
    assert caught.value.exit_code == 75
    holder.kill()
    holder.communicate()
    with exclusive(lock, "The import"):
        pass


def test_a_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), exclusive(tmp_path / "lock", "It"):
        raise ValueError("inside")
    with exclusive(tmp_path / "lock", "It"), pytest.raises(BusyError), exclusive(tmp_path / "lock", "It"):
        pass


def test_the_same_content_is_the_same_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with whole_folder(tmp_path / name) as aside:
            write_json(aside / "value.json", {"b": 1, "a": [1, 2]})
    assert sha256_files(tmp_path / "one") == sha256_files(tmp_path / "two")
