"""`goodsight catalogue`: import, compare, validate and fetch versions of product catalogues."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from goodsight.errors import InputError
from pipelines.options import By, Home, Json, Revision, home_of, login, print_json, refused, write_page

app = typer.Typer(help="Versions of product catalogues.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that validation took out.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A catalogue: a folder with products.jsonl (or .csv, .parquet), or another layout.")],
    name: Annotated[str, typer.Option(help="Name of the catalogue (default: the folder's).")] = "",
    layout: Annotated[str, typer.Option(help="folder, m5product, abo, fashiongen or huggingface (default: whichever fits).")] = "",
    mapping: Annotated[Path | None, typer.Option(help="YAML file: which of its columns are which of our fields.")] = None,
    update: Annotated[bool, typer.Option("--update", help="It holds only what changed since the newest version of --name.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Import a catalogue and keep it as a version; the same input gives the same revision."""
    from catalogue.layouts.mapping import ColumnMapping
    from catalogue.versions import describe, import_version
    from lineage import record
    from pipelines.events import Listener

    root = home_of(home)
    named = ColumnMapping.load(mapping) if mapping else None
    with Listener(root / "import.log", quiet=as_json) as listener, contextlib.redirect_stdout(listener):
        revision = import_version(folder, name or folder.resolve().name, root, layout, named, update)
    version = describe(revision, root)
    record.snapshot(version, "update" if update else "import", login())
    if as_json:
        print_json(version)
    else:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in version["counts"].items() if count)
        typer.echo(f"{revision}: {counts}")


@app.command("list")
def list_(home: Home = None, as_json: Json = False) -> None:
    """List the versions of all catalogues, oldest first."""
    from catalogue.versions import list_versions
    from pipelines.report import versions_table

    versions = list_versions(home_of(home))
    print_json(versions) if as_json else versions_table(versions)


@app.command("show")
def show(
    revision: Revision, home: Home = None, as_json: Json = False
) -> None:
    """Show one version: counts, licences, digests."""
    from catalogue.versions import describe

    version = describe(revision, home_of(home))
    if as_json:
        print_json(version)
    else:
        from pipelines.report import version_table

        version_table(version)


@app.command("get")
def get(
    revision: Revision,
    out: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    home: Home = None,
) -> None:
    """Write the very bytes of one version to a folder, every one of them checked."""
    from catalogue.versions import fetch

    if out.exists():
        raise InputError(f"{out} exists already.", "Name a folder that does not.")
    typer.echo(f"Wrote {fetch(revision, home_of(home), out)}")


@app.command("diff")
def diff(
    before: Revision,
    after: Annotated[str, typer.Argument(help="The later version, said the same way.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with the pictures to this file.")] = None,
    shown: Annotated[int, typer.Option(min=0, max=1000, help="How many rows of each kind of change are shown.")] = 20,
    home: Home = None,
) -> None:
    """Compare two versions like a code review: added, removed, changed fields, categories that grew or shrank."""
    from catalogue.diff import diff
    from catalogue.review import lines, page
    from catalogue.versions import opened

    root = home_of(home)
    with opened(before, root) as (old, old_revision), opened(after, root) as (new, new_revision):
        found = diff(old, new, shown)
    for line in lines(found, old_revision, new_revision):
        typer.echo(line)
    if html:
        write_page(html, page(found, old_revision, new_revision))


@app.command()
def erase(
    name: Annotated[str, typer.Argument(help="Name of the catalogue.")],
    product: Annotated[str, typer.Option(help="Id of the product.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")],
    by: By = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Take a product out of a catalogue for good, and list every version and model that still knows it."""
    from pipelines.erasure import erase as erase_product

    found = erase_product(name, product, reason, login(by), home_of(home))
    if as_json:
        print_json(found)
        return
    typer.echo(f"{found['revision']} is without it, and no import brings it back.")
    typer.echo(f"Versions that hold it, until `catalogue gc` (with --remote there too) removes them: {', '.join(found['versions'])}")
    typer.echo(f"Models that learned from these, and their indexes: {', '.join(found['models']) or 'none'}")


@app.command()
def push(home: Home = None) -> None:
    """Bring all versions to the remote (GOODSIGHT_DATA_REMOTE: a folder, s3://bucket/path, ...)."""
    from catalogue.remote import push as push_versions

    typer.echo(_listed("Pushed", push_versions(home_of(home))))


@app.command()
def pull(home: Home = None) -> None:
    """Bring the versions of the remote into this home; their bytes come when they are used."""
    from catalogue.remote import pull as pull_versions
    from catalogue.versions import describe
    from lineage import record

    root = home_of(home)
    pulled = pull_versions(root)
    for revision in pulled:
        record.snapshot(describe(revision, root), "pull", login())
    typer.echo(_listed("Pulled", pulled))


@app.command()
def gc(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions of each catalogue stay.")],
    really: Annotated[bool, typer.Option("--yes", help="Do it; without, say only what would go.")] = False,
    remote: Annotated[bool, typer.Option("--remote", help="In the remote too, for all homes that share it; the ledger tells.")] = False,
    by: Annotated[str, typer.Option(help="Who says so (default: the user's login).")] = "",
    home: Home = None,
) -> None:
    """Forget old versions of this home and free their bytes; what the remote has stays there, unless --remote is given."""
    from catalogue.remote import check_same, collect, superfluous
    from pipelines.erasure import remove

    root = home_of(home)
    if really:
        typer.echo(_listed("Removed", remove(keep, by or login(), root) if remote else collect(root, keep)))
        return
    if remote:
        check_same(root)
    typer.echo(_listed("Would remove (--yes does)", superfluous(root, keep)))


def _listed(what: str, revisions: list[str]) -> str:
    return f"{what}: {', '.join(revisions) or 'nothing'}"


@app.command()
def validate(revision: Revision, home: Home = None, as_json: Json = False) -> None:
    """Judge a version as a run would: verdict, quarantine, and a page with pictures of what was found."""
    from catalogue.validations import REPORT, VERDICT, validate_version
    from goodsight.files import read_json
    from lineage import record
    from pipelines.events import Listener
    from pipelines.report import data_table

    root = home_of(home)
    with Listener(root / "import.log", quiet=as_json) as listener, contextlib.redirect_stdout(listener):
        folder = validate_version(revision, root)
    verdict, page = read_json(folder / VERDICT), folder / REPORT / "index.html"
    record.validation(verdict, login())
    print_json(verdict | {"page": str(page)}) if as_json else data_table(verdict, page)
    if verdict["decision"] != "passed":
        raise refused(f"The data was refused. {verdict['reason']}", f"See {page}")


@quarantine_app.command("show")
def quarantine_show(
    revision: Revision,
    shown: Annotated[int, typer.Option(min=0, help="How many rows the table shows; --json has all.")] = 100,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """List the rows in quarantine of a version that was validated (or run): where they are, and why."""
    from catalogue.validations import quarantine_of
    from catalogue.versions import describe
    from pipelines.report import quarantine_table

    root = home_of(home)
    version = describe(revision, root)
    rows = quarantine_of(version["digest"], root)
    print_json(rows) if as_json else quarantine_table(version["revision"], rows, shown)


@quarantine_app.command("release")
def quarantine_release(
    revision: Revision,
    identity: Annotated[list[str], typer.Option("--id", help="Id of a row in quarantine; may be given again.")],
    reason: Annotated[str, typer.Option(help="Why the row is right all the same.")],
    by: By = "",
    home: Home = None,
) -> None:
    """Let rows back in: they are in the next version of the catalogue, with the reason and the name."""
    from catalogue.validations import quarantine_of
    from catalogue.versions import describe, release_version
    from lineage import record

    root = home_of(home)
    version = describe(revision, root)
    rows = quarantine_of(version["digest"], root)
    released = release_version(version["revision"], root, rows, identity, reason, login(by))
    record.snapshot(describe(released, root), "release", login(by), reason)
    typer.echo(f"{released}: {', '.join(identity)} released")
