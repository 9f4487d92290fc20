"""What the feature store knows of the products of an answer, added to it: prices as they are now, and how products do.

The store of a served version is `<home>/serving/features/<archive>`, made when the version is deployed and told of fresh events
since. An answer never waits for a store that is down: products then have what the index says of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from feature_repo.online import OnlineFeatures
from lineage.answered import FINDS_PRODUCTS

PAUSE_SECONDS = 5.0  # that a store which failed is left alone


def stores(home: Path) -> Path:
    """The folder in which the stores of served versions stand side by side."""
    return home / "serving" / "features"


class ProductFeatures:
    """The features of the version that is served from `folder`."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._online = OnlineFeatures(folder)
        self._asleep_until = 0.0

    def add(self, answers: Sequence[dict[str, Any]]) -> None:
        """Adds to the products of each answer the price as it is now and the signals, and to the answer whose `features` they are.

        One read for all of them. Where the store does not answer, `features` is None and products stay as they are.
        """
        searches = [answer for answer in answers if answer["task"] in FINDS_PRODUCTS]
        found = self._read({product["id"]: product["price"] for answer in searches for product in answer["results"]})
        for answer in searches:
            answer["features"] = None if found is None else self.name
            for product in answer["results"]:
                if found is not None:
                    _add(product, found[product["id"]])

    def _read(self, listed: dict[str, float | None]) -> dict[str, dict[str, Any]] | None:
        """The signals of each product in `listed` (id -> price of the index); None when the store does not answer."""
        if not listed or time.monotonic() < self._asleep_until:
            return None if listed else {}
        try:
            columns = self._online.signals(listed)
        except Exception as error:  # a Redis, a Postgres or a disk: whatever it is, the answer is worth more than its prices
            self._asleep_until = time.monotonic() + PAUSE_SECONDS
            logging.getLogger(__name__).warning("%s: %s in the online store of %s", type(error).__name__, error, self.name)
            return None
        return {id: {name: values[place] for name, values in columns.items()} for place, id in enumerate(listed)}


def _add(product: dict[str, Any], signals: dict[str, Any]) -> None:
    known = {"price": price} if (price := signals["price_now"]) is not None else {}
    product |= {**{name: value for name, value in signals.items() if name != "price_now"}, **known}
