"""The `goodsight` command. Heavy imports wait until a command needs them: `--help` answers at once."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import goodsight
from goodsight.errors import EXIT_REFUSED, GoodsightError, InputError

app = typer.Typer(
    name="goodsight",
    help="From a product catalogue to served, gated, traceable multimodal models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
catalogue_app = typer.Typer(help="Versions of product catalogues.", no_args_is_help=True)
pipeline_app = typer.Typer(help="The retraining pipeline for a cluster.", no_args_is_help=True)
app.add_typer(catalogue_app, name="catalogue")
app.add_typer(pipeline_app, name="pipeline")

WHICH = "a revision, a digest's start, a catalogue's name (its newest version), or a date."
Home = Annotated[Path | None, typer.Option(help="Folder of all state (default: GOODSIGHT_HOME or .goodsight).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]
Count = Annotated[int, typer.Option("-k", min=1, max=100, help="How many answers.")]


def _home(home: Path | None) -> Path:
    from goodsight.settings import settings

    if home is not None:
        os.environ["GOODSIGHT_HOME"] = str(home.expanduser().resolve())
        settings.cache_clear()
    return settings().root


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"goodsight {goodsight.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    os.environ["GOODSIGHT_DEBUG"] = "1" if debug else ""


@app.command()
def run(
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue folder (default: the embedded furniture sample).")] = None,
    revision: Annotated[str, typer.Option(help="Train on a version that is kept, instead of importing: " + WHICH)] = "",
    architecture: Annotated[str, typer.Option(help="commercemm, eclip, scale or interbert.")] = "commercemm",
    size: Annotated[str, typer.Option(help="Size of the model: tiny or small.")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 17,
    policy: Annotated[Path | None, typer.Option(help="YAML file of the gate's policy (default: lineage/policy.yaml).")] = None,
    home: Home = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing table.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline: import, validate, train, evaluate, gate, register, index, deploy."""
    from models.config import check_trainable, model_config
    from pipelines.local import Wanted
    from pipelines.local import run as run_pipeline
    from pipelines.report import closing_table

    check_trainable(model_config(architecture, size))
    _home(home)
    if catalogue and revision:
        raise InputError("Both --catalogue and --revision are given.", "Give the folder to import, or the version to take.")
    folder = None if revision else catalogue or _sample()
    name = folder.resolve().name if folder else ""
    result = run_pipeline(Wanted(folder, name, architecture, size, seed, _policy(policy), quiet, revision))
    if not quiet:
        closing_table(result)
    if as_json:
        _print_json(result)
    if result["data_verdict"] != "passed":
        docs = result["paths"]["data_docs"]
        raise _refused(f"The data was refused before training. {result['data_reason']}", f"See {docs}")
    if result["verdict"] != "promote":
        raise _refused("The gate rejected the candidate; what serves now goes on serving.", f"See {result['paths']['verdict']}")


def _policy(path: Path | None) -> str:
    """The text of a policy file, checked before anything runs; empty for the default."""
    from lineage.gate import Policy

    if path is None:
        return ""
    Policy.load(path)
    return path.read_text()


def _sample() -> Path:
    from samples import furniture

    return furniture()


def _refused(message: str, hint: str) -> GoodsightError:
    error = GoodsightError(message, hint)
    error.exit_code = EXIT_REFUSED
    return error


@app.command()
def serve(home: Home = None) -> None:
    """Keep the deployed version up on loopback until Ctrl-C."""
    from serving.serve import serve as keep_up

    keep_up(_home(home), typer.echo)


Attributes = Annotated[str, typer.Option(help="Attributes as a JSON object, for a model that reads tables.")]
Video = Annotated[Path | None, typer.Option(help="A video (square frames side by side in one image file), for a model that reads videos.")]
Audio = Annotated[Path | None, typer.Option(help="A sound file, for a model that reads sounds.")]


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")] = "",
    image: Annotated[Path | None, typer.Option(help="A photo to look for, alone or with the text.")] = None,
    attributes: Attributes = "",
    video: Video = None,
    audio: Audio = None,
    k: Count = 10,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Search the served index by text, image, attributes, video, sound, or several of them."""
    from pipelines.report import products_table
    from serving.client import Client

    asked = _asked(text, attributes, image=image, video=video, audio=audio)
    if not asked:
        raise InputError("There is nothing to search for.", 'Give a text or --image FILE: goodsight search "red sofa"')
    answer = Client.connect(_home(home)).search(k=k, **asked)
    _print_json(answer) if as_json else products_table(answer)


@app.command()
def categorize(
    image: Annotated[Path | None, typer.Argument(help="An image file of the product.")] = None,
    text: Annotated[str, typer.Option(help="Title of the product, alone or with the image.")] = "",
    attributes: Attributes = "",
    video: Video = None,
    audio: Audio = None,
    k: Count = 5,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Name the category of a product from its image, title, attributes, video, sound, or several of them."""
    from pipelines.report import categories_table
    from serving.client import Client

    asked = _asked(text, attributes, image=image, video=video, audio=audio)
    if not asked:
        raise InputError("There is nothing to categorize.", "Give an image file or --text TITLE.")
    answer = Client.connect(_home(home)).categorize(k=k, **asked)
    _print_json(answer) if as_json else categories_table(answer)


def _asked(text: str, attributes: str, **media: Path | None) -> dict[str, Any]:
    """What a request is made of, without what is not there."""
    found: dict[str, Any] = {name: path for name, path in media.items() if path is not None}
    if text.strip():
        found["text"] = text.strip()
    if attributes:
        try:
            found["attributes"] = json.loads(attributes)
        except ValueError as error:
            raise InputError(f"--attributes is no JSON: {error}.", """Give an object: --attributes '{"colour": "red"}'""") from error
    return found


@catalogue_app.command("import")
def catalogue_import(
    folder: Annotated[Path, typer.Argument(help="A catalogue: a folder with products.jsonl (or .csv, .parquet), or another layout.")],
    name: Annotated[str, typer.Option(help="Name of the catalogue (default: the folder's).")] = "",
    layout: Annotated[str, typer.Option(help="folder, m5product, abo, fashiongen or huggingface (default: whichever fits).")] = "",
    mapping: Annotated[Path | None, typer.Option(help="YAML file: which of its columns are which of our fields.")] = None,
    update: Annotated[bool, typer.Option("--update", help="It holds only what changed since the newest version of --name.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Import a catalogue and keep it as a version; the same input gives the same revision."""
    from catalogue.layouts.mapping import Mapping
    from catalogue.versions import describe, import_version
    from pipelines.events import Listener

    root = _home(home)
    columns = Mapping.load(mapping) if mapping else None
    with Listener(root / "import.log", quiet=as_json) as listener, contextlib.redirect_stdout(listener):
        revision = import_version(folder, name or folder.resolve().name, root, layout, columns, update)
    version = describe(revision, root)
    if as_json:
        _print_json(version)
    else:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in version["counts"].items() if count)
        typer.echo(f"{revision}: {counts}")


@catalogue_app.command("list")
def catalogue_list(home: Home = None, as_json: Json = False) -> None:
    """List the versions of all catalogues, oldest first."""
    from catalogue.versions import list_versions
    from pipelines.report import versions_table

    versions = list_versions(_home(home))
    _print_json(versions) if as_json else versions_table(versions)


@catalogue_app.command("show")
def catalogue_show(
    revision: Annotated[str, typer.Argument(help=WHICH.capitalize())], home: Home = None, as_json: Json = False
) -> None:
    """Show one version: counts, licences, digests."""
    from catalogue.versions import describe

    version = describe(revision, _home(home))
    if as_json:
        _print_json(version)
    else:
        from pipelines.report import version_table

        version_table(version)


@catalogue_app.command("get")
def catalogue_get(
    revision: Annotated[str, typer.Argument(help=WHICH.capitalize())],
    out: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    home: Home = None,
) -> None:
    """Write the very bytes of one version to a folder, every one of them checked."""
    from catalogue.versions import fetch

    if out.exists():
        raise InputError(f"{out} exists already.", "Name a folder that does not.")
    typer.echo(f"Wrote {fetch(revision, _home(home), out)}")


@catalogue_app.command("diff")
def catalogue_diff(
    before: Annotated[str, typer.Argument(help=WHICH.capitalize())],
    after: Annotated[str, typer.Argument(help="The later version, said the same way.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with the pictures to this file.")] = None,
    shown: Annotated[int, typer.Option(min=0, max=1000, help="How many rows of each kind of change are shown.")] = 20,
    home: Home = None,
) -> None:
    """Compare two versions like a code review: added, removed, changed fields, categories that grew or shrank."""
    from catalogue.diff import diff
    from catalogue.review import lines, page
    from catalogue.versions import opened
    from goodsight.files import write_bytes

    root = _home(home)
    with opened(before, root) as (old, old_revision), opened(after, root) as (new, new_revision):
        found = diff(old, new, shown)
    for line in lines(found, old_revision, new_revision):
        typer.echo(line)
    if html:
        write_bytes(html, page(found, old_revision, new_revision).encode())
        typer.echo(f"Wrote {html}")


@pipeline_app.command("compile")
def pipeline_compile(
    output: Annotated[Path, typer.Option("--output", "-o", help="The YAML file to write.")] = Path("goodsight-retrain.yaml"),
) -> None:
    """Compile the pipeline to YAML for Kubeflow Pipelines."""
    from pipelines.compile import compile_pipeline

    typer.echo(f"Wrote {compile_pipeline(output)}")


def main() -> None:
    """Entry point: an error is one clear sentence and a hint, its traceback only with `--debug`."""
    try:
        app(standalone_mode=True)
    except GoodsightError as error:
        if os.environ.get("GOODSIGHT_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped: the same command goes on from where it was.", file=sys.stderr)
        sys.exit(130)
