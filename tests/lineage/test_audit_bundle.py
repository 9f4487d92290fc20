"""The audit bundle: whole on a machine without Goodsight, and refused with the file's name when any byte of it differs."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from goodsight.digests import HOUSE, canonical_json, sha256_bytes
from goodsight.errors import InputError
from lineage import audit_bundle, keys
from lineage.envelopes import seal
from lineage.passport import passport
from lineage.verify_audit_bundle import BLOCK, END, FORMAT, KEY, MANIFEST, TYPE, Refused, check, header, padding
from pipelines import passport_command
from tests.lineage.audited import Audited, flip


def write(audited: Audited, out: Path, wanted: str = "", weights: bool = False) -> str:
    place = passport_command.sources(audited.home)
    return audit_bundle.write(passport(wanted or audited.prediction, place), place, out, weights)


@pytest.fixture
def bundle(audited: Audited, tmp_path: Path) -> Path:
    write(audited, tmp_path / "audit.tar")
    return tmp_path / "audit.tar"


def verify(bundle: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The verifier, copied elsewhere, in a process that cannot import Goodsight."""
    folder.mkdir(exist_ok=True)
    shutil.copy(audit_bundle.VERIFIER, folder / "verify.py")
    alone = folder / "alone"
    alone.mkdir(exist_ok=True)
    for package in ("cryptography", "cffi", "_cffi_backend*", "cryptography-*", "cffi-*"):
        for found in Path(sys.prefix, "lib", f"python3.{sys.version_info.minor}", "site-packages").glob(package):
            if not (alone / found.name).exists():
                (alone / found.name).symlink_to(found)
    code = (
        f"import sys, runpy; sys.path = [p for p in sys.path if 'site-packages' not in p] + [{str(alone)!r}]\n"
        "try:\n    import goodsight\n    raise SystemExit('goodsight can be imported')\nexcept ImportError:\n    pass\n"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(folder / "verify.py"), str(bundle), *arguments]
    return subprocess.run(command, cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)


def members(bundle: Path) -> Iterator[tuple[str, int, int]]:
    """(name, first byte, byte behind the last) of each file with its header and its padding."""
    with tarfile.open(bundle) as archive:
        for member in archive:
            yield member.name, member.offset, member.offset_data + member.size + padding(member.size)


def test_a_machine_without_goodsight_finds_it_whole(audited: Audited, bundle: Path, tmp_path: Path) -> None:
    done = verify(bundle, tmp_path / "elsewhere", "--key", keys.current())
    assert (done.returncode, done.stderr) == (0, "")
    told = done.stdout
    for words in ("every byte", "each chained", "the checkpoint of", "signature by", "snapshot", "verdict promote", "evaluation", "index"):
        assert words in told
    assert f"the passport of prediction:{audited.prediction}" in told and "not in this bundle: retrieve/weights.safetensors" in told
    assert told.endswith("The bundle is whole.\n")


def test_it_has_what_an_auditor_needs_and_no_weights(bundle: Path) -> None:
    names = {name for name, _, _ in members(bundle)}
    model = {"card.md", "verdict.json", "environment.txt", "provenance.intoto.json", "model.sig", "candidate.json"}
    assert {f"model/{name}" for name in model} | {"passport.json", "passport.html", "index/index.json", "evaluation/metrics.json"} <= names
    assert {"ledger/events.json", "ledger/chain.json", "ledger/checkpoint.json", "verify_audit_bundle.py", "README.txt"} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".faiss"))]


def test_weights_come_when_asked_for(audited: Audited, tmp_path: Path) -> None:
    write(audited, tmp_path / "audit.tar", "champion", weights=True)
    assert {"model/retrieve/weights.safetensors", "index/vectors.faiss"} <= {name for name, _, _ in members(tmp_path / "audit.tar")}
    with (tmp_path / "audit.tar").open("rb") as file:
        assert not [sentence for sentence in check(file) if "not in this bundle" in sentence]


def test_another_key_than_the_expected_one_is_refused(bundle: Path, tmp_path: Path) -> None:
    done = verify(bundle, tmp_path / "elsewhere", "--key", "0" * 64)
    assert done.returncode == 1 and done.stdout.startswith("REFUSED  key.pub: the bundle is signed by")
    assert verify(tmp_path / "none.tar", tmp_path / "elsewhere").returncode == 1


def test_one_flipped_bit_anywhere_is_refused_and_the_file_is_named(bundle: Path) -> None:
    """Every block of the archive is hit somewhere: headers, content, padding and the end."""
    whole = bundle.read_bytes()
    holders = list(members(bundle))
    dice = random.Random(0)
    for block in range(0, len(whole), BLOCK):
        place = block + dice.randrange(BLOCK)
        altered = bytearray(whole)
        altered[place] ^= 1 << dice.randrange(8)
        expected = next((name for name, start, end in holders if start <= place < end), "the end of the archive")
        with pytest.raises(Refused) as refused:
            list(check(io.BytesIO(altered)))
        assert refused.value.file == expected, f"byte {place}"


@pytest.mark.parametrize("cut", [0, 1, 100, BLOCK, 5000, -1, -BLOCK])
def test_a_bundle_cut_off_or_followed_by_something_is_refused(bundle: Path, cut: int) -> None:
    whole = bundle.read_bytes()
    with pytest.raises(Refused):
        list(check(io.BytesIO(whole[:cut])))
    with pytest.raises(Refused, match="the end of the archive"):
        list(check(io.BytesIO(whole + b"\0" * BLOCK)))


def rebuilt(content: dict[str, bytes], **manifest: object) -> io.BytesIO:
    """A bundle by our own key with other content: what someone who has the key could make."""
    told = {name: {"sha256": sha256_bytes(data), "bytes": len(data)} for name, data in content.items()}
    value = {"format": FORMAT, "subject": "x", "made": "now", "files": told, **manifest}
    first = {KEY: keys.public_key(keys.current(), "").read_bytes(), MANIFEST: canonical_json(seal(value, TYPE)).encode()}
    parts = [header(name, len(data)) + data + bytes(padding(len(data))) for name, data in (*first.items(), *sorted(content.items()))]
    return io.BytesIO(b"".join(parts) + END)


def content(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.name not in (KEY, MANIFEST)}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "change", "named"),
    [
        ("ledger/events.json", lambda value: value[:2] + [value[2] | {"actor": "nobody"}], "ledger/events.json"),
        ("ledger/chain.json", lambda value: [*value[:-1], "0" * 64], "ledger/"),
        ("model/candidate.json", lambda value: value | {"digest": "0" * 64}, "model/candidate.json"),
        ("model/retrieve/manifest.json", lambda value: value | {"files": {}}, "model/retrieve/manifest.json"),
        ("model/retrieve/config.json", lambda value: value | {"more": 1}, "model/retrieve/manifest.json"),
        ("model/provenance.intoto.json", lambda value: value | {"more": 1}, "model/model.sig"),
        ("model/verdict.json", lambda value: value | {"decision": "reject"}, "model/"),
        ("index/index.json", lambda value: value | {"count": 8}, "index/index.json"),
        ("evaluation/metrics.json", lambda value: value | {"metrics": {}}, "evaluation/"),
        ("passport.json", lambda value: value | {"nodes": []}, "model/candidate.json"),
        ("passport.json", lambda value: [], "model/candidate.json"),
    ],
)
def test_content_that_does_not_belong_together_is_refused_even_when_it_is_signed(
    bundle: Path, name: str, change: object, named: str
) -> None:
    files = content(bundle)
    files[name] = canonical_json(change(json.loads(files[name]))).encode()  # type: ignore[operator]
    with pytest.raises(Refused) as refused:
        list(check(rebuilt(files)))
    assert refused.value.file.startswith(named)


def test_hostile_archives_are_refused_by_their_first_bytes(bundle: Path) -> None:
    files = content(bundle)
    deep = b"[" * 100_000
    for name in ("passport.json", "ledger/events.json", "model/candidate.json", "model/model.sig"):
        with pytest.raises(Refused):
            list(check(rebuilt(files | {name: deep})))
    for size in ("77777777777", "99999999999", "-0000000001"):
        with pytest.raises(Refused):
            list(check(io.BytesIO(header(KEY, 0)[:124] + size.encode() + header(KEY, 0)[135:])))
    with pytest.raises(Refused, match="format"):
        list(check(rebuilt({}, format="goodsight-audit-bundle/9")))
    with pytest.raises(Refused, match=r"\.\./outside"):
        list(check(rebuilt({}, files={"../outside": {"sha256": "0" * 64, "bytes": 10**12}})))
    for files_told in ([], {"x": 1}, {"x": {"sha256": "0" * 64, "bytes": "many"}}):
        with pytest.raises(Refused):
            list(check(rebuilt({}, files=files_told)))


def test_what_is_altered_at_home_is_altered_in_the_bundle(audited: Audited, tmp_path: Path) -> None:
    flip(audited.registered / "environment.txt")
    write(audited, tmp_path / "audit.tar")
    with (tmp_path / "audit.tar").open("rb") as file, pytest.raises(Refused, match="promises another environment.txt"):
        list(check(file))


def test_a_name_that_no_archive_holds_is_told(audited: Audited, tmp_path: Path) -> None:
    (audited.registered / ("long" * 30)).write_text("x")
    with pytest.raises(InputError, match="no name for an audit bundle"):
        write(audited, tmp_path / "audit.tar")
    with pytest.raises(InputError, match="cannot be written"):
        write(audited, tmp_path / "nowhere" / "audit.tar", audited.revision)
    assert list(tmp_path.glob("*.tar")) == []


def test_the_verifier_needs_the_standard_library_and_cryptography_alone() -> None:
    text = audit_bundle.VERIFIER.read_text()
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.strip().startswith(("import ", "from "))}
    assert imported <= {*sys.stdlib_module_names, "cryptography"} and audit_bundle.VERIFIER.is_relative_to(HOUSE)
