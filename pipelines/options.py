"""What the `goodsight` commands share: options, the home that they work in, and how they answer."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from goodsight.errors import EXIT_REFUSED, GoodsightError

WHICH = "a revision, a digest's start, a catalogue's name (its newest version), or a date."
Home = Annotated[Path | None, typer.Option(help="Folder of all state (default: GOODSIGHT_HOME or .goodsight).")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on the last line of standard output.")]
Revision = Annotated[str, typer.Argument(help=WHICH.capitalize())]
By = Annotated[str, typer.Option(help="Who says so (default: the user's login).")]


def login(by: str = "") -> str:
    """Who acts: what `--by` says, or the user's login."""
    return by.strip() or getpass.getuser()


def home_of(home: Path | None) -> Path:
    """The folder of all state; what is given holds for the steps of this command too."""
    from goodsight.settings import settings

    if home is not None:
        os.environ["GOODSIGHT_HOME"] = str(home.expanduser().resolve())
        settings.cache_clear()
    return settings().root


def policy_text(path: Path | None) -> str:
    """The text of a policy file, checked before anything runs; empty for the default."""
    from lineage.policy import Policy

    if path is None:
        return ""
    Policy.load(path)
    return path.read_text()


def write_page(path: Path, page: str) -> None:
    """Writes a page of HTML, and says where."""
    from goodsight.files import write_bytes

    write_bytes(path, page.encode())
    typer.echo(f"Wrote {path}")


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))


def refused(message: str, hint: str) -> GoodsightError:
    """The error of a command that did its work and whose answer is no."""
    error = GoodsightError(message, hint)
    error.exit_code = EXIT_REFUSED
    return error


@contextlib.contextmanager
def logged(root: Path, quiet: bool) -> Iterator[None]:
    """What deployment tells goes to the terminal as notes, and into a log."""
    from pipelines.events import Listener

    with Listener(root / "serving" / "promotions.log", quiet) as listener, contextlib.redirect_stdout(listener):
        yield
