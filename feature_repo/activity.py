"""What shoppers did, as features that never know more than was known: counts over days past, and the last price told.

A value changes when an event becomes known (it happened, and was written down) and when it falls out of a window. At each of
those instants there is a row, and between two of them nothing changes, so the row before an instant tells what held there,
exactly: a window of 7 days are the 604,800 seconds before it, not the last seven midnights.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")
DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Count:
    """How many events that fulfil `condition` (SQL over an event) happened in the last `days`."""

    name: str
    days: int
    condition: str


PRODUCT_COUNTS = (
    Count("views_7d", 7, "kind = 'view'"),
    Count("views_30d", 30, "kind = 'view'"),
    Count("clicks_30d", 30, "kind = 'click'"),
    Count("carts_30d", 30, "kind = 'cart'"),
    Count("purchases_7d", 7, "kind = 'purchase'"),
    Count("purchases_30d", 30, "kind = 'purchase'"),
    Count("searches_30d", 30, "query <> ''"),
    Count("price_changes_30d", 30, "kind = 'price'"),
)
QUERY_COUNTS = (Count("asked_7d", 7, "true"), Count("asked_30d", 30, "true"), Count("bought_30d", 30, "kind = 'purchase'"))


def product_activity(events: pa.Table) -> pa.Table:
    """Rows `(product_id, event_timestamp, created_timestamp, <PRODUCT_COUNTS>, last_price)` of the EVENT_SCHEMA rows `events`."""
    return _activity(events, "product", "product_id", PRODUCT_COUNTS, last_price=True)


def query_activity(events: pa.Table) -> pa.Table:
    """Rows `(words, event_timestamp, created_timestamp, <QUERY_COUNTS>)`; `words` as `query_words` makes them."""
    return _activity(events.append_column("words", words_of(events["query"])), "words", "words", QUERY_COUNTS, last_price=False)


def query_words(text: str) -> str:
    """The words of a query as its features know them: lower case, one space between them."""
    return " ".join(text.lower().split())


def words_of(texts: pa.ChunkedArray) -> pa.Array:
    """`query_words` of each text, each different one once."""
    told = texts.combine_chunks().dictionary_encode()
    words = pa.array([query_words(text or "") for text in told.dictionary.to_pylist()], pa.string())
    return words.take(told.indices)


def _activity(events: pa.Table, key: str, name: str, counts: tuple[Count, ...], last_price: bool) -> pa.Table:
    """Cumulative sums of what enters and leaves each window, at each instant where something does."""
    flags = "".join(f", ({count.condition})::INTEGER AS {count.name}" for count in counts)
    entering = ", ".join(f"CASE WHEN {_inside(count.days)} THEN {count.name} ELSE 0 END AS {count.name}" for count in counts)
    leaving = " ".join(f"UNION ALL {_leaving(days, counts)}" for days in sorted({count.days for count in counts}))
    sums = "".join(f", sum(sum({count.name})) OVER so_far AS {count.name}" for count in counts)
    price = ", last_value(arg_max(price, place) IGNORE NULLS) OVER so_far AS last_price" if last_price else ""
    whole = "".join(f", {count.name}::BIGINT AS {count.name}" for count in counts) + (", last_price" if last_price else "")
    statement = f"""
        WITH told AS (
            SELECT {key} AS key, epoch_us(time) AS happened, greatest(epoch_us(time), epoch_us(coalesce(created, time))) AS known,
                CASE WHEN kind = 'price' THEN value END AS told_price{flags}
            FROM events WHERE {key} <> ''),
        priced AS (
            SELECT *, row_number() OVER in_order AS place, CASE WHEN happened >= max(happened) FILTER (told_price IS NOT NULL)
                OVER in_order THEN told_price END AS price  -- of two prices the one of the later time holds, whenever it was told
            FROM told WINDOW in_order AS (PARTITION BY key ORDER BY known, happened, told_price ROWS UNBOUNDED PRECEDING)),
        changes AS (SELECT key, known AS moment, price, place, {entering} FROM priced {leaving}),
        summed AS (
            SELECT key, moment{sums}{price} FROM changes GROUP BY key, moment
            WINDOW so_far AS (PARTITION BY key ORDER BY moment ROWS UNBOUNDED PRECEDING))
        SELECT key AS {name}, make_timestamptz(moment) AS event_timestamp, make_timestamptz(moment) AS created_timestamp{whole}
        FROM summed ORDER BY key, moment
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events)
        found = connection.sql(statement).to_arrow_table()
    times = {"event_timestamp": INSTANT, "created_timestamp": INSTANT}
    return found.cast(pa.schema([(field.name, times.get(field.name, field.type)) for field in found.schema]))


def _inside(days: int) -> str:
    """SQL: when the event became known it was still among the last `days`."""
    return f"known < happened + {days * DAY}"


def _leaving(days: int, counts: tuple[Count, ...]) -> str:
    """SQL of what falls out of the windows of `days`."""
    left = ", ".join(f"{'-' + count.name if count.days == days else '0'} AS {count.name}" for count in counts)
    return f"SELECT key, happened + {days * DAY}, NULL, NULL, {left} FROM priced WHERE {_inside(days)}"
