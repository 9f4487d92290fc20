"""Pages as a browser shows them: what a visit saw, and how well each text can be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

WIDTHS = {"desktop": 1280, "phone": 390}
NARROW = {"desktop": 1280, "phone": 360}

READABLE = """paper => {
    const bright = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = element => {
        for (let each = element; each; each = each.parentElement) {
            const colour = getComputedStyle(each).backgroundColor;
            if (!/, 0\\)$/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (texts.nextNode()) {
        const text = texts.currentNode.textContent.trim(), element = texts.currentNode.parentElement;
        if (!text || !element.checkVisibility()) continue;
        const lights = [getComputedStyle(element).color, paper || behind(element)].map(bright).sort((a, b) => b - a);
        found.push([(lights[0] + 0.05) / (lights[1] + 0.05), text]);
    }
    return found;
}"""


@dataclass
class Visit:
    """A page that is open in the browser, and what it did while it opened."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)

    def _dialog(self, dialog: Dialog) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def texts(self, selector: str) -> list[str]:
        return [re.sub(r"\s+", " ", text).strip() for text in self.page.locator(selector).all_inner_texts()]


Opened = Callable[..., Visit]


@contextmanager
def visits(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages of a server, each as somebody who was never there, on a `desktop` or a narrow `phone`."""
    contexts = []

    def at(url: str, screen: str = "desktop", scheme: Any = "light") -> Visit:
        size: Any = {"width": NARROW[screen], "height": 800}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme, is_mobile=screen == "phone", reduced_motion="reduce"))
        visit = Visit(contexts[-1].new_page())
        visit.listen()
        visit.page.goto(url)
        return visit

    try:
        yield at
    finally:
        for context in contexts:
            context.close()
