"""The notation page names chapters that use its symbols, the first of them first, and names that the library has."""

import dataclasses
import inspect
import re
from pathlib import Path

import nbformat
import pytest
import yaml

from bestofk import (
    allocation,
    artifacts,
    expansion,
    extremes,
    frozen,
    gaussian,
    optimum,
    particles,
    pool,
    regression,
    reranking,
    steps,
)
from bestofk.pool import prediction

BOOK = Path(__file__).resolve().parents[1] / "book"
MODULES = {
    module.__name__.split(".")[-1]: module
    for module in [allocation, artifacts, expansion, extremes, frozen, gaussian]
    + [optimum, particles, pool, prediction, regression, reranking, steps]
}


def _chapters():
    """Chapter -> its markdown, in the order of the table of contents, up to the notation page."""
    found = {}
    for part in yaml.safe_load((BOOK / "_toc.yml").read_text())["parts"]:
        for entry in part["chapters"]:
            if entry["file"] == "notation":
                return found
            cells = nbformat.read(BOOK / f"{entry['file']}.ipynb", as_version=4).cells
            found[entry["file"]] = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    raise AssertionError("the table of contents has no notation page")


CHAPTERS = _chapters()
MATH = {name: re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, re.S) for name, text in CHAPTERS.items()}
ROWS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in (BOOK / "notation.md").read_text().splitlines()
    if line.startswith("|") and "{doc}" in line
]


def _links(row):
    """Chapters that a row names as places of use: the last cell (a side remark may sit in another cell)."""
    return re.findall(r"\{doc\}`[^`<]*<(\w+)>`", row[-1])


def _symbols():
    """Symbol -> chapters linked in all of its rows."""
    found = {}
    for row in ROWS:
        for symbol in re.findall(r"\$([^$]+)\$", row[0]):
            found.setdefault(symbol, []).extend(_links(row))
    return found


SYMBOLS = _symbols()


def _tokens(latex):
    """Commands and characters, without blanks, words and script letters."""
    latex = re.sub(r"\\(?:text|operatorname|mathrm|begin|end)\{[^}]*\}|\\math(?:cal|bb|rm) ?\{?[A-Za-z]", "?", latex)
    return " " + " ".join(re.findall(r"\\[A-Za-z]+|\\?\S", latex)) + " "


FORMULAS = {name: [_tokens(span) for span in spans] for name, spans in MATH.items()}


def _users(symbol):
    """Chapters with the symbol in a formula. A Greek letter with an index is another symbol than the bare letter."""
    bare = re.fullmatch(r"\\[A-Za-z]+", symbol)
    pattern = re.compile(re.escape(_tokens(symbol)) + ("(?!_)" if bare else ""))
    return [name for name, spans in FORMULAS.items() if any(pattern.search(span) for span in spans)]


def test_every_row_links_to_chapters():
    assert len(ROWS) > 80
    for row in ROWS:
        assert _links(row) and set(_links(row)) <= set(CHAPTERS), row


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_linked_chapters_use_the_symbol(symbol):
    """Every chapter linked for a symbol holds the symbol's LaTeX in a formula.

    For one Latin letter this shows only that the letter occurs there, in whatever meaning.
    """
    users = _users(symbol)
    assert set(SYMBOLS[symbol]) <= set(users), f"${symbol}$ is in {users}"


@pytest.mark.parametrize("symbol", [symbol for symbol in SYMBOLS if len(symbol) > 1])
def test_first_use_is_first(symbol):
    """No chapter before the first linked one has the symbol's LaTeX in a formula.

    Decided for Greek letters and for symbols with an index, a star, a hat or an argument. It is not
    decided for single Latin letters (m, s, t, V, N, ...): a text search cannot tell the predictive mean m
    from another m, or N from the sign of the normal law. A symbol with rows of several meanings is tested
    once, its earliest link against its earliest occurrence; which meaning a chapter uses is not tested.
    """
    order = list(CHAPTERS)
    assert min(SYMBOLS[symbol], key=order.index) == _users(symbol)[0]


def test_words_occur_in_the_linked_chapter():
    """Words of the language-model table: only that the linked chapter has them, not that it is the first."""
    words = [(row[0].strip("*"), _links(row)) for row in ROWS if row[0].startswith("*")]
    assert words
    for word, (chapter,) in words:
        assert re.search(rf"\b{word}", CHAPTERS[chapter], re.I), f"{word!r} is not in {chapter}"


def _library():
    """Dotted functions and classes, parameters of functions, and fields of classes, of the public library."""
    functions, parameters, fields = set(), set(), set()
    for short, module in MODULES.items():
        for name, thing in vars(module).items():
            if name.startswith("_") or not getattr(thing, "__module__", "").startswith("bestofk"):
                continue
            functions.add(f"{short}.{name}")
            if inspect.isfunction(thing):
                parameters |= set(inspect.signature(thing).parameters)
            elif dataclasses.is_dataclass(thing):
                fields |= {"." + field.name for field in dataclasses.fields(thing)}
                fields |= {"." + key for key, value in vars(thing).items() if isinstance(value, property)}
    return functions | parameters | fields


def test_code_names_exist():
    names = _library()
    for row in ROWS:
        if len(row) == 4:
            for name in re.findall(r"`([^`]+)`", row[2]):
                assert name in names, f"{row[0]}: the library has no {name}"
