"""Of several controllers one leads: a row in the ledger's database that its holder renews.

No clocks are compared. Another one takes over when it has seen the same renewal for `seconds` by its own clock, or at once when the
holder was a process of this machine that is gone. A holder that could not renew for as long stops leading by itself; and whatever
it still decides, `Ledger.append(expect=...)` takes of one of two.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from types import TracebackType
from typing import Self

from sqlalchemy import Column, Integer, MetaData, Table, Text, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from goodsight.errors import BusyError
from goodsight.processes import Process
from lineage.database import engine
from lineage.ledger import Ledger

SECONDS = 30.0
metadata = MetaData()
leaders = Table(
    "leaders",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("renewal", Integer, nullable=False),
)


def this_process() -> str:
    """Host, process id and when the process began: no other process is called so."""
    return f"{socket.gethostname()}/{os.getpid()}/{Process.of(os.getpid()).created}"


class Leadership:
    """Who leads `name` in the database at `url`; in a `with` block it is this process, or `BusyError` is raised after `patience` s."""

    def __init__(self, url: str, name: str = "watch", seconds: float = SECONDS, patience: float = 0.0) -> None:
        """Raises `BusyError` when the database does not answer or has no room."""
        Ledger(url)  # which makes its tables: a database without them is no ledger
        self._engine = engine(url)
        self._name, self._seconds, self._patience = name, seconds, patience
        self.me = f"{this_process()}/{id(self)}"
        self._seen: tuple[str, int] | None = None
        self._seen_at = self._renewed = 0.0
        self._stop, self._turn = threading.Event(), threading.Lock()
        self._renewing = False
        try:
            metadata.create_all(self._engine)
        except SQLAlchemyError as error:
            raise BusyError(f"The ledger's database did not take the leader's table: {error}", "Try again.") from error

    @property
    def leads(self) -> bool:
        """Whether this one leads for sure."""
        return self._renewed > 0 and time.monotonic() - self._renewed < self._seconds

    def take(self) -> bool:
        """Takes the lead, or keeps it; from then on it is renewed. False while another one has it, or the database does not answer."""
        with self._turn:
            now = time.monotonic()
            try:
                taken = self._take(now)
            except SQLAlchemyError:
                return self.leads
            if taken:
                self._renewed = now
            if taken and not self._renewing:
                self._renewing = True
                threading.Thread(target=self._renew, name="leader", daemon=True).start()
            return taken

    def _take(self, now: float) -> bool:
        row = leaders.c.name == self._name
        with self._engine.begin() as connection:
            found = connection.execute(select(leaders.c.holder, leaders.c.renewal).where(row)).first()
            if found is None:
                try:
                    connection.execute(insert(leaders).values(name=self._name, holder=self.me, renewal=1))
                except IntegrityError:
                    return False
                return True
            if (found.holder, found.renewal) != self._seen:
                self._seen, self._seen_at = (found.holder, found.renewal), now
            if found.holder != self.me and not _gone(found.holder) and now - self._seen_at < self._seconds:
                return False
            same = row & (leaders.c.holder == found.holder) & (leaders.c.renewal == found.renewal)
            done = connection.execute(update(leaders).where(same).values(holder=self.me, renewal=found.renewal + 1))
            return done.rowcount == 1

    def holder(self) -> str:
        """Who leads, empty for nobody. A holder that is known to be gone is nobody."""
        with self._engine.connect() as connection:
            found = connection.scalar(select(leaders.c.holder).where(leaders.c.name == self._name)) or ""
        return "" if _gone(found) else found

    def wait(self) -> bool:
        """Tries to take the lead for `patience` seconds."""
        pause = min(self._seconds / 10, 1.0)
        tries = Retrying(
            retry=retry_if_result(lambda taken: not taken),
            stop=stop_after_delay(self._patience),
            wait=wait_fixed(pause),
            retry_error_callback=lambda _: False,
        )
        return bool(tries(self.take))

    def __enter__(self) -> Self:
        if not self.wait():
            raise BusyError(f"Another controller leads: {self.holder() or 'it has just begun'}.", "It decides; this one is not needed.")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Lets another one lead at once."""
        self._stop.set()
        self._renewed = 0.0
        try:
            with self._engine.begin() as connection:
                connection.execute(delete(leaders).where((leaders.c.name == self._name) & (leaders.c.holder == self.me)))
        except SQLAlchemyError:
            return  # others see no renewal and take over

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            self.take()


def _gone(holder: str) -> bool:
    """Whether the holder was a process of this machine that has ended. The other holders of this very process are not gone."""
    host, process, created, *_ = [*holder.split("/"), "", ""]
    return host == socket.gethostname() and process.isdigit() and bool(created) and not Process(int(process), float(created)).alive()
