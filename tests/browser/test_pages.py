"""Every built page as a reader meets it: maths without a network, both themes, a phone's width."""

import pytest
from chromium import console_errors, outside_requests, pages, resize, visit

PHONE = 420
FACTS = """
    const done = arguments[arguments.length - 1];
    const count = selector => document.querySelectorAll(selector).length;
    document.fonts.ready.then(fonts => done({
      formulas: count(".math"), typeset: count(".math mjx-container"), refused: count("mjx-merror"),
      fonts_missing: [...fonts].filter(font => font.family.startsWith("MJX") && font.status == "error").length,
    }));
"""
WIDTH = """
    const done = arguments[arguments.length - 1];
    requestAnimationFrame(() => requestAnimationFrame(() => done(document.documentElement.scrollWidth)));
"""
LUMINANCE = """
    const colour = getComputedStyle(arguments[0])[arguments[1]].match(/[0-9.]+/g).slice(0, 3).map(Number);
    const linear = colour.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
"""
FIGURES = """
    return [...document.querySelectorAll(".bd-article figure img")].filter(image => image.getClientRects().length)
      .map(image => [image.closest("figure").id, image.getBoundingClientRect().width / image.naturalWidth,
                     Boolean(image.closest(".figure-box")), image.alt]);
"""


@pytest.fixture(scope="module")
def built(book):
    return [path for path in pages(book) if path.name not in ("index.html", "genindex.html", "search.html")]


@pytest.fixture(scope="module")
def seen(built, chromium):
    """What a browser without a network made of each page, desktop and phone: page name -> facts."""
    facts = {}
    for path in built:
        resize(chromium, 1300)
        visit(chromium, path)
        facts[path.name] = chromium.execute_async_script(FACTS)
        resize(chromium, PHONE)
        facts[path.name] |= {"width": chromium.execute_async_script(WIDTH), "figures": chromium.execute_script(FIGURES),
                             "errors": console_errors(chromium), "outside": outside_requests(chromium)}
    return facts


def test_maths_render_with_the_network_closed(seen):
    assert sum(page["formulas"] for page in seen.values()) > 0
    for name, page in seen.items():
        assert page["typeset"] >= page["formulas"], f"{name}: {page['typeset']} of {page['formulas']} formulas typeset"
        assert page["refused"] == 0, f"{name}: {page['refused']} formulas with an error"
        assert page["fonts_missing"] == 0, f"{name}: {page['fonts_missing']} MathJax fonts did not load"


def test_pages_ask_nothing_from_outside_and_raise_no_error(seen):
    assert {name: page["outside"] for name, page in seen.items() if page["outside"]} == {}
    assert {name: page["errors"] for name, page in seen.items() if page["errors"]} == {}


def test_no_page_scrolls_sideways_on_a_phone(seen):
    assert {name: page["width"] for name, page in seen.items() if page["width"] > PHONE} == {}


def test_figures_stay_readable_on_a_phone(seen):
    """Drawn at 150 dots an inch, 9 points are 18.75 pixels: at 0.48 of that, 9 pixels. What does not fit scrolls."""
    figures = [(name, *figure) for name, page in seen.items() for figure in page["figures"]]
    assert figures
    for name, figure, scale, boxed, description in figures:
        assert scale > 0.475, f"{name}: {figure} at {scale:.2f} of its size"
        assert boxed and description, f"{name}: {figure} has no box or no description"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_applies(built, chromium, theme):
    """On the first page and those with an explorable: the theme itself is the same on every page."""
    some = [path for path in built if path.name == "intro.html" or "data-explorable" in path.read_text(encoding="utf-8")]
    resize(chromium, 1300)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia",
                             {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    try:
        for path in some:
            visit(chromium, path)
            assert chromium.execute_script("return document.documentElement.dataset.theme") == theme, path.name
            surfaces = [chromium.find_element("tag name", "body"), *chromium.find_elements("css selector", ".explorable")]
            for surface in surfaces:
                ground = chromium.execute_script(LUMINANCE, surface, "backgroundColor")
                text = chromium.execute_script(LUMINANCE, surface, "color")
                assert (ground > 0.8) if theme == "light" else (ground < 0.05), f"{path.name}: ground {ground:.2f}"
                contrast = (max(ground, text) + 0.05) / (min(ground, text) + 0.05)
                assert contrast >= 4.5, f"{path.name}: contrast {contrast:.1f}"
    finally:
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
