"""Step 0: what `newest` and `current` mean now, so that the steps after it see a version, a champion and overrides by name.

A recurring run of a cluster has the same arguments every time; a run on one machine names them itself.
"""

NEWEST, CURRENT = "newest", "current"


def resolve(revision: str, champion: str, overrides: str) -> tuple[str, str, str]:
    """The revision of the data, the registered version to compare with (empty: there is none) and the digest of the overrides.

    `revision` may be `newest`, or all that `catalogue.versions.resolve` knows; `champion` and `overrides` may be `current`.
    Raises `InputError` when there are no such data.
    """
    return _revision(revision), _champion() if champion == CURRENT else champion, _overrides() if overrides == CURRENT else overrides


def _revision(wanted: str) -> str:
    from datetime import UTC, datetime

    from catalogue.versions import resolve as resolved
    from goodsight.settings import settings

    return resolved(datetime.now(UTC).isoformat() if wanted == NEWEST else wanted, settings().root)


def _champion() -> str:
    from lineage import champion

    now = champion.current()
    return now.version if now else ""


def _overrides() -> str:
    from datetime import UTC, datetime

    from goodsight.settings import settings
    from lineage.ledger import Ledger
    from lineage.overrides import digest, in_force

    return digest(in_force(Ledger(settings().ledger_url), datetime.now(UTC)))
