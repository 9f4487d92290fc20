"""The metrics that PromQL names."""

from __future__ import annotations

import re

STRINGS = re.compile(r'"[^"]*"')
LABELS = re.compile(r"\{[^}]*\}|(?:by|without|on|ignoring|group_left|group_right) ?\([^)]*\)")
NAME = re.compile(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)(?![\w:]*\s*\()")
WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "inf", "nan"}
WINDOWS = re.compile(r"\[[^\]]*\]|\boffset \w+")


def metrics_in(expression: str) -> set[str]:
    """The names of metrics and recordings in an expression."""
    bare = WINDOWS.sub(" ", LABELS.sub(" ", STRINGS.sub('""', expression)))
    return {name for name in NAME.findall(bare) if name.lower() not in WORDS}
