"""Online features as a server uses them: a store that stays open, read by keys, told of fresh events.

Fresh events are kept in `pushed/` beside the store, one file a push, so that all stores that stand side by side count them; an
event that comes twice, or again with the next snapshot, counts once. Pushed values are online at once; `refresh` brings the
sources of point-in-time joins up to date, and the online values of products whose windows have emptied since.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import FileLock

from catalogue.records import EVENT_FIELDS, EVENT_SCHEMA
from feature_repo.activity import product_activity, query_activity, query_words, words_of
from feature_repo.signals import signals
from feature_repo.sources import distinct
from feature_repo.store import open_store, quiet
from goodsight.files import write_bytes

ACTIVITIES = {  # what events are about -> push source, source of point-in-time joins, its rows
    "product": ("product_events", "product_activity", product_activity),
    "query": ("query_events", "query_activity", query_activity),
}


EVENTS = pa.schema([EVENT_SCHEMA.field(name) for name in EVENT_FIELDS])


class OnlineFeatures:
    """The online values of the store in `folder`. Close it, or use it as a context."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pushed = folder.parent / "pushed"
        self._open = ExitStack()
        self._feast = self._open.enter_context(open_store(folder))
        self._services = {service.name: service for service in self._feast.list_feature_services()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def read(self, service: str, keys: Mapping[str, Sequence[str]]) -> dict[str, list[Any]]:
        """Columns of the features of `service` for each of `keys`, say `{"product_id": ["a", "b"]}`; None where there is no value."""
        return self._feast.get_online_features(self._services[service], {name: list(values) for name, values in keys.items()}).to_dict()

    def products(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        """What ranking knows of products: price, activity and signals."""
        return self.read("ranking_products", {"product_id": ids})

    def signals(self, listed: Mapping[str, float | None]) -> dict[str, list[Any]]:
        """The signals of products whose listed prices are known (id -> price): what a server adds to each of its answers.

        Feast packs the inputs of a transformation into messages and unpacks them before it calls it; here the same function
        takes them as they are, and nothing else is read.
        """
        found = self.read("signal_inputs", {"product_id": list(listed)})
        return signals({**found, "price": list(listed.values())})

    def queries(self, texts: Sequence[str]) -> dict[str, list[Any]]:
        """What ranking knows of the words of queries, however they are spaced or capitalised."""
        return self.read("ranking_queries", {"words": [query_words(text) for text in texts]})

    def push(self, events: pa.Table, now: datetime) -> None:
        """Fresh `events` (with the EVENT_FIELDS): kept, and the values of their products and queries as of `now` are online."""
        with FileLock(self.pushed / ".lock"):
            last = max((int(file.stem) for file in self._pushes()), default=0)
            write_table(events.select(EVENT_FIELDS).cast(EVENTS), self.pushed / f"{last + 1:08d}.parquet")
            known = self._known()
            self._tell(known.filter(pc.is_in(known["product"], events["product"])), "product", now)
            self._tell(known.filter(pc.is_in(words_of(known["query"]), words_of(events["query"]))), "query", now)

    def refresh(self, now: datetime) -> None:
        """All values as of `now`, online and for point-in-time joins; what was pushed becomes one file."""
        with FileLock(self.pushed / ".lock"):
            known = self._known()
            for about in ACTIVITIES:
                write_table(self._tell(known, about, now), self.folder / f"{ACTIVITIES[about][1]}.parquet")
            if len(pushes := self._pushes()) > 1:
                write_table(distinct(self._pushed()), pushes[-1])
                for file in pushes[:-1]:
                    file.unlink()

    def _pushes(self) -> list[Path]:
        return sorted(self.pushed.glob("[0-9]*.parquet"))

    def _pushed(self) -> pa.Table:
        return pa.concat_tables([EVENTS.empty_table(), *(pq.read_table(file) for file in self._pushes())])

    def _known(self) -> pa.Table:
        """The events of the snapshot, and of the pushed ones those that it does not have, each of these once."""
        events = pq.read_table(self.folder / "events.parquet").select(EVENT_FIELDS).cast(EVENTS)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("events", events)
            connection.register("pushed", self._pushed())
            fresh = connection.sql("SELECT * FROM pushed EXCEPT SELECT * FROM events").to_arrow_table()
        return pa.concat_tables([events, fresh.cast(EVENTS)])

    def _tell(self, events: pa.Table, about: str, now: datetime) -> pa.Table:
        """Pushes the values as of `now` that follow from `events`; returns all rows that do."""
        push_source, _, activity = ACTIVITIES[about]
        rows = activity(events)
        so_far = rows.filter(pc.less_equal(rows["event_timestamp"], pa.scalar(now, rows.schema.field("event_timestamp").type)))
        newest = so_far.group_by(rows.column_names[0], use_threads=False).aggregate([(name, "last") for name in rows.column_names[1:]])
        if newest.num_rows:
            newest = newest.rename_columns([name.removesuffix("_last") for name in newest.column_names])
            with quiet():
                self._feast.push(push_source, newest.to_pandas())
        return rows


def write_table(table: pa.Table, path: Path) -> None:
    """The Parquet file `path`, whole."""
    out = io.BytesIO()
    pq.write_table(table, out)
    write_bytes(path, out.getvalue())
