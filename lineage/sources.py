"""Where evidence is: home, ledger, prediction log and the repository of the data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class DataVersion(Protocol):
    """A version in the data repository, as `catalogue.trace` finds it."""

    @property
    def revision(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def commit(self) -> str: ...
    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def pointer(self) -> str: ...
    @property
    def whole(self) -> bool: ...


@dataclass(frozen=True)
class Sources:
    """Where evidence is: home, the URLs of ledger and prediction log, and the data repository.

    `versions` finds versions of the data by revision or the start of a digest; `check_version` reads every byte of one and raises
    `GoodsightError` when it is not what was stored.
    """

    home: Path
    ledger: str
    predictions: str
    versions: Callable[[str], Sequence[DataVersion]]
    check_version: Callable[[str], object]
