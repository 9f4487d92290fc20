"""The key pair of a home: made once, whoever asks; readable by its owner alone; replaced and withdrawn by name."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from goodsight.errors import InputError, IntegrityError
from goodsight.settings import settings
from lineage import keys


def ask(answers: multiprocessing.Queue[str], go: multiprocessing.synchronize.Barrier) -> None:
    go.wait()
    answers.put(keys.current())


def test_processes_that_ask_at_once_get_one_key() -> None:
    context = multiprocessing.get_context("spawn")
    answers, go = context.Queue(), context.Barrier(4)
    asking = [context.Process(target=ask, args=(answers, go)) for _ in range(4)]
    for process in asking:
        process.start()
    names = {answers.get(timeout=60) for _ in asking}
    for process in asking:
        process.join()
    assert names == {keys.current()} and keys.trusted() == [keys.current()]
    assert sorted(path.name for path in settings().keys_folder.iterdir()) == ["signing.pem", "trusted"]


def test_the_private_key_is_for_its_owner_alone() -> None:
    assert keys.signing_key().stat().st_mode & 0o777 == 0o600
    assert settings().keys_folder.stat().st_mode & 0o777 == 0o700
    assert b"PRIVATE" not in keys.public_key(keys.current(), "a file").read_bytes()


def test_the_keys_may_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_KEYS", str(tmp_path / "mounted"))
    settings.cache_clear()
    assert keys.signing_key() == tmp_path / "mounted" / "signing.pem"


def test_a_rotation_keeps_trust_in_the_key_before() -> None:
    old = keys.current()
    new = keys.rotate()
    assert keys.current() == new != old and keys.trusted() == sorted([old, new])
    assert keys.signing_key().stat().st_mode & 0o777 == 0o600
    assert keys.distrust(old[:12]) == old and keys.trusted() == [new]
    with pytest.raises(IntegrityError, match=f"model.sig is by the key '{old[:12]}', which is not in "):
        keys.public_key(old, "model.sig")


@pytest.mark.parametrize("start", ["", "no such key", "../signing"])
def test_a_key_that_is_not_there_is_not_withdrawn(start: str) -> None:
    keys.signing_key()
    with pytest.raises(InputError, match="0 trusted keys start with"):
        keys.distrust(start)


def test_the_key_that_signs_is_not_withdrawn() -> None:
    with pytest.raises(InputError, match="rotate"):
        keys.distrust(keys.current())
    assert keys.trusted() == [keys.current()]


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_named(text: str) -> None:
    keys.signing_key().write_text(text)
    with pytest.raises(InputError, match=r"signing\.pem cannot be read as a private key"):
        keys.current()
