"""Checks an audit bundle on any machine: Python 3.10 or later and the package `cryptography`, nothing of Goodsight.

    python -I verify_audit_bundle.py BUNDLE --key FINGERPRINT

Take this program, and the fingerprint of the key, from someone you trust, not from the bundle. What it does, in this order:

1. reads the bundle once, from front to back, and takes nothing out of it: a tar archive in the one form that `goodsight audit
   bundle` writes, so that no byte of it is without meaning
2. believes nothing before the signature over `manifest.json` is found to be right, and no file before its sha256 is the signed one
3. checks again what the files say of each other: the ledger's hashes, the digests of model, index, data and evaluation, and the
   signature under the model

It says each thing that it checked. The first that is wrong is named, with the file, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

BLOCK = 512
KEY, MANIFEST, FORMAT = "key.pub", "manifest.json", "goodsight-audit-bundle/1"
TYPE, STATEMENT = "application/vnd.goodsight.audit-bundle+json", "application/vnd.in-toto+json"
CHECKPOINT = "application/vnd.goodsight.checkpoint+json"
LIMIT = 64 * 2**20  # bytes of a file that is parsed
END = bytes(2 * BLOCK)
GENESIS = "0" * 64


class Refused(Exception):
    """What is wrong, and with which file."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: {why}")
        self.file = file


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: Any) -> str:
    return sha256(canonical(value).encode())


def header(name: str, size: int) -> bytes:
    """The ustar header of a file: mode 0644, no owner, no time."""
    fields = [name.encode().ljust(100, b"\0"), b"0000644\0", b"0000000\0", b"0000000\0", b"%011o\0" % size, b"00000000000\0"]
    rest = [b"0", bytes(100), b"ustar\00000", bytes(64), b"0000000\0", b"0000000\0", bytes(155), bytes(12)]
    blank = b"".join([*fields, b" " * 8, *rest])
    return b"".join([*fields, b"%06o\0 " % sum(blank), *rest])


def padding(size: int) -> int:
    return -size % BLOCK


def covered(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is over."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def unsealed(envelope: Any, payload_type: str, key: bytes, file: str) -> Any:
    """The value in a DSSE envelope, once the signature by the PEM `key` is found to be right."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        public = load_pem_public_key(key)
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != "secp256r1":
            raise Refused(file, "its key is not on the curve P-256")
        (signed,) = envelope["signatures"]
        payload, signature = (decoded(text) for text in (envelope["payload"], signed["sig"]))
        public.verify(signature, covered(payload_type, payload), ec.ECDSA(hashes.SHA256()))
        return json.loads(payload)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(file, f"its signature is not right ({type(error).__name__})") from error


def decoded(text: str) -> bytes:
    """Base64 in its one form."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not the one form of base64")
    return data


class Bundle:
    """The files of a bundle: each is read again when it is asked for, and is still the signed one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.places: dict[str, tuple[int, int]] = {}
        key = self._first(KEY, 4096)
        text = self._first(MANIFEST, LIMIT)
        self.signer, self.manifest = sha256(key), manifest_of(text, key)
        self.files: dict[str, dict[str, Any]] = self.manifest["files"]
        for name in sorted(self.files):
            self._expect(name, self.files[name]["bytes"], self.files[name]["sha256"])
        if self.file.read(len(END) + 1) != END:
            raise Refused("the end of the archive", "something else stands there")

    def _first(self, name: str, limit: int) -> bytes:
        """A file whose size nothing has told of yet but its own header."""
        block = self.file.read(BLOCK)
        try:
            size = int(block[124:135], 8)
        except ValueError:
            size = -1
        if not 0 <= size <= limit or block != header(name, size):
            raise Refused(name, "the archive does not begin with it, in the form of an audit bundle")
        start, data = self.file.tell(), self.file.read(size)
        if len(data) != size or self.file.read(padding(size)) != bytes(padding(size)):
            raise Refused(name, "it is cut off, or something stands behind it")
        self.places[name] = (start, size)
        return data

    def _expect(self, name: str, size: int, digest: str) -> None:
        if self.file.read(BLOCK) != header(name, size):
            raise Refused(name, "it is missing, or its header is altered")
        self.places[name], found, left = (self.file.tell(), size), hashlib.sha256(), size
        while left and (piece := self.file.read(min(left, 2**20))):
            found.update(piece)
            left -= len(piece)
        if left or found.hexdigest() != digest:
            raise Refused(name, "it is not the file that was signed")
        if self.file.read(padding(size)) != bytes(padding(size)):
            raise Refused(name, "something stands behind it")

    def read(self, name: str) -> bytes:
        if name not in self.places:
            raise Refused(name, "it is not in the bundle")
        start, size = self.places[name]
        if size > LIMIT:
            raise Refused(name, f"{size:,} bytes are too many to read it")
        self.file.seek(start)
        return self.file.read(size)

    def json(self, name: str) -> Any:
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise Refused(name, f"it is no JSON ({type(error).__name__})") from error

    def below(self, folder: str) -> dict[str, str]:
        """path -> sha256 of the files below a folder."""
        return {name[len(folder) :]: told["sha256"] for name, told in self.files.items() if name.startswith(folder)}


def manifest_of(text: bytes, key: bytes) -> dict[str, Any]:
    """What the signed manifest says; which of the two is altered is told by whether the key has its own name."""
    try:
        envelope = json.loads(text)
        named = envelope["signatures"][0]["keyid"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise Refused(MANIFEST, f"it is no signed manifest ({type(error).__name__})") from error
    try:
        value: dict[str, Any] = unsealed(envelope, TYPE, key, MANIFEST)
    except Refused as error:
        raise error if sha256(key) == named else Refused(KEY, "it is not the key that signed the manifest") from error
    if sha256(key) != named or canonical(envelope).encode() != text or envelope["payloadType"] != TYPE:
        raise Refused(MANIFEST, "it is not in the form in which it was signed")
    if value.get("format") != FORMAT:
        raise Refused(MANIFEST, f"its format is {value.get('format')!r}, this program knows {FORMAT}")
    return value


def check_ledger(bundle: Bundle) -> Iterator[str]:
    """Events hash to what the chain has in their places, and follow the event before; the checkpoint knows the chain."""
    chain, events = bundle.json("ledger/chain.json"), bundle.json("ledger/events.json")
    for event in events:
        seq, told = event["seq"], {name: value for name, value in event.items() if name != "hash"}
        before = chain[seq - 2] if seq > 1 else GENESIS
        if not sha256_json(told) == event["hash"] == chain[seq - 1] or event["previous"] != before:
            raise Refused("ledger/events.json", f"event {seq} is not the one in the chain")
    yield f"{len(events)} events of {len(chain)}: hashes right, each chained to the one before"
    name = "ledger/checkpoint.json"
    if name in bundle.files:
        envelope = bundle.json(name)
        signer = envelope["signatures"][0]["keyid"]
        last = unsealed(envelope, CHECKPOINT, bundle.read(f"keys/{signer}.pub"), name)
        if last["seq"] and (last["seq"] > len(chain) or chain[last["seq"] - 1] != last["hash"]):
            raise Refused(name, f"the chain does not have the event {last['seq']} that it knows")
        yield f"the checkpoint of {last['time']}, signed by {signer[:12]}, knows event {last['seq']} of this chain"


def check_model(bundle: Bundle) -> Iterator[str]:
    """The candidate's digest is over its bundles, each over its files, and the signature is over all of them."""
    files = bundle.below("model/")
    record = bundle.json("model/candidate.json")
    if record["digest"] != sha256_json(record["bundles"]) or f"candidate:{record['digest']}" not in nodes(bundle):
        raise Refused("model/candidate.json", "its digest is not that of its bundles, or not the one in the passport")
    for task, digest in record["bundles"].items():
        name, manifest = f"model/{task}/manifest.json", bundle.json(f"model/{task}/manifest.json")
        if not manifest["digest"] == digest == sha256_json(manifest["files"]):
            raise Refused(name, "its digest is not that of its files, or not the candidate's")
        yield compared(name, {f"{task}/{path}": each for path, each in manifest["files"].items()}, files)
    if "model.sig" in files:
        yield check_signature(bundle, "model/", files)


def check_index(bundle: Bundle) -> Iterator[str]:
    name, record = "index/index.json", bundle.json("index/index.json")
    content = {field: value for field, value in record.items() if field != "digest"}
    if record["digest"] != sha256_json(content) or f"index:{record['digest']}" not in nodes(bundle):
        raise Refused(name, "its digest is not that of its content, or not the one in the passport")
    yield f"index {record['digest'][:12]} of {record['count']} products"
    if "index/model.sig" in bundle.files:
        yield check_signature(bundle, "index/", bundle.below("index/"))


def check_signature(bundle: Bundle, folder: str, files: dict[str, str]) -> str:
    """The OpenSSF signature over a folder, of which the bundle may hold only some files."""
    name = f"{folder}model.sig"
    signed = bundle.json(name)
    signer = signed["verificationMaterial"].get("publicKey", {}).get("hint", "")
    if not signer:
        return f"{name} is by Sigstore: check it with the `model_signing` command"
    statement = unsealed(signed["dsseEnvelope"], STATEMENT, bundle.read(f"keys/{signer}.pub"), name)
    named = {each["name"]: each["digest"] for each in statement["predicate"]["resources"]}
    return f"signature by {signer[:12]}, {compared(name, named, files)}"


def compared(name: str, promised: dict[str, str], files: dict[str, str]) -> str:
    """Compares digests with those of the files that are here, and says which are not."""
    for path, digest in promised.items():
        if files.get(path, digest) != digest:
            raise Refused(name, f"it promises another {path}")
    absent = sorted(promised.keys() - files.keys())
    return f"{len(promised) - len(absent)} files match" + (f", not in this bundle: {', '.join(absent)}" if absent else "")


def check_data(bundle: Bundle) -> Iterator[str]:
    for name in sorted(each for each in bundle.files if each.startswith("snapshots/")):
        manifest = bundle.json(name)
        content = {field: manifest.get(field) for field in ("schema_version", "files", "split_rule", "categories")}
        if manifest["digest"] != sha256_json(content) or f"snapshot:{manifest['digest']}" not in nodes(bundle):
            raise Refused(name, "its digest is not that of its content, or not the one in the passport")
        yield f"snapshot {manifest['digest'][:12]}: {manifest['counts']['products']} products, licences {manifest['licences']}"


def check_verdict(bundle: Bundle) -> Iterator[str]:
    """The verdict and the evaluation are those that the ledger and the verdict tell of."""
    for event in bundle.json("ledger/events.json"):
        if event["kind"] == "registration" and event["payload"].get("verdict") != bundle.files["model/verdict.json"]["sha256"]:
            raise Refused("model/verdict.json", f"it is not the one of the registration, event {event['seq']}")
    verdict = bundle.json("model/verdict.json")
    yield f"verdict {verdict['decision']}: the one that the ledger tells of"
    promised, files = (verdict.get("candidate") or {}).get("evaluation"), bundle.below("evaluation/")
    if promised and files:
        if sha256_json(dict(sorted(files.items()))) != promised:
            raise Refused("evaluation/", "it is not the one that the verdict judged")
        yield f"evaluation {promised[:12]}: the one that the verdict judged"


def nodes(bundle: Bundle) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in bundle.json("passport.json")["nodes"]}


CHECKS = (
    ("ledger/chain.json", check_ledger),
    ("model/candidate.json", check_model),
    ("index/index.json", check_index),
    ("passport.json", check_data),
    ("model/verdict.json", check_verdict),
)


def check(file: BinaryIO, key: str = "") -> Iterator[str]:
    """What was found to be right, a sentence each. Raises `Refused` at the first thing that is not."""
    try:
        bundle = Bundle(file)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(MANIFEST, f"it is not what an audit bundle has there ({error!r})") from error
    if key and bundle.signer != key:
        raise Refused(KEY, f"the bundle is signed by {bundle.signer}, not by {key}")
    yield f"{len(bundle.files)} files, every byte as it was signed at {bundle.manifest['made']} by the key {bundle.signer}"
    for needed, part in CHECKS:
        if needed in bundle.files:
            try:
                yield from part(bundle)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                raise Refused(needed, f"it is not what an audit bundle has there ({error!r})") from error
    states: dict[str, int] = {}
    for node in nodes(bundle).values():
        states[node["state"]] = states.get(node["state"], 0) + 1
    yield f"the passport of {bundle.manifest['subject']}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Checks an audit bundle of Goodsight's.")
    parser.add_argument("bundle")
    parser.add_argument("--key", default="", help="The fingerprint of the key that must have signed it (64 letters).")
    chosen = parser.parse_args()
    try:
        with open(chosen.bundle, "rb") as file:
            for sentence in check(file, chosen.key.lower()):
                print("ok      ", sentence)
    except Refused as error:
        print("REFUSED ", error)
        return 1
    except OSError as error:
        print("REFUSED ", f"{chosen.bundle}: {error.strerror}")
        return 1
    print("The bundle is whole." if chosen.key else "The bundle is whole. Whether its key is the right one, --key FINGERPRINT checks.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
