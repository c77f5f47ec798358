"""Reports opened in the machine's Chromium from their files, without a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chromium import path_of_chromium

WIDE = {"width": 1280, "height": 900}


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    # Chromium's sandbox does not start for root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path_of_chromium(), args=arguments)
        yield started
        started.close()


@pytest.fixture
def open_report(browser) -> Callable:
    """Opens a file in a new window. What its console says, an error or a request for more fails the test."""
    said, asked, contexts = [], [], []

    def open_file(path: Path, viewport: dict[str, int] = WIDE, **options):
        context = browser.new_context(offline=True, viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        asked.remove(path.as_uri())
        if options.get("java_script_enabled", True):
            page.locator("#plot[data-drawn] :is(svg, canvas)").wait_for()
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert said == []
    assert asked == []
