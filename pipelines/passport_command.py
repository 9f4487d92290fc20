"""`goodsight audit show`, `uses`, `bundle`, ...: what stands behind an answer, a model or a snapshot, and what depends on it."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import Home, Json, home_of, print_json, refused, write_page
from serving.evidence import sources

if TYPE_CHECKING:
    from catalogue.trace import Version
    from lineage.graph import Passport

Wanted = Annotated[
    str, typer.Argument(help="The id of an answer, a model version, `champion`, a revision of the data, or the start of a digest.")
]
Deep = Annotated[bool, typer.Option("--deep", help="Read every byte: weights, vectors, shards, the whole ledger.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]


def show(
    wanted: Wanted,
    deep: Deep = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the graph to this file.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what stands behind an answer, a model or a snapshot, each link checked now."""
    from lineage.passport import passport

    made = passport(wanted, sources(home_of(home)), deep)
    if html:
        from lineage.drawing import page

        write_page(html, page(made))
    if as_json:
        print_json(made.to_json())
    elif not html:
        from pipelines.audit_report import passport_tree

        passport_tree(made)
    _refuse_altered(made)


def _refuse_altered(made: Passport) -> None:
    if count := made.count("altered"):
        first = next(node for node in made.nodes.values() if node.state == "altered")
        raise refused(f"{count} of {len(made.nodes)} links are altered. {first.kind} {first.label}: {first.how}", "Do not rely on it.")


def uses(
    wanted: Annotated[str, typer.Argument(help="The id of a product, a revision of the data, a digest of a snapshot or of a shard.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the models, indexes and answers that depend on a snapshot or a shard, or that know a product."""
    from pipelines.audit_report import uses_tables

    found = uses_of(wanted, home_of(home))
    print_json(found) if as_json else uses_tables(found)


def uses_of(wanted: str, home: Path) -> dict[str, object]:
    """What uses a snapshot, else a shard, else a product of that name. Raises `InputError` when there is none."""
    from catalogue.trace import having, with_shard
    from lineage.passport import subject_of
    from lineage.uses import of_snapshots, showing

    place = sources(home)
    try:
        subject = subject_of(wanted, place)
    except InputError:
        subject = None
    if subject and subject.kind == "snapshot":
        return {"snapshot": subject.name, **of_snapshots([subject.name], place)}
    if holders := with_shard(wanted, home):
        versions = [_told(each, True) for each in holders]
        return {"shard": wanted, "versions": versions, **of_snapshots([each.digest for each in holders], place)}
    holdings, unknown = having(wanted, home)
    found = {**of_snapshots([each.version.digest for each in holdings if each.kept], place), **showing(wanted, place)}
    if not holdings and not unknown and not found["shown"]["count"]:
        hint = "Give the id of a product, a revision of the data, or six letters or more of a snapshot's digest."
        raise InputError(f"No version of the data and no answer knows {wanted!r}.", hint)
    versions = [_told(each.version, each.kept) for each in holdings]
    return {"product": wanted, "versions": versions, **found, "elsewhere": [version.revision for version in unknown]}


def _told(version: Version, kept: bool) -> dict[str, object]:
    return {"revision": version.revision, "digest": version.digest, "kept": kept}


def bundle(
    wanted: Wanted,
    output: Output,
    weights: Annotated[bool, typer.Option("--weights", help="The model's weights and the index's vectors too.")] = False,
    deep: Deep = False,
    home: Home = None,
) -> None:
    """Write one signed file with the evidence behind an answer, a model or a snapshot, for a machine without Goodsight."""
    from lineage import audit_bundle
    from lineage.passport import passport

    place = sources(home_of(home))
    made = passport(wanted, place, deep)
    signer = audit_bundle.write(made, place, output, weights)
    typer.echo(f"Wrote {output}, signed by {signer}\nCheck it elsewhere: goodsight audit verifier -o verify_audit_bundle.py")
    _refuse_altered(made)


def verifier(output: Output = Path("verify_audit_bundle.py")) -> None:
    """Write the program that checks audit bundles on a machine without Goodsight."""
    from goodsight.files import write_bytes
    from lineage.audit_bundle import VERIFIER

    write_bytes(output, VERIFIER.read_bytes())
    typer.echo(f"Wrote {output}. It needs Python and the package cryptography: python -I {output.name} BUNDLE --key FINGERPRINT")


def cost(
    wanted: Annotated[str, typer.Argument(help="A run's id, a model version, `champion`, a candidate's digest; none: all runs.")] = "",
    since: Annotated[str, typer.Option(help="Of all runs: only those that ended since then, for example 2026-05-01.")] = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Show what a run took, step by step, or the run that made a model; or what all came to for a point gained and 1,000 answers."""
    from goodsight.times import start_of
    from lineage.costs import cost_of, economy
    from monitoring.prices import Prices
    from pipelines.audit_report import cost_table, economy_table

    place = sources(home_of(home))
    if wanted:
        found = cost_of(wanted, place)
        return print_json(found) if as_json else cost_table(found)
    begin = start_of(since)
    if since and begin is None:
        raise InputError(f"{since!r} is no time.", "Write it so: --since 2026-05-01, or 2026-05-01T12:00")
    prices = Prices.in_force()
    after = begin.astimezone(UTC).isoformat(timespec="microseconds") if begin else ""
    found = economy(place, prices.of_answer(1.0), prices.currency, after)
    print_json(found) if as_json else economy_table(found)


COMMANDS = (show, uses, bundle, verifier, cost)
