"""Signed folders: whatever happens to one, whoever else signed it, it is refused and the file is named."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from goodsight.digests import sha256_files
from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.settings import settings
from lineage import keys
from lineage.signing import SIGNATURE, sign, signed_files, verify

ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def make(folder: Path, seed: int) -> Path:
    """A signed folder like a bundle's: some JSON, weights in a folder below, a hidden file."""
    (folder / "retrieve").mkdir(parents=True)
    (folder / "candidate.json").write_text(json.dumps({"seed": seed}))
    (folder / "retrieve" / "weights.safetensors").write_bytes(random.Random(seed).randbytes(2000))
    (folder / ".gitignore").write_text("a file that tools like to overlook")
    sign(folder)
    return folder


@pytest.fixture
def signed(tmp_path: Path) -> Path:
    return make(tmp_path / "bundle", 1)


def test_the_signer_is_told(signed: Path, tmp_path: Path) -> None:
    assert verify(signed) == keys.current()
    shutil.copytree(signed, tmp_path / "renamed")
    (tmp_path / "link").symlink_to(tmp_path / "renamed", target_is_directory=True)
    assert verify(tmp_path / "link") == keys.current()


def test_others_verify_it_without_us(signed: Path) -> None:
    """The command of the library, that knows nothing of ours."""
    key = keys.public_key(keys.current(), signed)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed), "--signature", str(signed / SIGNATURE)]
    done = subprocess.run([*command, "--public_key", str(key), "--no-ignore-git-paths"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_any_flipped_bit_is_refused_and_its_file_named(signed: Path) -> None:
    draw = random.Random(0)
    files = sorted(path for path in signed.rglob("*") if path.is_file())
    for _ in range(150):
        path = draw.choice(files)
        whole = path.read_bytes()
        altered = bytearray(whole)
        altered[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(altered)
        with pytest.raises(IntegrityError) as refused:
            verify(signed)
        assert str(path) in refused.value.message
        path.write_bytes(whole)
    verify(signed)


def test_every_byte_of_the_signature_counts(signed: Path) -> None:
    """Its base64 has bits that decoders overlook, and its JSON could be written in other ways."""
    whole = (signed / SIGNATURE).read_bytes()
    spellings = [whole[:place] + b" " + whole[place:] for place in (0, 1, len(whole))]
    for code in re.findall(rb'"([A-Za-z0-9+/]{60,}=*)"', whole):  # what the last characters stand for, in the bits that count
        spellings += [whole.replace(code, code.rstrip(b"=")[:-1] + bytes([other]) + b"=" * code.count(b"=")) for other in ALPHABET]
    spellings = [text for text in spellings if text != whole]
    for text in spellings:
        (signed / SIGNATURE).write_bytes(text)
        with pytest.raises(IntegrityError, match=r"model\.sig"):
            verify(signed)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda folder: _cut(folder / "retrieve" / "weights.safetensors"), "weights.safetensors is not as it was signed"),
    "emptied": (lambda folder: (folder / "candidate.json").write_bytes(b""), "candidate.json is not as it was signed"),
    "missing": (lambda folder: (folder / "candidate.json").unlink(), "candidate.json is missing"),
    "missing folder": (lambda folder: shutil.rmtree(folder / "retrieve"), "weights.safetensors is missing"),
    "renamed": (lambda folder: (folder / "candidate.json").rename(folder / "z.json"), "candidate.json is missing"),
    "extra": (lambda folder: (folder / "retrieve" / "weights.pt").write_bytes(b"pickle"), "weights.pt was not signed"),
    "extra for git": (lambda folder: (folder / ".gitattributes").write_text("*"), ".gitattributes was not signed"),
    "link": (lambda folder: (folder / "more").symlink_to("candidate.json"), "more was not signed"),
    "link to a folder": (lambda folder: (folder / "more").symlink_to("retrieve"), "more was not signed"),
    "file become a link": (
        lambda folder: (folder / "candidate.json").rename(folder.parent / "aside")
        and (folder / "candidate.json").symlink_to(folder.parent / "aside"),
        "candidate.json is not as it was signed",
    ),
    "unsigned": (lambda folder: (folder / SIGNATURE).unlink(), "model.sig is missing"),
    "empty signature": (lambda folder: (folder / SIGNATURE).write_bytes(b""), "model.sig is no signature"),
    "cut signature": (lambda folder: _cut(folder / SIGNATURE), "model.sig is no signature"),
    "deep signature": (lambda folder: (folder / SIGNATURE).write_bytes(b"[" * 100_000), "model.sig is no signature"),
    "list for signature": (lambda folder: (folder / SIGNATURE).write_bytes(b"[]"), "model.sig is no signature"),
    "linked signature": (
        lambda folder: (folder / SIGNATURE).rename(folder.parent / "aside") and (folder / SIGNATURE).symlink_to(folder.parent / "aside"),
        "model.sig is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_refused_and_its_file_named(signed: Path, damage: str) -> None:
    act, words = DAMAGES[damage]
    act(signed)
    with pytest.raises(IntegrityError, match=words.replace(".", r"\.")):
        verify(signed)


def test_the_signature_of_another_folder_is_refused(signed: Path, tmp_path: Path) -> None:
    other = make(tmp_path / "other", 2)
    shutil.copy(other / SIGNATURE, signed / SIGNATURE)
    with pytest.raises(IntegrityError, match=r"bundle/candidate\.json is not as it was signed"):
        verify(signed)


def test_the_signature_of_a_withdrawn_or_foreign_key_is_refused(signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = keys.current()
    keys.rotate()
    assert verify(signed) == old
    keys.distrust(old)
    with pytest.raises(IntegrityError, match=rf"bundle/model\.sig is by the key '{old[:12]}', which is not in"):
        verify(signed)
    sign(signed)
    assert verify(signed) == keys.current()
    monkeypatch.setenv("GOODSIGHT_KEYS", str(tmp_path / "of another home"))
    settings.cache_clear()
    with pytest.raises(IntegrityError, match="which is not in"):
        verify(signed)


def test_a_foreign_key_under_a_trusted_name_is_refused(signed: Path) -> None:
    name = keys.current()
    trusted = keys.trusted_folder()
    shutil.copy(trusted / f"{keys.rotate()}.pub", trusted / f"{name}.pub")
    with pytest.raises(IntegrityError, match=r"model\.sig"):
        verify(signed)


def test_what_overlooks_files_is_refused_though_a_trusted_key_signed_it(signed: Path) -> None:
    import model_signing

    rules = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE, "retrieve"])
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys.signing_key())
    signer.set_hashing_config(rules).sign(signed, signed / SIGNATURE)
    with pytest.raises(IntegrityError, match=r"model\.sig"):
        verify(signed)


def test_a_link_is_not_signed(signed: Path) -> None:
    (signed / "more").symlink_to("candidate.json")
    before = (signed / SIGNATURE).read_bytes()
    with pytest.raises(InputError, match=r"bundle cannot be signed: .*symlink"):
        sign(signed)
    assert (signed / SIGNATURE).read_bytes() == before


def test_with_sigstore_a_key_does_not_count_and_without_network_nothing_does(signed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_SIGNER", "sigstore:release@example.com@https://issuer.example")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    settings.cache_clear()
    with pytest.raises((BusyError, IntegrityError)):
        verify(signed)


@pytest.mark.parametrize("signer", ["sigstore", "sigstore:release@example.com", "gpg:me@https://issuer.example"])
def test_a_signer_that_is_not_one_is_named(signed: Path, signer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOODSIGHT_SIGNER", signer)
    settings.cache_clear()
    with pytest.raises(InputError, match="GOODSIGHT_SIGNER is"):
        verify(signed)


def test_the_signature_alone_tells_what_was_signed_and_none_of_its_bytes_may_differ(signed: Path) -> None:
    signer, files = signed_files(signed)
    assert signer == keys.current()
    assert files == {name: digest for name, digest in sha256_files(signed).items() if name != SIGNATURE}
    whole = (signed / SIGNATURE).read_bytes()
    for place in range(len(whole)):
        (signed / SIGNATURE).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(IntegrityError):
            signed_files(signed)
