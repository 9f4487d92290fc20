"""The page of a passport in a real browser: the whole graph, readable, on a phone too, whatever people wrote into the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goodsight.files import write_bytes
from lineage.drawing import HEIGHT, WIDTH, layout, page
from lineage.graph import Node, Passport
from tests.browser import READABLE, WIDTHS, Opened

SCRIPT, IMAGE = "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>'


def hostile() -> Passport:
    """A graph with every state, several layers, two ways to one node, and names that are markup or have no end."""
    made = Passport("prediction:p", "2026-11-26T08:00:00.000+00:00", False)
    root = made.add(Node("prediction", "p", "recorded", "a row", {"results": [[SCRIPT, 0.9], [IMAGE, 0.8]], "nothing": None}))
    model = made.add(Node("model", "1", "verified", "event 5", {"reason": IMAGE}), root, "answered by")
    index = made.add(Node("index", "a" * 64, "altered", SCRIPT), root, "searched")
    for number in range(4):
        bundle = made.add(Node("bundle", f"{number}" * 64, "verified", "digests match", {"files": {"x" * 500: "y" * 500}}), model, "has")
        made.add(Node("code", IMAGE + "z" * 300, "missing", "the bundle does not tell"), bundle, "made by")
    made.add(made.nodes["bundle:" + "0" * 64], index, "embedded by")
    return made


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("passport") / "passport.html"
    write_bytes(path, page(hostile()).encode())
    return path


def test_boxes_do_not_lie_on_one_another_and_edges_go_to_the_right() -> None:
    made = hostile()
    boxes = {box.node.id: box for box in layout(made)}
    assert boxes.keys() == made.nodes.keys()
    assert all(boxes[edge.source].x + WIDTH < boxes[edge.target].x for edge in made.edges)
    places = sorted((box.x, box.y) for box in boxes.values())
    assert all(before[0] != after[0] or before[1] + HEIGHT < after[1] for before, after in zip(places, places[1:], strict=False))


@pytest.mark.browser
def test_the_page_shows_every_link_and_calls_nobody(opened: Opened, drawn: Path) -> None:
    seen, made = opened(drawn), hostile()
    assert (seen.errors, seen.dialogs) == ([], [])
    assert [request.url for request in seen.requests] == [drawn.as_uri()]
    assert "Passport of prediction p" in seen.page.title() and seen.run("document.documentElement.lang") == "en"
    boxes = seen.run("[...document.querySelectorAll('svg a')].map(each => [...each.querySelectorAll('text')].map(t => t.textContent))")
    assert [(kind, state) for kind, _, state in boxes] == [(node.kind, node.state) for node in (box.node for box in layout(made))]
    assert seen.run("document.querySelectorAll('svg path').length") == len(made.edges)
    assert len(seen.texts("article")) == len(made.nodes)
    assert seen.run("document.querySelectorAll('script, img, [onerror]').length") == 0
    shown = seen.page.locator("body").inner_text()
    assert SCRIPT in shown and json.dumps(IMAGE)[1:-1] in shown


@pytest.mark.browser
def test_a_box_leads_to_what_is_known_of_it(opened: Opened, drawn: Path) -> None:
    seen = opened(drawn)
    seen.page.locator("svg a", has_text="altered").click()
    assert seen.run("document.querySelector('article:target h2').textContent").startswith("index aaaa")


@pytest.mark.browser
@pytest.mark.parametrize("screen", WIDTHS)
def test_the_page_fits_its_screen(opened: Opened, drawn: Path, screen: str) -> None:
    width, content = opened(drawn, screen).run("[innerWidth, document.scrollingElement.scrollWidth]")
    assert width == WIDTHS[screen] and content <= width


@pytest.mark.browser
@pytest.mark.parametrize("medium", ["screen", "print"])
def test_every_text_can_be_read(opened: Opened, drawn: Path, medium: Any) -> None:
    seen = opened(drawn)
    seen.page.emulate_media(media=medium)
    texts = seen.run(READABLE, "rgb(255, 255, 255)" if medium == "print" else None)
    assert len(texts) > 20 and [text for contrast, text in texts if contrast < 4.5] == []
    widths = seen.run("[...document.querySelectorAll('svg a text')].map(text => text.getBBox().width)")
    assert max(widths) < WIDTH - 10, "a name is wider than its box"
