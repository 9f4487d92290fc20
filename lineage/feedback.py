"""What people said of answers: how many clicked, bought and corrected, and how often the model was right by their word.

Each piece of feedback is of one answer of the prediction log and stands in a table beside it (`lineage.feedback_log`, which writes).
Figures are by the time of the answers, so that what is counted of an answer is in the same window as the answer, however late it came;
what was withdrawn is not counted. Read without SQLAlchemy (`lineage.database.rows`), as `lineage.answered` is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from goodsight.errors import GoodsightError
from lineage.answered import FINDS_PRODUCTS
from lineage.database import rows

KINDS = ("click", "purchase", "category")
COLUMNS = (
    "id, prediction, kind, product, category, value, query, time, received, key, visitor, answered, task, model_version, place, agrees"
)

ANSWERED = ("predictions", "searches", "zero_results")
SAID = ("clicked", "clicks", "purchases", "corrections", "judged", "correct", "reciprocal_rank")
FIGURES = (*ANSWERED, *SAID)
PAGE = 10_000  # pieces that are read at once

_PRODUCTS = ", ".join(f"'{task}'" for task in FINDS_PRODUCTS)
_ANSWERED = (
    "SELECT substr(time, 1, 10) AS day, COUNT(*) AS predictions,"
    f" SUM(CASE WHEN task IN ({_PRODUCTS}) THEN 1 ELSE 0 END) AS searches,"
    f" SUM(CASE WHEN task IN ({_PRODUCTS}) AND results = '[]' THEN 1 ELSE 0 END) AS zero_results"
    " FROM predictions JOIN served ON served.key = predictions.served"
    " WHERE status = 'ok' AND time >= :since AND time < :until AND (:version = '' OR model_version = :version)"
    " GROUP BY substr(time, 1, 10)"
)
_SAID = (
    "SELECT substr(answered, 1, 10) AS day,"
    " COUNT(DISTINCT CASE WHEN kind = 'click' THEN prediction END) AS clicked,"
    " SUM(CASE WHEN kind = 'click' THEN 1 ELSE 0 END) AS clicks,"
    " SUM(CASE WHEN kind = 'purchase' THEN 1 ELSE 0 END) AS purchases,"
    " SUM(CASE WHEN kind = 'category' AND COALESCE(agrees, 0) = 0 THEN 1 ELSE 0 END) AS corrections,"
    " SUM(CASE WHEN kind = 'category' AND task = 'categorize' THEN 1 ELSE 0 END) AS judged,"
    " SUM(CASE WHEN kind = 'category' AND task = 'categorize' AND agrees = 1 THEN 1 ELSE 0 END) AS correct"
    " FROM feedback WHERE withdrawn = '' AND answered >= :since AND answered < :until AND (:version = '' OR model_version = :version)"
    " GROUP BY substr(answered, 1, 10)"
)
_RANKS = (
    "SELECT day, SUM(1.0 / best) AS reciprocal_rank FROM"
    " (SELECT substr(answered, 1, 10) AS day, prediction, MIN(place) AS best FROM feedback"
    " WHERE kind = 'click' AND withdrawn = '' AND answered >= :since AND answered < :until"
    " AND (:version = '' OR model_version = :version) GROUP BY substr(answered, 1, 10), prediction) AS firsts GROUP BY day"
)


def moment(time: str | datetime) -> str:
    """A time as the logs have it: ISO 8601, UTC, to the millisecond; one without a zone is taken as UTC."""
    told = datetime.fromisoformat(time) if isinstance(time, str) else time
    told = told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)
    return told.isoformat(timespec="milliseconds")


def figures(
    url: str, since: str | datetime, until: str | datetime, version: str = "", names: Collection[str] = FIGURES
) -> dict[str, float]:
    """What is known of the answers from `since` until before `until`, of one model version or of all: those of FIGURES that are named.

    - predictions: answers; searches: those of products (search, recommend, similar); zero_results: of these those that found nothing
    - clicked: answers with a click at least; clicks, purchases: pieces of feedback
    - reciprocal_rank: sum of 1 / place of each clicked answer's best click; by `searches` it is the mean reciprocal rank of clicks
    - judged: answers to categorize whose right category somebody said; correct: of these those whose first answer it was
    - corrections: categories that somebody said were others than was answered (to categorize) or kept (of a product that was found)
    """
    days = by_day(url, since, until, version, names)
    return {name: sum(day[name] for day in days) for name in names}


def by_day(
    url: str, since: str | datetime, until: str | datetime, version: str = "", names: Collection[str] = FIGURES
) -> list[dict[str, Any]]:
    """The `figures` of each day (UTC) that has any, the first day first, with its `day` as 2026-01-31.

    What is not named is not looked up: to count the answers takes long where there are many, to count what was said of them does not.
    """
    window = {"since": moment(since), "until": moment(until), "version": version}
    days: dict[str, dict[str, Any]] = {}
    for query, told in ((_ANSWERED, ANSWERED), (_SAID, SAID[:-1]), (_RANKS, SAID[-1:])):
        wanted = [name for name in told if name in names]
        for row in _rows(url, query, **window) if wanted else ():
            day = days.setdefault(row["day"], {"day": row["day"], **dict.fromkeys(names, 0)})
            day |= {name: row[name] or 0 for name in wanted}
    return [days[day] for day in sorted(days)]


def clicked(url: str, since: str | datetime, until: str | datetime, version: str = "") -> set[str] | None:
    """The ids of the answers of this window that were clicked; None where none was, so that nobody knows whether clicks are sent."""
    window = "answered >= :since AND answered < :until AND (:version = '' OR model_version = :version)"
    query = f"SELECT DISTINCT prediction FROM feedback WHERE kind = 'click' AND withdrawn = '' AND {window}"
    found = _rows(url, query, since=moment(since), until=moment(until), version=version)
    return {row["prediction"] for row in found} or None


def given(
    url: str, since: str | datetime = "1970-01-01", kinds: Sequence[str] = KINDS, withdrawn: bool = False, newest: int = 0
) -> list[dict[str, Any]]:
    """The pieces of feedback that came since then, oldest first, of these kinds: their `COLUMNS`, and with `withdrawn` those that do not
    count too; `newest`: no more than so many, the newest."""
    named = ", ".join(f"'{kind}'" for kind in KINDS if kind in kinds) or "''"
    counts, bound = "" if withdrawn else " AND withdrawn = ''", " LIMIT :newest" if newest else ""
    found = _rows(
        url,
        f"SELECT {COLUMNS}, withdrawn FROM feedback WHERE received >= :since AND kind IN ({named}){counts} ORDER BY number DESC{bound}",
        since=moment(since),
        newest=newest,
    )
    return found[::-1]


def stream(url: str, since: str | datetime) -> Iterator[dict[str, Any]]:
    """The pieces of feedback that came since then and count, oldest first: `number` and `COLUMNS`. No more than PAGE are held."""
    query = f"SELECT number, {COLUMNS} FROM feedback WHERE number > :after AND received >= :since AND withdrawn = ''"
    after = 0
    while found := _rows(url, f"{query} ORDER BY number LIMIT :page", after=after, since=moment(since), page=PAGE):
        yield from found
        after = found[-1]["number"]


def of_prediction(url: str, prediction: str) -> list[dict[str, Any]]:
    """What was said of one answer, oldest first, what was withdrawn too."""
    query = f"SELECT {COLUMNS}, withdrawn FROM feedback WHERE prediction = :prediction ORDER BY number"
    return _rows(url, query, prediction=prediction.lower())


def _rows(url: str, query: str, **values: Any) -> list[dict[str, Any]]:
    """What a SELECT finds; nothing where no feedback, or no answer, was ever logged."""
    try:
        return rows(url, query, **values)
    except GoodsightError:
        if _has_tables(url, "predictions" if " predictions " in query else "feedback"):
            raise
        return []


def _has_tables(url: str, name: str) -> bool:
    from sqlalchemy import inspect
    from sqlalchemy.exc import DBAPIError

    from lineage.database import engine

    database = engine(url)
    try:
        return bool(inspect(database).has_table(name))
    except DBAPIError:
        return True
    finally:
        database.dispose()
