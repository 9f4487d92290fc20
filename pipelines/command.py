"""The `goodsight` command. Heavy imports wait until a command needs them: `--help` answers at once."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import goodsight
from goodsight.errors import GoodsightError, InputError
from pipelines import (
    audit_command,
    catalogue_command,
    features_command,
    feedback_command,
    gate_command,
    keys_command,
    models_command,
    pipeline_command,
    rollout_command,
    runs_command,
    watch_command,
)
from pipelines.bulk_command import answer_catalogue
from pipelines.drift_command import drift
from pipelines.options import WHICH, Home, Json, home_of, policy_text, print_json

app = typer.Typer(
    name="goodsight",
    help="From a product catalogue to served, gated, traceable multimodal models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(audit_command.app, name="audit")
app.add_typer(catalogue_command.app, name="catalogue")
app.add_typer(features_command.app, name="features")
app.add_typer(feedback_command.app, name="feedback")
app.add_typer(gate_command.app, name="gate")
app.add_typer(keys_command.app, name="keys")
app.add_typer(models_command.app, name="models")
app.add_typer(pipeline_command.app, name="pipeline")
app.add_typer(rollout_command.app, name="rollout")
app.add_typer(runs_command.app, name="runs")
app.command()(drift)
app.command("watch")(watch_command.watch)

Runner = Literal["process", "docker"]
Count = Annotated[int, typer.Option("-k", min=1, max=100, help="How many answers.")]


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
    size: Annotated[str, typer.Option(help="Size of the model: tiny, small or base.")] = "small",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 17,
    policy: Annotated[Path | None, typer.Option(help="YAML file of the gate's policy (default: lineage/policy.yaml).")] = None,
    rollout: Annotated[bool, typer.Option("--rollout", help="Keep what serves; `goodsight rollout start` brings the version in.")] = False,
    runner: Annotated[Runner, typer.Option(help="Where steps run: in processes, or in containers of GOODSIGHT_IMAGE.")] = "process",
    budget: Annotated[float, typer.Option(min=0, help="Most money that it may cost (GOODSIGHT_PRICES); 0: any.")] = 0.0,
    run_id: Annotated[str, typer.Option("--run-id", hidden=True, help="Id of the run; of one that did not succeed: it goes on.")] = "",
    home: Home = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing table.")] = False,
    as_json: Json = False,
) -> None:
    """Run the whole pipeline: import, validate, train, evaluate, gate, register, index, deploy."""
    from models.config import check_trainable, model_config
    from pipelines.local import Wanted
    from pipelines.local import run as run_pipeline
    from pipelines.report import tell_run

    check_trainable(model_config(architecture, size))
    home_of(home)
    if catalogue and revision:
        raise InputError("Both --catalogue and --revision are given.", "Give the folder to import, or the version to take.")
    folder = None if revision else catalogue or _sample()
    name = folder.resolve().name if folder else ""
    release = "rollout" if rollout else "switch"
    asked = Wanted(folder, name, architecture, size, seed, policy_text(policy), quiet, revision, release, runner, budget, run_id)
    tell_run(run_pipeline(asked), quiet, as_json)


def _sample() -> Path:
    from samples import furniture

    return furniture()


@app.command()
def serve(home: Home = None) -> None:
    """Keep the deployed version up behind the gateway until Ctrl-C."""
    from serving.serve import serve as keep_up

    keep_up(home_of(home), typer.echo)


@app.command("model-server")
def model_server(
    check: Annotated[bool, typer.Option("--check", help="Only tell which version takes requests; status 1 when none does.")] = False,
    check_alive: Annotated[bool, typer.Option("--check-alive", help="Only tell whether a model server answers.")] = False,
    home: Home = None,
) -> None:
    """Keep TorchServe up with what is deployed, for a gateway beside it: one of two containers of a pod."""
    from serving import model_server as server

    root = home_of(home)
    if check:
        typer.echo(f"Version {server.check(root)} takes requests.")
    elif check_alive:
        server.check_alive(root)
    else:
        server.keep_up(root, typer.echo)


@app.command()
def gateway(home: Home = None) -> None:
    """Answer product teams in front of the model server beside it: the other container of the pod."""
    from serving.gateway.process import keep_up

    keep_up(home_of(home), typer.echo)


Attributes = Annotated[str, typer.Option(help="Attributes as a JSON object, for a model that reads tables.")]
Video = Annotated[Path | None, typer.Option(help="A video file (MP4, MOV, WebM, MKV), or square frames side by side in one image file.")]
Audio = Annotated[Path | None, typer.Option(help="A sound file, for a model that reads sounds.")]

Input = Annotated[Path | None, typer.Option("--input", help="A catalogue folder: every product of it instead of one.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Parquet file of the answers for --input.")]
BulkVersion = Annotated[str, typer.Option("--version", help="Registered version that answers for --input (default: the champion).")]


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
    answer = Client.connect(home_of(home)).search(k=k, **asked)
    print_json(answer) if as_json else products_table(answer)


@app.command()
def categorize(
    image: Annotated[Path | None, typer.Argument(help="An image file of the product.")] = None,
    text: Annotated[str, typer.Option(help="Title of the product, alone or with the image.")] = "",
    attributes: Attributes = "",
    video: Video = None,
    audio: Audio = None,
    k: Count = 5,
    catalogue: Input = None,
    output: Output = None,
    version: BulkVersion = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Name the category of a product from its image, title, attributes, video, sound, or several of them; or of all products."""
    from pipelines.report import categories_table
    from serving.client import Client

    if catalogue:
        return answer_catalogue("categorize", catalogue, output, version, k, home_of(home), as_json)
    asked = _asked(text, attributes, image=image, video=video, audio=audio)
    if not asked:
        raise InputError("There is nothing to categorize.", "Give an image file or --text TITLE.")
    answer = Client.connect(home_of(home)).categorize(k=k, **asked)
    print_json(answer) if as_json else categories_table(answer)


@app.command()
def embed(
    catalogue: Annotated[Path, typer.Option("--input", help="A catalogue folder: every product of it.")],
    output: Output = None,
    version: BulkVersion = "",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write the vectors of all products of a catalogue; stopped, the same command goes on."""
    answer_catalogue("embed", catalogue, output, version, 1, home_of(home), as_json)


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
