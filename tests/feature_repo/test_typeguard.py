"""Feast's classes stay as they are written: typeguard would rewrite them at import, in every process that reads a feature."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOOK = "import {first}, feast; print('TypeCheckMemo' in feast.Entity.__init__.__code__.co_names)"


@pytest.mark.parametrize(("first", "rewritten"), [("feature_repo", "False"), ("sys", "True")])
def test_typeguard_rewrites_feasts_classes_only_without_us(first: str, rewritten: str) -> None:
    """The second case says that Feast still does it; once it does not, what is in feature_repo/__init__.py can go."""
    done = subprocess.run([sys.executable, "-c", LOOK.format(first=first)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == rewritten
