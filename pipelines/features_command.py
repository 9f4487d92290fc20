"""`goodsight features`: what the feature store knows now of products, told of fresh events, and whether training sees the same."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import Home, Json, home_of, print_json, refused

if TYPE_CHECKING:
    from feature_repo.online import OnlineFeatures

app = typer.Typer(help="Features of the served version's products.", no_args_is_help=True)


@app.command()
def show(
    ids: Annotated[list[str], typer.Argument(help="Ids of products.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what serving reads of products now."""
    from pipelines.report import features_table

    with _served(home) as online:
        found = online.read(online.folder.name, {"product_id": ids})
    del found["embedding"]
    rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
    if unknown := [row["product_id"] for row in rows if row["title"] is None]:
        raise InputError(f"Not among the products that are served: {', '.join(unknown)}.", "`goodsight search` shows ids.")
    print_json(rows) if as_json else features_table(rows)


@app.command()
def push(
    events: Annotated[Path, typer.Argument(help="events.jsonl (or .csv, .parquet), as in a catalogue folder.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Tell the served features of fresh events; those that cannot be counted are kept apart with their reasons."""
    from catalogue.fresh_events import read_events
    from catalogue.quarantine import write_quarantine

    with _served(home) as online:
        good, bad = read_events(events)
        now = datetime.now(UTC)
        quarantine = online.pushed / f"refused-{now:%Y%m%dT%H%M%S%f}.parquet"
        if bad:
            write_quarantine(quarantine, bad)
        if len(good):
            online.push(good, now)
    told = {"pushed": len(good), "refused": len(bad), "quarantine": str(quarantine) if bad else ""}
    print_json(told) if as_json else typer.echo(f"{len(good):,} events pushed, {len(bad):,} refused.")
    if bad:
        first = bad[0]
        why = f"Line {first['line']} of {first['file']}: {'; '.join(first['reasons'])}"
        raise refused(f"{len(bad):,} of {len(good) + len(bad):,} events were refused. {why}", f"All of them: {quarantine}")


@app.command()
def refresh(home: Home = None) -> None:
    """Bring all values to this moment: windows empty as time goes by, so call it every day."""
    with _served(home) as online:
        online.refresh(now := datetime.now(UTC))
        typer.echo(f"{online.folder.name}: all values as of {now.isoformat(timespec='seconds')}")


@app.command()
def skew(
    sample: Annotated[int, typer.Option(min=1, help="How many products are compared, drawn by chance.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 17,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Compare what serving reads of products with what training would see of them at this moment."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from feature_repo.activity import INSTANT
    from feature_repo.skew import product_skew
    from pipelines.report import skew_table

    with _served(home) as online:
        known = pq.read_table(online.folder / "products.parquet", columns=["product_id"])["product_id"].unique().to_pylist()
        ids = random.Random(seed).sample(sorted(known), min(sample, len(known)))
        now = datetime.now(UTC)
        read = pa.table({**online.products(ids), "event_timestamp": pa.array([now] * len(ids), INSTANT)})
        found = product_skew(online.folder, read)
    print_json([vars(each) for each in found]) if as_json else skew_table(found)
    if worst := [each for each in found if each.differing]:
        names = ", ".join(each.feature for each in worst)
        raise refused(f"Serving and training differ in {names}.", "Bring all values to this moment: goodsight features refresh")


def _served(home: Path | None) -> OnlineFeatures:
    """The features of what is served. Raises `InputError` when nothing is, or without features."""
    from feature_repo.online import OnlineFeatures
    from serving.deploy import current
    from serving.features import stores

    root = home_of(home)
    served = current(root)
    if served is None or not (folder := stores(root) / served.archive).is_dir():
        raise InputError(f"Nothing with features is deployed in {root}.", "Train and deploy a model first: goodsight run")
    return OnlineFeatures(folder)
