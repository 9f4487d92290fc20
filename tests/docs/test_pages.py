"""The documentation agrees with the code: links lead somewhere, settings and dependencies are those that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import SecretStr

from goodsight.digests import HOUSE
from goodsight.settings import Settings
from tests.docs.blocks import PAGES

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SETTING = re.compile(r"\bGOODSIGHT_[A-Z_]+\b")
ROW = re.compile(r"^\| `(GOODSIGHT_\w+)` \| (.*?) \| .* \|$", re.MULTILINE)
REQUIRED = ("BROWSER", "CONTAINERS", "KUBECTL", "NODE", "PROMTOOL", "SERVERS")
OF_TESTS = {"GOODSIGHT_TEST_CLUSTER"} | {f"GOODSIGHT_REQUIRE_{name}" for name in REQUIRED}  # read by tests alone
PROJECT = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual Markdown viewers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HOUSE).as_posix())
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists() and target.is_relative_to(HOUSE), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [HOUSE / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            links = (link.partition("#")[0] for link in LINK.findall(page.read_text()) if ":" not in link)
            waiting += [(page.parent / link).resolve() for link in links if link]
    assert set(PAGES) - reached == set()


def test_the_settings_of_the_documentation_are_those_of_the_code() -> None:
    exist = {f"GOODSIGHT_{name.upper()}" for name in Settings.model_fields}
    named = {name for page in PAGES for name in SETTING.findall(page.read_text())}
    assert named == exist | OF_TESTS


def test_the_table_of_settings_shows_their_defaults() -> None:
    shown = dict(ROW.findall((HOUSE / "docs" / "platform" / "README.md").read_text()))
    assert list(shown) == [f"GOODSIGHT_{name.upper()}" for name in Settings.model_fields]
    for name, field in Settings.model_fields.items():
        text = shown[f"GOODSIGHT_{name.upper()}"]
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        if text.startswith("`"):
            assert text == f"`{default}`", name
        else:
            assert name == "threads" or default == "", f"{name} has a default that the table does not show"


def test_every_dependency_has_its_reason() -> None:
    extras = PROJECT["optional-dependencies"].values()
    wanted = {re.match(r"[\w-]+", line)[0] for lines in (PROJECT["dependencies"], *extras) for line in lines}  # type: ignore[index]
    page = (HOUSE / "docs" / "dependencies.md").read_text()
    told = {name for row in re.findall(r"^\| (`.*?) \|", page, re.MULTILINE) for name in re.findall(r"`([\w-]+)`", row)}
    assert told == wanted
