"""The command starts at once: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from goodsight import __version__
from goodsight.digests import HOUSE

HEAVY = (
    "av",
    "torch",
    "kfp",
    "kubeflow",
    "kubernetes",
    "pandas",
    "mlflow",
    "feast",
    "great_expectations",
    "dvc",
    "sklearn",
    "pyarrow",
    "numpy",
    "transformers",
    "sqlalchemy",
)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=HOUSE, capture_output=True, text=True)


@pytest.mark.parametrize(
    "module", ["goodsight", "goodsight.files", "goodsight.settings", "pipelines.command", "models.config"]
)
def test_import_is_light(module: str) -> None:
    done = python(f"import sys, {module}; print(sorted(set({HEAVY!r}) & set(sys.modules)))")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_video_codecs_are_loaded_with_the_first_video() -> None:
    done = python("import sys, catalogue.media, serving.request; print('av' in sys.modules)")
    assert (done.stdout, done.stderr) == ("False\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["catalogue", "--help"], ["pipeline", "--help"], ["--version"]])
def test_help_answers_without_anything_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from pipelines.command import main
try:
    main()
finally:
    print(sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = python(code, *arguments)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert (f"goodsight {__version__}" if "--version" in arguments else "Usage") in done.stdout
