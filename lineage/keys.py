"""The key pair of a home: the private key that signs, made at first use, and the public keys whose signatures count.

A folder (`GOODSIGHT_KEYS`, default `keys` under home) of `signing.pem` (EC P-256, PKCS 8, readable by its owner alone) and
`trusted/<fingerprint>.pub`. Who only verifies needs `trusted` alone. The fingerprint is the sha256 of the public key's PEM text,
as OpenSSF signatures name their key.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from goodsight.digests import sha256_bytes
from goodsight.errors import InputError, IntegrityError
from goodsight.files import exclusive, write_bytes
from goodsight.settings import settings

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

CURVE = "secp256r1"
MAKE = "Make one with: openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt"


def trusted_folder() -> Path:
    return settings().keys_folder / "trusted"


def signing_key() -> Path:
    """The PEM file of the private key; of processes that ask at once for the first one, all get the same."""
    path = settings().keys_folder / "signing.pem"
    if not path.exists():
        name, aside = _new_pair()
        try:
            os.link(aside, path)
        except FileExistsError:
            (trusted_folder() / f"{name}.pub").unlink()
        finally:
            aside.unlink()
    return path


def private_key() -> EllipticCurvePrivateKey:
    """The key that signs. Raises `InputError` when the file holds another kind of key than P-256."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = signing_key()
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read as a private key: {error}", MAKE) from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name != CURVE:
        raise InputError(f"{path} is not a private key on the curve P-256.", MAKE)
    return key


def current() -> str:
    """The fingerprint of the key that signs."""
    return fingerprint(private_key().public_key())


def fingerprint(public: EllipticCurvePublicKey) -> str:
    return sha256_bytes(_pem(public))


def trusted() -> list[str]:
    """The fingerprints of the public keys whose signatures count."""
    return sorted(path.stem for path in trusted_folder().glob("*.pub"))


def public_key(name: str, signed: object) -> Path:
    """The PEM file of the key with fingerprint `name`, that `signed` is by. Raises `IntegrityError` when it is not trusted."""
    if name not in trusted():
        hint = "Take what a trusted key signed, or put that public key there if you trust who has it."
        raise IntegrityError(f"{signed} is by the key {name[:12]!r}, which is not in {trusted_folder()}.", hint)
    return trusted_folder() / f"{name}.pub"


def rotate() -> str:
    """Makes a new key that signs from now on and returns its fingerprint; the old private key is gone, its signatures count on.

    Raises `BusyError` during another rotation, `InputError` where the folder cannot be written.
    """
    folder = settings().keys_folder
    try:
        with exclusive(folder / "rotation.lock", "A rotation of keys"):
            name, aside = _new_pair()
            aside.replace(folder / "signing.pem")
    except OSError as error:
        raise InputError(f"The keys in {folder} cannot be changed: {error}", "Change them where they are mounted from.") from error
    return name


def withdrawable(start: str) -> str:
    """The fingerprint of the trusted key that starts with `start`.

    Raises `InputError` when no one key starts so, or it is the key that signs.
    """
    found = [name for name in trusted() if start and name.startswith(start)]
    if len(found) != 1:
        raise InputError(f"{len(found)} trusted keys start with {start!r}.", "See them with: goodsight audit keys show")
    if found[0] == current():
        raise InputError(f"The key {start} signs.", "Make a new one first: goodsight audit keys rotate")
    return found[0]


def distrust(start: str) -> str:
    """Takes a key (see `withdrawable`) out of the trusted ones, and returns its fingerprint: what it signed is refused from now on."""
    name = withdrawable(start)
    (trusted_folder() / f"{name}.pub").unlink()
    return name


def _new_pair() -> tuple[str, Path]:
    """The fingerprint of a new pair, its public key trusted, and the private key in a file aside."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    public = _pem(key.public_key())
    name = fingerprint(key.public_key())
    folder = settings().keys_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_bytes(folder / f".{name}.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    write_bytes(trusted_folder() / f"{name}.pub", public)
    return name, folder / f".{name}.pem"


def _pem(public: EllipticCurvePublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
