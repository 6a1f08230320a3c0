"""A headless browser and the built book, or a skip that says how to get them."""

import chromium as browser
import pytest


@pytest.fixture(scope="session")
def book():
    folder = browser.book_folder()
    if not (folder / "index.html").exists():
        pytest.skip(f"no built book in {folder}: run `make book`, or set BOOK_HTML")
    return folder


@pytest.fixture(scope="module")
def chromium():
    reason = browser.missing()
    if reason:
        pytest.skip(reason)
    with browser.opened() as opened:
        yield opened
