"""What is derived from several features of a product, by one function for training and for serving."""

from __future__ import annotations

from math import log1p
from typing import Any

SIGNALS = ("popularity", "conversion_30d", "price_now", "discount")
UNSEEN_VIEWS = 10  # without a purchase, that a new product starts with: one sale of one view is no conversion of 100 %


def signals(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns of `product_signals` from columns of the listing and the activity; a product without events has nulls there.

    popularity: log(1 + views of 30 days); conversion_30d: purchases a view; price_now: the last price told, else the listed one;
    discount: share of the listed price that is off now, 0 to 1.
    """
    prices = [_price(last, listed) for last, listed in zip(inputs["last_price"], inputs["price"], strict=True)]
    return {
        "popularity": [log1p(views or 0) for views in inputs["views_30d"]],
        "conversion_30d": [
            (bought or 0) / ((views or 0) + UNSEEN_VIEWS)
            for bought, views in zip(inputs["purchases_30d"], inputs["views_30d"], strict=True)
        ],
        "price_now": prices,
        "discount": [_discount(now, listed) for now, listed in zip(prices, inputs["price"], strict=True)],
    }


def _price(last: float | None, listed: float | None) -> float | None:
    return listed if _missing(last) else last


def _discount(now: float | None, listed: float | None) -> float | None:
    if _missing(now) or _missing(listed):
        return None
    assert now is not None and listed is not None
    return max(0.0, 1 - now / listed) if listed > 0 else None


def _missing(value: float | None) -> bool:
    return value is None or value != value  # NaN, as a frame says it
