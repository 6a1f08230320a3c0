"""Every built page as a reader meets it: maths without a network, both themes, a phone's width."""

import pytest
from chromium import console_errors, outside_requests, pages, resize, visit

PHONE = 420
LUMINANCE = """
    const colour = getComputedStyle(arguments[0])[arguments[1]].match(/[0-9.]+/g).slice(0, 3).map(Number);
    const linear = colour.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
"""


@pytest.fixture(scope="module")
def built(book):
    return [path for path in pages(book) if path.name not in ("index.html", "genindex.html", "search.html")]


def test_maths_render_with_the_network_closed(built, chromium):
    with_maths = [path for path in built if 'class="math' in path.read_text(encoding="utf-8")]
    if not with_maths:
        pytest.skip("the built book has no page with maths")
    resize(chromium, 1300)
    for path in with_maths:
        visit(chromium, path)
        sources, typeset, failed = chromium.execute_script(
            "return ['.math', '.math mjx-container', 'mjx-merror'].map(s => document.querySelectorAll(s).length)")
        assert typeset >= sources > 0, f"{path.name}: {typeset} of {sources} formulas typeset"
        assert failed == 0, f"{path.name}: {failed} formulas with an error"
        fonts = chromium.execute_script(
            "return document.fonts.ready.then(f => [...f].filter(x => x.family.startsWith('MJX') && x.status == 'error').length)")
        assert fonts == 0, f"{path.name}: {fonts} MathJax fonts did not load"
        assert outside_requests(chromium) == [], path.name
        assert console_errors(chromium) == [], path.name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_theme_applies(built, chromium, theme):
    resize(chromium, 1300)
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia",
                             {"features": [{"name": "prefers-color-scheme", "value": theme}]})
    try:
        for path in built:
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


def test_no_page_scrolls_sideways_on_a_phone(built, chromium):
    resize(chromium, PHONE)
    wide = {}
    for path in built:
        visit(chromium, path)
        across = chromium.execute_script("return document.documentElement.scrollWidth")
        if across > PHONE:
            wide[path.name] = across
    assert wide == {}
