"""The audit bundle: one signed file with the evidence behind an answer or a model, for a machine without Goodsight.

A tar archive in one fixed form (`lineage.verify_audit_bundle` says which): the public key, a manifest with the sha256 of each file in
a DSSE envelope signed by the key of this home, then the files. Weights and vectors stay out unless they are asked for.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import goodsight
from goodsight.digests import canonical_json, sha256_bytes, sha256_file
from goodsight.errors import InputError
from goodsight.settings import settings
from lineage import history, kept, keys
from lineage.drawing import page
from lineage.envelopes import seal
from lineage.event import Event
from lineage.graph import Node, Passport
from lineage.sources import Sources
from lineage.verify_audit_bundle import END, FORMAT, KEY, MANIFEST, TYPE, header, padding

VERIFIER = Path(__file__).with_name("verify_audit_bundle.py")
LONGEST = 100  # letters of a name in the archive
READ_ME = """An audit bundle of Goodsight's: the evidence behind {subject}, as it was found at {made}.

Check it with verify_audit_bundle.py, which you should take from someone you trust and not from here:
    python -I verify_audit_bundle.py THIS_FILE --key FINGERPRINT
It needs Python 3.10 or later and the package `cryptography`.

passport.html, passport.json    what stands behind it, and how each link was checked
model/, evaluation/, index/     what the model was registered with{left_out}
snapshots/                      the manifests of the data, with the sha256 of every shard
ledger/                         the events about it, and the hash of every event there was
keys/                           the public keys whose signatures counted
"""
Content = bytes | Path


def write(made: Passport, sources: Sources, out: Path, weights: bool = False) -> str:
    """Writes the bundle of a passport to `out`, whole or not at all, and returns the fingerprint of the key that signed it.

    Raises `InputError` when `out` cannot be written or a file has a name that the archive cannot hold.
    """
    files = dict(sorted(_files(made, sources, weights).items()))
    told = {name: {"sha256": _digest(content), "bytes": _size(content)} for name, content in files.items()}
    value = {"format": FORMAT, "subject": made.root, "made": made.made, "goodsight": goodsight.__version__, "files": told}
    envelope = canonical_json(seal(value, TYPE)).encode()
    signer = keys.current()
    public = keys.public_key(signer, out).read_bytes()
    _archive({KEY: public, MANIFEST: envelope, **files}, out)
    return signer


def _files(made: Passport, sources: Sources, weights: bool) -> dict[str, Content]:
    left_out = "" if weights else ", without weights and vectors"
    found: dict[str, Content] = {
        "README.txt": READ_ME.format(subject=made.root, made=made.made, left_out=left_out).encode(),
        "passport.json": canonical_json(made.to_json()).encode(),
        "passport.html": page(made).encode(),
        VERIFIER.name: VERIFIER,
    }
    found |= {f"keys/{name}.pub": keys.trusted_folder() / f"{name}.pub" for name in keys.trusted()}
    for node in made.nodes.values():
        found |= dict(_of_node(node, sources, weights))
    return found | _ledger(made, sources)


def _of_node(node: Node, sources: Sources, weights: bool) -> Iterator[tuple[str, Content]]:
    """The files that a link of the passport has in home."""
    copies = [sources.home / place for place in node.facts.get("copies", ())]
    if node.kind == "candidate" and copies:
        yield from _folder("model", copies[-1], weights)
        yield from _folder("evaluation", copies[-1].parent / "evaluation", weights=True)
    elif node.kind == "index" and copies:
        yield from _folder("index", copies[-1], weights)
    elif node.kind == "revision":
        for version in sources.versions(node.name):
            yield f"snapshots/{version.revision}.json", canonical_json(version.manifest).encode()


def _folder(name: str, folder: Path, weights: bool) -> Iterator[tuple[str, Content]]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file()) if weights else kept.documents(folder)
    yield from ((f"{name}/{path.relative_to(folder).as_posix()}", path) for path in paths)


def _ledger(made: Passport, sources: Sources) -> dict[str, Content]:
    """Every event about a thing in the passport, the hash of every event there was, and the signed checkpoint."""
    events: dict[int, Event] = {}
    for node in made.nodes.values():
        events |= {event.seq: event for event in history.about(sources.ledger, node.name).events}
    told = [{**events[seq].to_json(), "hash": events[seq].hash} for seq in sorted(events)]
    checkpoint = settings().checkpoint_file
    last = checkpoint.read_bytes() if checkpoint.is_file() else b""  # before the chain: others go on appending
    chain = [row["hash"] for row in history.hashes(sources.ledger)]
    found: dict[str, Content] = {
        "ledger/events.json": canonical_json(told).encode(),
        "ledger/chain.json": canonical_json(chain).encode(),
    }
    return found | ({"ledger/checkpoint.json": last} if last else {})


def _digest(content: Content) -> str:
    return sha256_bytes(content) if isinstance(content, bytes) else sha256_file(content)


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _archive(files: Mapping[str, Content], out: Path) -> None:
    for name in files:
        if len(name) > LONGEST or not name.isascii():
            raise InputError(f"{name!r} is no name for an audit bundle.", f"At most {LONGEST} plain letters.")
    try:
        descriptor, aside = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}.", "Name a file in a folder that is there.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            for name, content in files.items():
                size = _size(content)
                file.write(header(name, size))
                for piece in _pieces(content):
                    file.write(piece)
                file.write(bytes(padding(size)))
            file.write(END)
        Path(aside).chmod(0o644)
        Path(aside).replace(out)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _pieces(content: Content) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(2**20):
            yield piece
