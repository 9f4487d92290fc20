"""Signatures over folders, by OpenSSF model signing: who made every file of a bundle or an index, checked before one is parsed.

`model.sig` is a Sigstore bundle over an in-toto statement that names every other file of the folder with its sha256; the
`model_signing` command verifies it too. The key pair of the home signs, or Sigstore where `GOODSIGHT_SIGNER` says so.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from goodsight.digests import sha256_file
from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.files import read_json, write_bytes
from goodsight.settings import settings
from lineage import keys
from lineage.envelopes import unseal

if TYPE_CHECKING:
    from model_signing.hashing import Config as HashingConfig
    from model_signing.verifying import Config as VerifyingConfig

SIGNATURE = "model.sig"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "application/vnd.in-toto+json"
RULES = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": [SIGNATURE]}
AGAIN = "Take the folder whole, as it was signed, or make it again: goodsight run"


def sign(folder: Path) -> None:
    """Writes `model.sig`, which covers every other file of `folder`. Raises `InputError` for a link or a special file in it."""
    import model_signing

    config = model_signing.signing.Config().set_hashing_config(_hashing())
    if settings().signer:
        with _reached():
            config.use_sigstore_signer(use_ambient_credentials=True)
    else:
        config.use_elliptic_key_signer(private_key=keys.signing_key())
    with tempfile.TemporaryDirectory() as aside:
        try:
            config.sign(folder, Path(aside) / SIGNATURE)
        except ValueError as error:
            raise InputError(f"{folder} cannot be signed: {error}", "Sign a folder of plain files.") from error
        write_bytes(folder / SIGNATURE, (Path(aside) / SIGNATURE).read_bytes())


def verify(folder: Path) -> str:
    """Who signed `folder`: the fingerprint of a trusted key, or the Sigstore identity that is asked for.

    Parses nothing but the signature. Raises `IntegrityError` naming the file that is not as it was signed, is missing or
    was not signed, or the key that is not trusted.
    """
    folder = folder.resolve()
    signed = _Signed.read(folder)
    signer, verifier = _verifier(folder, signed)
    try:
        verifier.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE)
    except ValueError as error:
        raise IntegrityError(f"{_fault(folder, signed.files)}.", AGAIN) from error
    except Exception as error:  # no signature of this key: what it says is not believed
        raise IntegrityError(f"{folder / SIGNATURE} is not as it was signed.", AGAIN) from error
    if signed.rules != RULES:
        raise IntegrityError(f"{folder / SIGNATURE} was made by other rules than ours: {signed.rules}.", AGAIN)
    return signer


def signed_files(folder: Path) -> tuple[str, dict[str, str]]:
    """The fingerprint of the trusted key that signed `folder`, and path -> sha256 of every file as it was then.

    In a fraction of the time of `verify`, since it reads the signature alone: the files themselves are still to be compared.
    Raises `IntegrityError` when the signature is missing, altered, by a key that is not trusted, or by Sigstore.
    """
    path, signed = folder / SIGNATURE, _Signed.read(folder)
    bundle = read_json(path)
    envelope = bundle["dsseEnvelope"]
    signatures = [{**each, "keyid": signed.key} for each in envelope["signatures"]]
    _, signer = unseal({**envelope, "signatures": signatures}, STATEMENT, path)
    alone = {"mediaType": MEDIA_TYPE, "verificationMaterial": {"publicKey": {"hint": signer}, "tlogEntries": []}}
    alone["dsseEnvelope"] = {**envelope, "payloadType": STATEMENT, "signatures": [{**each, "keyid": ""} for each in envelope["signatures"]]}
    if bundle != alone or signed.rules != RULES:
        raise IntegrityError(f"{path} is not as it was signed.", AGAIN)
    return signer, dict(signed.files)


@dataclass(frozen=True)
class _Signed:
    """What a signature says, before anything of it is believed."""

    key: str
    files: Mapping[str, str]
    rules: Mapping[str, Any]

    @staticmethod
    def read(folder: Path) -> _Signed:
        """Accepts the one way of writing that signing makes: no byte of the file is without meaning."""
        path = folder / SIGNATURE
        if path.is_symlink() or not path.is_file():
            raise IntegrityError(f"{folder} is not signed: {path} is missing.", AGAIN)
        try:
            text = path.read_bytes()
            bundle = json.loads(text)
            envelope = bundle["dsseEnvelope"]
            codes = [envelope["payload"], *(each["sig"] for each in envelope["signatures"])]
            statement, *signatures = (base64.b64decode(code) for code in codes)
            again = [base64.b64encode(value).decode() for value in (statement, *signatures)]
            if again != codes or json.dumps(bundle, separators=(",", ":")).encode() != text:
                raise ValueError("not as signing writes it")
            predicate = json.loads(statement)["predicate"]
            files = {each["name"]: each["digest"] for each in predicate["resources"]}
            key = bundle["verificationMaterial"].get("publicKey", {}).get("hint", "")
            return _Signed(str(key), files, predicate["serialization"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IntegrityError(f"{path} is no signature: {type(error).__name__}: {error}.", AGAIN) from error


def _verifier(folder: Path, signed: _Signed) -> tuple[str, VerifyingConfig]:
    """The signer that is asked for, and what verifies its signatures."""
    import model_signing

    config = model_signing.verifying.Config()
    if settings().signer:
        identity, issuer = _sigstore()
        with _reached():
            return identity, config.use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
    return signed.key, config.use_elliptic_key_verifier(public_key=keys.public_key(signed.key, folder / SIGNATURE))


def _hashing() -> HashingConfig:
    """sha256 of every file but the signature; links are refused, git's files count like others."""
    from model_signing.hashing import Config

    return Config().use_file_serialization(hashing_algorithm="sha256").set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _fault(folder: Path, files: Mapping[str, str]) -> str:
    """What is wrong with the first path of `folder` that is not what `files` (path -> sha256) says."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    for name in sorted((files.keys() | found.keys()) - {SIGNATURE}):
        if name not in found:
            return f"{folder / name} is missing"
        if name not in files:
            return f"{folder / name} was not signed"
        if found[name].is_symlink() or not found[name].is_file() or sha256_file(found[name]) != files[name]:
            return f"{folder / name} is not as it was signed"
    return f"{folder / SIGNATURE} is not as it was signed"


@contextmanager
def _reached() -> Iterator[None]:
    """Sigstore's keys are fetched over the network; without it nothing is signed and nothing passes."""
    try:
        yield
    except Exception as error:
        raise BusyError(f"Sigstore was not reached: {error}", "Try again, or unset GOODSIGHT_SIGNER to use a key pair.") from error


def _sigstore() -> tuple[str, str]:
    """Identity and issuer that GOODSIGHT_SIGNER names. Raises `InputError` when it is not written so."""
    kind, _, rest = settings().signer.partition(":")
    identity, _, issuer = rest.rpartition("@")
    if kind != "sigstore" or not identity or not issuer.startswith("https://"):
        hint = "Leave it empty, or write sigstore:IDENTITY@ISSUER, like sigstore:release@example.com@https://accounts.google.com"
        raise InputError(f"GOODSIGHT_SIGNER is {settings().signer!r}.", hint)
    return identity, issuer
