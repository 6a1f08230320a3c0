"""The explorable of the Gaussian chapter, in a real browser: its sliders, its shown numbers, its manners.

The numbers are read from the page as a reader sees them and compared with
bestofk.gaussian. EXPLORABLE_SEED repeats a run's settings.
"""

import os
import random
import secrets
import statistics

import numpy as np
import pytest
from chromium import console_errors, outside_requests, resize, visit

from bestofk.gaussian import reranked_loss

SETTINGS = 20
STOPS = {"bias": 120, "misspecification": 120, "temperature": 122, "samples": 50}
# the page works in units of s from the teacher; the library is asked in others
STD, TEACHER = 0.7, -1.3


def library(k, bias, misspecification, T):
    return reranked_loss(k, T * STD**2, mean=TEACHER + bias * STD, std=STD, teacher=TEACHER,
                         reward=TEACHER + misspecification * STD) / STD**2


def unlimited(bias, misspecification, T):
    """k -> infinity: the predictive tilted by exp(reward / T) is again Gaussian."""
    if T == np.inf:
        return 1 + bias**2
    precision = 1 + (2 / T if T else np.inf)
    mean = misspecification if T == 0 else (bias + misspecification * 2 / T) / precision
    return 1 / precision + mean**2


def number(text):
    """Read a number as the page writes it."""
    text = text.replace("\u2212", "-").replace("\u202f", "").replace("\xa0", "").replace("\u221e", "inf").strip()
    if "\u00d7" in text:
        mantissa, power = text.split("\u00d7")
        superscripts = str.maketrans("\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "-0123456789")
        return float(mantissa) * 10.0 ** int(power.strip()[2:].translate(superscripts))
    return float(text)


@pytest.fixture(scope="module")
def page(book, chromium):
    path = book / "gaussian.html"
    if not path.exists():
        pytest.skip("the built book has no chapter `gaussian`")
    resize(chromium, 1300)
    chromium.get_log("performance"), chromium.get_log("browser")
    visit(chromium, path)
    press(chromium, "#explorable-gaussian details summary")
    return chromium


def press(page, selector):
    """Press a button with the keyboard (the theme's smooth scrolling upsets clicks)."""
    page.find_element("css selector", selector).send_keys("\ue007")
    settled(page)


def shown(page, name):
    return page.find_element("id", f"xg-{name}").text


def settled(page):
    page.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")


def move(page, stops):
    """Move the real sliders, with the keyboard, to the given stops."""
    from selenium.webdriver.common.keys import Keys

    for name, stop in stops.items():
        slider = page.find_element("id", f"xg-{name}")
        near_end = stop > STOPS[name] / 2
        keys = [Keys.END, Keys.ARROW_LEFT * (STOPS[name] - stop)] if near_end else [Keys.HOME, Keys.ARROW_RIGHT * stop]
        slider.send_keys("".join(keys))
    settled(page)


def read(page):
    """Everything a reader can read off the explorable."""
    table = {}
    # an element's text is what is displayed of it
    for row in page.find_element("css selector", "#xg-table tbody").text.splitlines():
        name, value = row.rsplit(None, 1)
        table[name] = float(value)
    sliders = {name: number(shown(page, f"{name}-value")) for name in STOPS}
    numbers = {name: shown(page, name) for name in ["single", "loss", "best", "best-loss", "unlimited"]}
    return sliders, table, numbers, shown(page, "regime")


def check_best(best, regime, curve, law):
    """The named regime and the shown best k against the library's curve."""
    grid = np.unique(np.round(np.geomspace(1, 10**6, 300)).astype(int))
    losses = curve(grid)
    if regime == "No selection.":
        assert np.ptp(losses) <= 1e-12
    elif regime == "More samples help.":
        assert best == "\u221e"
        assert (np.diff(losses) <= 1e-12 * losses[1:]).all()
    elif regime == "Selection harms.":
        assert best == "1"
        assert losses.argmin() == 0 and curve(2) >= losses[0]
    else:
        assert regime == "There is a best k."
        if best == "> 10\u2076":
            assert losses.argmin() == len(grid) - 1 and losses[-1] < law
        else:
            k = int(number(best))
            assert 1 < k < 10**6
            around = np.array([k - 1, k, k + 1])
            least = min(losses.min(), curve(around).min())
            assert curve(k) <= least * (1 + 1e-11)
            assert curve(k) < law


def test_shown_numbers_are_the_library_s(page, capsys):
    seed = int(os.environ.get("EXPLORABLE_SEED") or secrets.randbelow(10**6))
    with capsys.disabled():
        print(f"\nEXPLORABLE_SEED={seed}")
    choose = random.Random(seed)
    milliseconds = []
    for turn in range(SETTINGS):
        stops = {name: choose.randint(0, last) for name, last in STOPS.items()}
        if turn < 2:
            stops["temperature"] = [0, 122][turn]  # both ends, whatever the draw
        move(page, stops)
        sliders, table, numbers, regime = read(page)
        where = f"EXPLORABLE_SEED={seed}, setting {turn}: {sliders}"
        assert sliders["bias"] == pytest.approx(-3 + 0.05 * stops["bias"]), where
        law = (sliders["bias"], sliders["misspecification"], sliders["temperature"])
        limit = unlimited(*law)
        assert len(table) >= 8, where
        for name, value in table.items():
            k = name.removeprefix("best, ")
            if k == "\u221e":
                expected = limit
            elif k == "> 10\u2076":
                expected = library(10**6, *law)
            else:
                expected = library(int(number(k)), *law)
            assert value == pytest.approx(expected, rel=1e-6, abs=1e-15), f"{where}, k = {name}"
        rounded = {"single": library(1, *law), "loss": library(int(sliders["samples"]), *law), "unlimited": limit}
        for name, expected in rounded.items():
            assert number(numbers[name]) == pytest.approx(expected, rel=5.1e-3, abs=1e-12), f"{where}, {name}"
        check_best(numbers["best"], regime, lambda k: library(k, *law), limit)
        milliseconds.append(page.execute_script("return window.bestofkExplorables.gaussian.state().milliseconds"))
    assert statistics.median(milliseconds) < 50, milliseconds
    assert console_errors(page) == []
    assert outside_requests(page) == []


def test_engine_between_the_slider_stops(page):
    choose = random.Random(7)
    ks = [1, 2, 3, 5, 10, 100, 10**3, 10**4, 10**5, 10**6]
    worst = 0.0
    for turn in range(60):
        T = 0.0 if turn % 10 == 0 else 10 ** choose.uniform(-3, 3)
        bias = choose.uniform(-3, 3)
        misspecification = 0.0 if turn % 7 == 0 else choose.uniform(-3, 3)
        ours = page.execute_script(
            "const e = window.bestofkExplorables.gaussian.engine(arguments[0], arguments[1], arguments[2]);"
            "return arguments[3].map(k => e.loss(k))", bias, misspecification, T, ks)
        exact = library(np.array(ks), bias, misspecification, T)
        worst = max(worst, np.abs(np.array(ours) / exact - 1).max())
    assert worst < 1e-8, worst


def test_named_starts_show_their_regimes(page):
    expected = {"aligned": "More samples help.", "overshooting": "There is a best k.",
                "softened": "More samples help.", "repelling": "Selection harms."}
    for start, regime in expected.items():
        press(page, f"[data-start={start}]")
        assert shown(page, "regime") == regime


def test_reset_and_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    reset = page.find_element("css selector", "[data-start=reset]")
    press(page, "[data-start=reset]")
    before = read(page)
    move(page, {"bias": 3, "temperature": 100})
    assert read(page) != before
    press(page, "[data-start=reset]")
    assert read(page) == before
    slider = page.find_element("id", "xg-bias")
    assert "Bias of the model" in slider.accessible_name
    slider.send_keys(Keys.ARROW_RIGHT)
    settled(page)
    assert shown(page, "bias-value") == "+1.05"
    assert slider.get_attribute("aria-valuetext") == "1.05 standard deviations"
    reset.send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("id") == "xg-bias"
    for name in STOPS:
        assert page.find_element("id", f"xg-{name}").accessible_name
    for picture in page.find_elements("css selector", "#explorable-gaussian svg"):
        assert len(picture.accessible_name) > 40


def test_dragging_the_reward_target_moves_its_slider(page):
    from selenium.webdriver import ActionChains

    press(page, "[data-start=reset]")
    handle = page.find_element("css selector", "[data-drag=misspecification]")
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", handle)
    ActionChains(page).click_and_hold(handle).move_by_offset(60, 0).release().perform()
    settled(page)
    assert number(shown(page, "misspecification-value")) > -0.5


def test_only_this_page_loads_the_script(book):
    holders = {path.name for path in book.glob("*.html") if "gaussian-engine.js" in path.read_text(encoding="utf-8")}
    assert holders == {path.name for path in book.glob("*.html")
                       if 'data-explorable="gaussian"' in path.read_text(encoding="utf-8")}
