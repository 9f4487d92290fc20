"""Who leads: one controller of a home, followed when it leaves, hangs or is gone."""

from __future__ import annotations

from typing import Any

import pytest

from goodsight.errors import BusyError
from goodsight.settings import settings
from pipelines.leader import Leadership


def leading(**more: Any) -> Leadership:
    return Leadership(settings().ledger_url, **more)


def test_one_of_two_leads_until_it_leaves() -> None:
    first, second = leading(), leading()
    assert first.take() and not second.take()
    assert second.holder() == first.me
    with pytest.raises(BusyError, match="Another controller leads"), second:
        pass
    first.leave()
    assert second.take() and second.leads and not first.leads


def test_one_that_does_not_renew_is_followed_by_the_next() -> None:
    first, second = leading(seconds=0.3), leading(seconds=0.3, patience=30.0)
    assert first.take()
    first._stop.set()  # as if it hung
    with second:
        assert second.leads and not first.leads
    assert not first.leads


def test_a_process_that_is_gone_is_followed_at_once() -> None:
    from sqlalchemy import update

    from pipelines.leader import leaders

    first, second = leading(), leading()
    assert first.take()
    host, pid, *_ = first.me.split("/")
    with first._engine.begin() as connection:
        connection.execute(update(leaders).values(holder=f"{host}/{pid}/1/1"))  # the id is used again since
    assert second.take()
