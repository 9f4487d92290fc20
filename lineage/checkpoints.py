"""The ledger's checkpoint: its newest event's place and hash, signed and kept outside its database.

A chain shows every change but one: events cut off its end leave a shorter chain that is whole. The checkpoint shows that too.
It is written after every event, which costs a signature and a small file, since a ledger gets some events a run: what was
acknowledged is covered. Whoever can change the database, this file and the private key can still rewrite all three: keep them
apart, or keep copies of the checkpoint elsewhere.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from filelock import FileLock, Timeout

from goodsight.errors import BusyError, InputError, IntegrityError
from goodsight.files import read_json, write_json
from goodsight.settings import settings
from lineage.envelopes import seal, unseal

TYPE = "application/vnd.goodsight.checkpoint+json"
WAIT_SECONDS = 30


@dataclass(frozen=True)
class Checkpoint:
    """The event `seq` of the ledger had `hash` at `time` (ISO 8601, UTC)."""

    seq: int
    hash: str
    time: str


def newest() -> Checkpoint | None:
    """The checkpoint of this home's ledger, or None before its first event. Raises `IntegrityError` when it was altered."""
    path = settings().checkpoint_file
    if not path.exists():
        return None
    try:
        value, _ = unseal(read_json(path), TYPE, path)
        return Checkpoint(**value)
    except (InputError, TypeError) as error:
        raise IntegrityError(f"{path} is no checkpoint: {error}", "Restore it from a backup.") from error


def record(seq: int, digest: str, anyway: bool = False) -> None:
    """Makes the event `seq` with hash `digest` the checkpoint, unless a later one is (or `anyway`).

    Raises `BusyError` when it cannot be written now.
    """
    path = settings().checkpoint_file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=WAIT_SECONDS):
            last = None if anyway else newest()
            if last is None or last.seq < seq:
                now = datetime.now(UTC).isoformat(timespec="microseconds")
                write_json(path, seal(asdict(Checkpoint(seq, digest, now)), TYPE))
    except (OSError, Timeout) as error:
        hint = f"The event {seq} itself is in the ledger. Make the file writable; the next event writes it."
        raise BusyError(f"The checkpoint {path} cannot be written: {error}", hint) from error
