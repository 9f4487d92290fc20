"""The pages that people look at, in a real browser: the validation summary, the Data Docs behind it, and the diff of two versions.

The catalogue is hostile: titles, ids, categories and searches are markup, and some are longer than any screen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest
from typer.testing import CliRunner

from catalogue.page import render
from catalogue.validations import REPORT, VERDICT, validate_version
from catalogue.verdict import DataVerdict
from catalogue.versions import import_version
from goodsight.files import read_json
from pipelines.command import app
from tests.browser import READABLE, WIDTHS, Opened, Visit
from tests.catalogue.made import PRODUCTS, Record, jpeg, noise_jpeg, product, query, write_catalogue

pytestmark = pytest.mark.browser

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'
SUITES = ("products-critical", "products-warning", "queries-critical", "queries-warning")
NAMES = ("validation", "diff", *SUITES)


@dataclass(frozen=True)
class Shop:
    """Two versions, the later one hostile: the verdict on it, the file of every page by its name, the lines that the diff printed."""

    verdict: dict[str, Any]
    files: dict[str, Path]
    printed: list[str]


Visits = Callable[[str, str], Visit]


@pytest.fixture(scope="module")
def shop(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    work = tmp_path_factory.mktemp("shop")
    old, new = write_catalogue(work / "old", media, *_good()), write_catalogue(work / "new", media, *_hostile())
    (new / "images/wide.jpg").write_bytes(jpeg(1600, 30))
    (new / "images/cut.jpg").write_bytes(noise_jpeg(3)[:1500])
    home, html = work / "home", work / "diff.html"
    revisions = []
    for folder in (old, new):
        revisions.append(import_version(folder, "shop", home))
        kept = validate_version(revisions[-1], home)
    told = CliRunner().invoke(app, ["catalogue", "diff", *revisions, "--html", str(html), "--home", str(home)])
    assert told.exit_code == 0, told.output
    files = {"validation": kept / REPORT / "index.html", "diff": html}
    for suite in SUITES:
        [files[suite]] = (kept / REPORT / "validations" / suite).rglob("*.html")
    return Shop(read_json(kept / VERDICT), files, told.stdout.splitlines())


def _good() -> tuple[list[Record | str], list[Record]]:
    return [product(index) for index in range(PRODUCTS)], [query(index) for index in range(PRODUCTS)]


def _hostile() -> tuple[list[Record | str], list[Record]]:
    """Of the good catalogue p1 and p2 changed, p3 and q0 removed; five products added, of which three are bad, and a search."""
    changed: dict[int, Record] = {
        1: {"title": IMAGE, "price": 99.5, "attributes": {"note": SCRIPT, "long" * 60: IMAGE}},
        2: {"images": ["images/wide.jpg", "images/p5.jpg"]},
    }
    added: list[Record | str] = [
        product(0) | {"id": IMAGE, "title": SCRIPT, "category_path": ["Furniture", SCRIPT + "y" * 300]},
        product(1) | {"id": "x" * 201, "title": "t" * 1001},
        product(4) | {"id": "stray", "title": SCRIPT, "category_path": [IMAGE + SCRIPT]},
        product(5) | {"id": "cut", "title": IMAGE, "images": ["images/cut.jpg"]},
        product(6) | {"id": "wide", "images": ["images/wide.jpg"]},
    ]
    products = [product(index) | changed.get(index, {}) for index in range(PRODUCTS) if index != 3]
    searches = [*(query(index) for index in range(1, PRODUCTS)), {"id": "hostile", "text": SCRIPT + IMAGE, "relevant": ["p1"]}]
    return [*products, *added], searches


@pytest.fixture(scope="module")
def visit(opened: Opened, shop: Shop) -> Visits:
    """A page by its name on a screen, opened once."""
    seen: dict[tuple[str, str], Visit] = {}

    def visit_page(name: str, screen: str = "desktop") -> Visit:
        if (name, screen) not in seen:
            seen[name, screen] = opened(shop.files[name], screen)
        return seen[name, screen]

    return visit_page


@pytest.mark.parametrize("name", NAMES)
def test_a_page_opens_without_an_error_and_calls_nobody(visit: Visits, name: str) -> None:
    found = visit(name, "desktop")
    assert found.errors == []
    assert [request.url for request in found.requests if not request.url.startswith("data:")] == [found.page.url]
    assert found.page.url.startswith("file:")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_it_is(visit: Visits, name: str) -> None:
    found = visit(name, "desktop")
    assert found.run("document.documentElement.lang") == "en" and found.page.title().strip()
    assert found.run("document.characterSet") == "UTF-8"
    assert len(found.texts("h1, h4")) >= 1


@pytest.mark.parametrize(
    ("name", "rows", "bare"),
    [("validation", "article tr", ["cut", "q3"]), ("diff", "article", ["+ cut", "~ p1", "+ hostile", "\N{MINUS SIGN} q0"])],
)
def test_every_picture_is_seen_and_described(visit: Visits, name: str, rows: str, bare: list[str]) -> None:
    """`bare`: the rows without a picture; one cannot be decoded, of p1 other fields changed, and two are searches."""
    found = visit(name, "desktop")
    assert found.texts(f"{rows}:not(:has(img)) b") == bare
    pictures = found.run("[...document.images].map(each => [each.naturalWidth, each.getAttribute('alt')])")
    assert [alt for width, alt in pictures if width == 0] == []
    assert all(re.fullmatch(r"image.* of .+", alt or "") for _, alt in pictures)


@pytest.mark.parametrize("screen", WIDTHS)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_its_screen(visit: Visits, name: str, screen: str) -> None:
    width, content = visit(name, screen).run("[innerWidth, document.scrollingElement.scrollWidth]")
    assert width == WIDTHS[screen] and content <= width


@pytest.mark.parametrize("medium", ["screen", "print"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_every_text_can_be_read(visit: Visits, name: str, scheme: Any, medium: Any) -> None:
    """A contrast of 4.5 to 1 or more: with what is behind the text on a screen, with white paper in print."""
    found = visit(name, "desktop")
    found.page.emulate_media(media=medium, color_scheme=scheme)
    texts = found.run(READABLE, "rgb(255, 255, 255)" if medium == "print" else None)
    found.page.emulate_media()
    assert len(texts) > 10
    assert [text for contrast, text in texts if contrast < 4.5] == []


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_is_text(visit: Visits, name: str) -> None:
    found = visit(name, "desktop")
    assert found.dialogs == []
    assert found.run("document.querySelectorAll('script, [onerror], img:not([src^=\"data:image/jpeg\"])').length") == 0
    if name in ("validation", "diff", "products-critical"):
        shown = found.page.locator("body").inner_text()
        assert SCRIPT in shown and IMAGE in shown


@pytest.mark.parametrize("name", NAMES[:3])
def test_markup_that_came_through_would_run_nothing(opened: Opened, shop: Shop, name: str) -> None:
    found = opened(shop.files[name])
    title = found.page.title()
    found.run("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'ran'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", `<img src="http://127.0.0.1:9/x.png" onerror="document.title = 'ran'; alert(1)">`);
        return new Promise(done => setTimeout(done, 100));
    }""")
    assert found.page.title() == title and found.dialogs == []
    assert [(request.url, request.failure) for request in found.requests[1:]] == [("http://127.0.0.1:9/x.png", "csp")]
    found.page.close()


def test_every_link_leads_somewhere(opened: Opened, shop: Shop) -> None:
    waiting, ids, links = [shop.files["validation"].as_uri()], dict[str, set[str]](), set[tuple[str, str]]()
    while waiting:
        if (url := waiting.pop()) in ids:
            continue
        found = opened(Path(unquote(urlparse(url).path)))
        ids[url] = set(found.run("[...document.querySelectorAll('[id]')].map(each => each.id)"))
        for target in found.run("[...document.querySelectorAll('a')].map(each => each.getAttribute('href') || '')"):
            links.add((url, urljoin(url, target)))
            waiting.append(urldefrag(urljoin(url, target)).url)
        assert found.errors == [] and waiting[-1].startswith("file:")
        found.page.close()
    assert {shop.files[suite].as_uri() for suite in SUITES} < ids.keys()
    assert [link for link in links if (part := urldefrag(link[1])).fragment and unquote(part.fragment) not in ids[part.url]] == []
    assert opened(shop.files["diff"]).texts("a") == []


def test_the_links_of_the_summary_go_there_and_back(opened: Opened, shop: Shop) -> None:
    found = opened(shop.files["validation"])
    found.page.get_by_role("link", name=SUITES[0]).click()
    assert found.page.url == shop.files[SUITES[0]].as_uri()
    found.page.get_by_role("link", name="Home").click()
    assert found.page.url == shop.files["validation"].as_uri()


def test_the_counts_of_the_summary_are_those_of_the_verdict(visit: Visits, shop: Shop) -> None:
    found = visit("validation", "desktop")
    assert found.texts("h1") == [f"Data of snapshot {shop.verdict['raw_digest'][:12]}: passed"]
    assert found.texts("article")[0] == shop.verdict["reason"]
    rows = {name: [int(count) for count in counts] for name, *counts in (row.split() for row in found.texts("table >> nth=0 >> tr")[1:])}
    assert rows == {
        "products": [shop.verdict["products_in"], shop.verdict["kept"], shop.verdict["quarantined"], 0],
        "queries": [shop.verdict[f"queries_{name}"] for name in ("in", "kept", "quarantined", "dropped")],
    }
    assert rows == {"products": [16, 13, 3, 0], "queries": [12, 11, 0, 1]}
    compared = shop.verdict["compared"]
    assert found.texts("table >> nth=1 >> tr")[:4] == [
        f"products kept {compared['products'][0]} → {compared['products'][1]}",
        f"queries kept {compared['queries'][0]} → {compared['queries'][1]}",
        "in quarantine 0.0 % → 18.8 %",
        f"moved between categories {100 * compared['category_shift']:.1f} %",
    ]
    [shares] = re.findall("Of the products kept, (.*).$", found.texts("p")[0])
    assert {name: float(share) / 100 for share, name in re.findall(r"([\d.]+) % have an? (\w+)", shares)} == shop.verdict["coverage"]


def test_the_summary_tells_every_expectation_that_did_not_hold(visit: Visits, shop: Shop) -> None:
    found = visit("validation", "desktop")
    told = [re.fullmatch(r"(Products|Queries): (\d+) of (\d+) expectations did not hold", text) for text in found.texts("h2")]
    counts = [(int(each[2]), int(each[3])) for each in told if each]
    assert len(counts) == 2
    assert (sum(failed for failed, _ in counts), sum(total for _, total in counts)) == tuple(
        shop.verdict["expectations"][name] for name in ("failed", "total")
    )
    articles = [text for text in found.texts("article.critical, article.warning") if text not in shop.verdict["compared"]["notable"]]
    assert len(articles) == shop.verdict["expectations"]["failed"]
    for label, count in [*shop.verdict["by_reason"].items(), *((each["label"], each["count"]) for each in shop.verdict["warnings"])]:
        [article] = [text for text in articles if text.startswith(f"{label} ")]
        assert not count or re.search(rf": (critical|warning), {count:,} rows?\b", article)


def test_the_details_show_which_expectations_held(visit: Visits) -> None:
    signs = visit("products-critical", "desktop").run(
        "[...document.querySelectorAll('td i')].map(each => getComputedStyle(each, '::before').content)"
    )
    assert signs.count('"✗"') == 4 and signs.count('"✓"') == 9


def test_the_counts_of_the_diff_are_those_that_were_printed(visit: Visits, shop: Shop) -> None:
    found = visit("diff", "desktop")
    assert found.texts("h1") == [shop.printed[0].replace("->", "→")]
    headings = [line for line in shop.printed if re.match("products: |queries: |categories: ", line)]
    assert found.texts("h2") == [line.capitalize() for line in headings]
    assert headings[:2] == [
        "products: 12 -> 16; 5 added, 1 removed, 2 changed (title 1, attributes 1, price 1, images 1)",
        "queries: 12 -> 12; 1 added, 1 removed, 0 changed",
    ]
    assert [len(found.texts(f"article.{kind}")) for kind in ("added", "removed", "changed")] == [5 + 1, 1 + 1, 2]
    after = shop.printed[shop.printed.index(headings[2]) + 1 : -1]
    shown = [re.sub(r"^(.*) (\S+) (\S+) \S+$", r"\1: \2 -> \3", row) for row in found.texts("table >> nth=-1 >> tr")[1:]]
    assert shown == [re.sub(r" \(new\)$", "", line.strip()) for line in after] and len(shown) == 4


def test_what_went_and_what_came_is_told_without_colours(visit: Visits) -> None:
    found = visit("diff", "desktop")
    lines = found.run("[...document.querySelectorAll('del, ins')].map(each => [each.tagName, getComputedStyle(each).textDecorationLine])")
    assert {tuple(line) for line in lines} == {("DEL", "line-through"), ("INS", "underline")}


def test_counts_of_millions_stay_whole_on_a_phone(opened: Opened, shop: Shop, tmp_path: Path) -> None:
    names = ("products_in", "kept", "quarantined", "queries_in", "queries_kept", "queries_quarantined")
    big = DataVerdict(**{**shop.verdict, **dict.fromkeys(names, 1_234_567)})
    (tmp_path / "index.html").write_text(render("validation", run="big", verdict=big, suites=[]))
    found = opened(tmp_path / "index.html", "phone")
    assert found.run("document.scrollingElement.scrollWidth") <= found.run("innerWidth") == WIDTHS["phone"]
    heights = found.run("""[...document.querySelectorAll("table:first-of-type .number")].map(each => {
        const range = document.createRange();
        range.selectNodeContents(each);
        return [each.textContent, range.getClientRects().length];
    })""")
    assert ["1,234,567", 1] in heights and all(lines == 1 for _, lines in heights)
