"""The race explorable of the chapter on reranking, on a bare page made of its fragment."""

import shutil

import numpy as np
import pytest
from chromium import ROOT, console_errors, outside_requests, visit

RACES = 5000


@pytest.fixture(scope="module")
def page(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("race")
    shutil.copytree(ROOT / "book" / "explorables", folder / "_static")
    fragment = (folder / "_static" / "reranking.html").read_text(encoding="utf-8")
    (folder / "page.html").write_text(f"<!doctype html><meta charset=utf-8><body>{fragment}", encoding="utf-8")
    visit(chromium, folder / "page.html")
    press(chromium, "#explorable-reranking summary")
    return chromium


def press(page, selector):
    page.find_element("css selector", selector).send_keys("\ue007")
    settled(page)


def settled(page):
    page.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")


def table(page):
    """The shown rows: answer, score, wins, share, softmax."""
    rows = page.find_element("css selector", "#xr-table tbody").text.splitlines()
    return np.array([[float(part) for part in row.split()] for row in rows]).T


@pytest.mark.parametrize(("right", "answers"), [(0, 8), (4, 3), (40, 6)])
def test_wins_settle_at_the_softmax(page, right, answers):
    press(page, "#xr-reset")
    press(page, "#xr-scores")
    page.find_element("id", "xr-temperature").send_keys("\ue011" + "\ue014" * right)  # Home, then right
    page.find_element("id", "xr-samples").send_keys("\ue011" + "\ue014" * (answers - 2))
    settled(page)
    T = float(page.find_element("id", "xr-temperature-value").text)
    assert T == pytest.approx(right * 0.05)
    for _ in range(RACES // 1000):
        press(page, "#xr-often")
    answer, score, wins, share, softmax = table(page)
    assert answer.tolist() == list(range(1, answers + 1))
    assert wins.sum() == RACES + 1
    weights = np.exp((score - score.max()) / T) if T else (score == score.max()).astype(float)
    assert softmax == pytest.approx(weights / weights.sum(), abs=1e-8)
    assert share == pytest.approx(wins / wins.sum(), abs=5e-5)
    error = np.sqrt(softmax * (1 - softmax) / RACES)
    assert (np.abs(share - softmax) <= 5 * error + 1e-3).all()


def test_reset_repeats_the_first_race(page):
    press(page, "#xr-reset")
    first = table(page)
    press(page, "#xr-once")
    assert table(page)[2].sum() == 2
    press(page, "#xr-reset")
    assert (table(page) == first).all()
    assert len(page.find_element("id", "xr-race").accessible_name) > 40


def test_nothing_from_outside(page):
    assert console_errors(page) == []
    assert outside_requests(page) == []
