"""The shop window in a real browser, before a real model: every thing that a person can do there, by mouse and by keyboard."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest

from lineage.feedback_log import Given, Taken
from lineage.predictions import new_id
from tests.browser import NARROW, Visit, visits
from tests.serving.gateway.standing import InProcess
from tests.serving.gateway.window import COLOURS, HOSTILE, KEY, PRODUCTS, Locked, Window, logged, opened, picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

Visits = Callable[..., Visit]
PUT = """([data, kind]) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0)), carried = new DataTransfer();
    carried.items.add(new File([bytes], "sofa.png", { type: "image/png" }));
    const told = { bubbles: true, cancelable: true };
    document.body.dispatchEvent(kind === "paste"
        ? new ClipboardEvent("paste", { ...told, clipboardData: carried }) : new DragEvent(kind, { ...told, dataTransfer: carried }));
}"""


@pytest.fixture
def visit(browser: Browser, window: Window) -> Iterator[Visits]:
    """Opens the shop, or another address, on a screen."""
    with visits(browser) as at:
        yield lambda address="/", *screen, url=window.url, **how: at(url + address, *screen, **how)


def settled(page: Page) -> None:
    """Products have come, or the reason why not."""
    from playwright.sync_api import expect

    expect(page.locator("#results")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("#cards .waiting")).to_have_count(0)


def search(page: Page, words: str) -> None:
    page.get_by_label("Search by words").fill(words)
    page.keyboard.press("Enter")
    page.wait_for_url("**q=**")
    settled(page)


def titles(seen: Visit) -> list[str]:
    return seen.texts("#cards h2")


def give(seen: Visit, kind: str, colour: str = "red") -> None:
    """A picture is dropped or pasted."""
    from playwright.sync_api import expect

    data = base64.b64encode(picture(colour, "PNG")).decode()
    if kind == "drop":
        seen.run(PUT, [data, "dragenter"])
        expect(seen.page.get_by_text("Drop the picture")).to_be_visible()
    seen.run(PUT, [data, kind])
    expect(seen.page.get_by_alt_text("Your picture")).to_be_visible()
    settled(seen.page)


def odd(seen: Visit) -> list[str]:
    """What the browser complained of, but for the one product without a picture."""
    return [each for each in seen.errors if "404" not in each]


def faults(page: Page) -> list[str]:
    """What axe finds against WCAG 2.2 AA and best practice."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:120]} {node['failureSummary']}" for each in found for node in each["nodes"]]


def test_words_find_products_with_their_pictures_prices_and_scores(visit: Visits) -> None:
    seen = visit()
    search(seen.page, "green lamp")
    assert len(titles(seen)) == PRODUCTS and "green lamp" in titles(seen)[:3]
    assert seen.page.get_by_role("status").inner_text().startswith(f"{PRODUCTS} products, the best first")
    card = seen.page.locator("#cards article").filter(has_text="green lamp")
    assert re.search(r"\d+\.50", card.locator(".price").inner_text()) and float(card.locator(".score").inner_text()) <= 1.001
    seen.page.wait_for_load_state("networkidle")
    card.locator("img").scroll_into_view_if_needed()
    assert seen.run("[...document.querySelectorAll('#cards img')].slice(0, 4).every(each => each.complete && each.naturalWidth === 120)")
    assert odd(seen) == [] and seen.dialogs == []


def test_what_a_catalogue_says_is_text(visit: Visits) -> None:
    seen = visit()
    search(seen.page, "red")
    assert HOSTILE in titles(seen) and seen.page.title() == "red · Goodsight"
    assert seen.run("document.querySelectorAll('[onerror]').length") == 0
    assert all(urlsplit(request.url).netloc == urlsplit(seen.page.url).netloc for request in seen.requests if request.url[:5] != "blob:")


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_finds_products_and_is_categorized(visit: Visits, way: str) -> None:
    from playwright.sync_api import expect

    seen = visit()
    if way == "choose":
        with seen.page.expect_file_chooser() as chooser:
            seen.page.get_by_role("button", name="Choose a picture").click()
        chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": picture("red", "PNG")})
        expect(seen.page.get_by_alt_text("Your picture")).to_be_visible()
        settled(seen.page)
    else:
        give(seen, way)
    assert len(titles(seen)) == PRODUCTS
    expect(seen.page.locator("#categories li")).to_have_count(4)
    shares = [float(text.removesuffix(" %")) for text in seen.texts("#categories .percent")]
    assert shares == sorted(shares, reverse=True) and 98 < sum(shares) < 102
    give(seen, "paste", "blue")
    search(seen.page, "blue")
    assert seen.texts("#told") == ["“blue”, like your picture"]
    seen.page.get_by_role("button", name="Remove the picture").click()
    settled(seen.page)
    assert seen.texts("#told") == ["“blue”"] and odd(seen) == []


def test_what_is_no_picture_is_told_kindly(visit: Visits) -> None:
    seen = visit()
    seen.page.locator("#file").set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    assert "notes.txt cannot be shown here" in seen.page.get_by_role("alert").inner_text()


def test_filters_narrow_the_answer_and_are_in_the_address(visit: Visits, window: Window) -> None:
    seen = visit()
    search(seen.page, "sofa")
    seen.page.locator("#filters").get_by_label("blue").check()
    seen.page.locator("#filters").get_by_label("to", exact=True).fill("90")
    seen.page.keyboard.press("Tab")
    seen.page.wait_for_url("**max=90**")
    settled(seen.page)
    assert len(titles(seen)) == 4  # of rows 5 to 9 those that cost at most 90
    assert parse_qs(urlsplit(seen.page.url).query) == {"q": ["sofa"], "a.colour": ["blue"], "max": ["90"]}
    again = visit(seen.page.url.removeprefix(window.url))
    settled(again.page)
    assert titles(again) == titles(seen) and again.page.locator("#filters").get_by_label("blue").is_checked()
    again.page.locator("#filters").get_by_label("Lamp").check()
    settled(again.page)
    again.page.get_by_role("button", name="Clear all filters").first.click()
    settled(again.page)
    assert len(titles(again)) == PRODUCTS
    again.page.go_back()
    again.page.go_back()
    settled(again.page)
    assert titles(again) == titles(seen)


def test_nothing_found_says_so_and_helps(visit: Visits) -> None:
    seen = visit("/?q=sofa&a.colour=pink")
    alert = seen.page.get_by_role("alert")
    alert.get_by_role("button", name="Clear all filters").click()
    settled(seen.page)
    assert len(titles(seen)) == PRODUCTS and not alert.is_visible()


def test_similar_products_lead_on_and_back(visit: Visits) -> None:
    seen = visit()
    search(seen.page, "green lamp")
    before = titles(seen)
    seen.page.get_by_role("button", name="Similar to green lamp").click()
    seen.page.wait_for_url("**similar=**")
    settled(seen.page)
    assert seen.texts("#told") == ["Similar to green lamp"]
    assert len(titles(seen)) == PRODUCTS - 1 and "green lamp" not in titles(seen)
    seen.page.go_back()
    settled(seen.page)
    assert titles(seen) == before and odd(seen) == []


def test_what_is_clicked_is_told_without_what_was_asked(visit: Visits, window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[Given] = []

    def give(given: Given, key: str) -> Taken:
        came.append(given)
        return Taken(new_id(), True)

    monkeypatch.setattr(window.gateway, "feedback", give)
    seen = visit()
    search(seen.page, "green lamp")
    passport = seen.page.locator("#results .why").get_attribute("href") or ""
    answer = parse_qs(urlsplit(passport).query)["passport"][0]
    with seen.page.expect_response("**/v1/feedback") as told:
        seen.page.get_by_role("button", name="Similar to green lamp").click()
    settled(seen.page)
    assert told.value.status == 200 and odd(seen) == []
    [piece] = came
    shown = httpx.get(f"{window.url}/v1/products/{quote(piece.product, safe='')}/thumbnail", trust_env=False)
    assert (piece.prediction, piece.kind, piece.query, shown.status_code) == (answer, "click", "", 200)


def test_a_key_that_may_not_give_feedback_is_asked_for_it_once(visit: Visits) -> None:
    seen = visit()
    seen.page.route("**/v1/feedback", lambda route: route.fulfill(status=403, body="{}"))
    search(seen.page, "green lamp")
    for _ in range(2):
        seen.page.locator("#cards .similar").first.click()
        seen.page.wait_for_url("**similar=**")
        settled(seen.page)
        seen.page.wait_for_load_state("networkidle")
    assert len([request for request in seen.requests if request.url.endswith("/v1/feedback")]) == 1


def test_a_heat_map_lies_on_the_picture_with_its_legend(visit: Visits) -> None:
    from playwright.sync_api import expect

    seen = visit()
    give(seen, "drop")
    look = seen.page.get_by_role("button", name="What did the model look at?")
    look.click()
    expect(seen.page.locator("#heat")).to_be_visible(timeout=30_000)
    assert "Covering the" in seen.texts("#legend")[0] or "No single part" in seen.texts("#legend")[0]
    boxes = [seen.page.locator(each).bounding_box() for each in ("#heat", "#stage img")]
    assert boxes[0] == boxes[1]
    drawn = "[...heat.getContext('2d').getImageData(0, 0, heat.width, heat.height).data].filter((value, at) => at % 4 === 3 && value > 100)"
    assert seen.run(f"{drawn}.length") > 100
    about = seen.texts("#heat-said")
    seen.page.locator("#cards .matched").nth(3).click()
    expect(seen.page.locator("#heat-said")).not_to_have_text(about[0], timeout=30_000)
    expect(seen.page.locator("#heat")).to_be_visible(timeout=30_000)
    assert titles(seen)[3] in seen.texts("#heat-said")[0]
    seen.page.get_by_role("button", name="Hide what the model looked at").click()
    expect(seen.page.locator("#heat")).to_be_hidden()
    assert odd(seen) == []


def test_why_this_answer_leads_to_its_passport(visit: Visits, window: Window) -> None:
    from playwright.sync_api import expect

    seen = visit()
    search(seen.page, "red sofa")
    link = seen.page.locator("#results").get_by_role("link", name="Why this answer?")
    id = parse_qs(urlsplit(link.get_attribute("href") or "").query)["passport"][0]
    logged(window.url, id)
    link.click()
    expect(seen.page.locator("#links svg")).to_be_visible()
    assert id in seen.page.locator("#links").inner_text() and "recorded" in seen.page.locator("#links").inner_text()
    seen.page.locator("#links svg a").last.click()
    assert seen.run("document.querySelectorAll('#links article:target').length") == 1
    assert faults(seen.page) == []
    seen.page.get_by_role("link", name="Back to the answer").click()
    settled(seen.page)
    assert len(titles(seen)) == PRODUCTS and odd(seen) == []


def test_the_keyboard_alone_suffices_and_focus_is_seen(visit: Visits) -> None:
    seen = visit()
    outline = "() => { const box = document.activeElement.closest('#search:has(#words:focus)') ?? document.activeElement;"
    outline += " return getComputedStyle(box).outlineStyle !== 'none' }"
    seen.page.keyboard.press("Tab")
    assert seen.run("document.activeElement.className") == "skip" and seen.run(outline)
    reached = []
    for _ in range(5):
        seen.page.keyboard.press("Tab")
        assert seen.run(outline), seen.run("document.activeElement.outerHTML")
        reached.append(seen.run("document.activeElement.id || document.activeElement.className"))
    assert reached[:4] == ["brand", "words", "choose", "main"] and reached[4] == "drop"
    seen.page.locator("#words").focus()
    seen.page.keyboard.type("green lamp")
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**q=green+lamp")
    settled(seen.page)
    seen.page.locator("#cards button").first.focus()
    seen.page.keyboard.press("Enter")
    seen.page.wait_for_url("**similar=**")


@pytest.mark.parametrize("screen", NARROW)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everyone_can_use_it(visit: Visits, scheme: str, screen: str) -> None:
    from playwright.sync_api import expect

    seen = visit(screen=screen, scheme=scheme)
    expect(seen.page.locator("#browse")).to_be_visible()
    assert faults(seen.page) == []
    give(seen, "paste")
    seen.page.locator("#filters").evaluate("details => { details.open = true; }")
    seen.page.locator("#filters").get_by_label("blue").check()
    seen.page.get_by_role("button", name="What did the model look at?").click()
    expect(seen.page.locator("#heat")).to_be_visible(timeout=30_000)
    settled(seen.page)
    assert faults(seen.page) == []
    width, content = seen.run("[innerWidth, document.scrollingElement.scrollWidth]")
    assert content <= width == NARROW[screen]


def test_a_server_with_keys_asks_for_one_and_the_tab_keeps_it(visit: Visits, carrier: InProcess) -> None:
    from playwright.sync_api import expect

    with opened(carrier, carrier.database.parent, Locked) as locked:
        seen = visit("/?q=red+sofa", url=locked.url)
        key = seen.page.get_by_label("This server asks for an API key")
        expect(key).to_be_visible()
        assert faults(seen.page) == []
        for secret in ("gs_wrong", KEY):
            key.fill(secret)
            seen.page.get_by_role("button", name="Use it").click()
            expect(key).to_be_visible() if secret != KEY else expect(key).to_be_hidden()
        expect(seen.page.locator("#cards article")).to_have_count(PRODUCTS)
        expect(seen.page.locator("#cards img").first).to_have_js_property("naturalWidth", 120)
        assert seen.run("Object.values(localStorage).length") == 0 and KEY not in seen.page.url


def test_a_server_that_fails_is_told_and_tried_again(visit: Visits) -> None:
    from playwright.sync_api import expect

    seen = visit()
    busy = '{"title": "Too Many Requests", "status": 429, "detail": "64 requests wait already.", "request_id": "1"}'
    seen.page.route("**/v1/search", lambda route: route.fulfill(status=429, body=busy, headers={"Retry-After": "2"}))
    search(seen.page, "sofa")
    alert = seen.page.get_by_role("alert")
    assert "The shop is busy" in alert.inner_text() and "Try again in 2 seconds." in alert.inner_text()
    seen.page.unroute("**/v1/search")
    alert.get_by_role("button", name="Try again").click()
    expect(seen.page.locator("#cards article")).to_have_count(PRODUCTS)
    seen.page.route("**/v1/search", lambda route: route.abort())
    search(seen.page, "lamp")
    assert "The server cannot be reached" in alert.inner_text()


def test_the_colours_of_the_shop_are_all_there(window: Window) -> None:
    """The other tests count on these facets."""
    assert [each["value"] for each in window.facets["attributes"]["colour"]] == sorted(COLOURS)
