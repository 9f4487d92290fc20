"""The shell blocks of the documentation: where they are, what they need, and how to run one as a reader would.

A block that needs more than a clone with an empty home says so in the line right before it:

    <!-- needs: served -->      a finished `goodsight run` and a running `goodsight serve`
    <!-- needs: setup -->       is itself what sets a clone up
    <!-- needs: containers -->  a container engine and a registry
    <!-- needs: kubectl -->     a kubectl that renders our overlays, and no cluster
    <!-- needs: cluster -->     a cluster with Kubeflow
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from goodsight.digests import HOUSE

NEEDS = ("", "served", "setup", "containers", "kubectl", "cluster")
BLOCK = re.compile(r"(?:^<!-- needs: (?P<needs>.*?) -->\n)?^```bash\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path for place in ("*.md", "docs/**/*.md", "k8s/**/*.md") for path in HOUSE.glob(place))


@dataclass(frozen=True)
class Block:
    """One block: its page and line for a message, what it needs, and its commands."""

    page: str
    line: int
    needs: str
    commands: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Every bash block of README.md, the pages beside it, docs/ and k8s/, in reading order."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page.relative_to(HOUSE).as_posix(), line, match["needs"] or "", match["commands"]))
    return found


def served_blocks() -> list[Block]:
    """The blocks that need a served model; `run` runs one."""
    return [block for block in blocks() if block.needs == "served"]


def stand_in(folder: Path, home: Path | None = None) -> Path:
    """`folder` made to look like a clone, everything in it a link; `home` becomes its `.goodsight`."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in HOUSE.iterdir():
        if not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    (folder / ".venv").symlink_to(sys.prefix)
    if home is not None:
        (folder / ".goodsight").symlink_to(home)
    return folder


def run(block: Block, clone: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a block in `clone`, with its `.goodsight` as home; the first command that fails ends it."""
    surroundings = {name: value for name, value in os.environ.items() if name != "GOODSIGHT_HOME"}
    command = ["bash", "-euo", "pipefail", "-c", block.commands]
    return subprocess.run(
        command, cwd=clone, env={**surroundings, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
