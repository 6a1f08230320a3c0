"""check_pages.py sees each kind of broken page, and nothing wrong in a sound one."""

import check_pages
import chromium as browser
import pytest

SOUND = """<html><head><link rel="stylesheet" href="_static/book.css?v=1"><link rel="canonical" href="https://a.invalid/">
<script src="_static/book.js"></script></head><body><h1 id="top-of-it">Book</h1><a href="#top-of-it">here</a>
<a href="next%20page.html#part">next</a><a href="https://a.invalid/x">elsewhere</a><img src="data:image/png;base64,">
</body></html>"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "book.css").write_text("/* url(gone.png) */ body { background: url('dot.svg#a') }")
    (tmp_path / "_static" / "dot.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "_static" / "book.js").write_text("")
    (tmp_path / "index.html").write_text(SOUND)
    (tmp_path / "next page.html").write_text("<p id='part'>text</p>")
    return tmp_path


def add(site, markup):
    (site / "index.html").write_text(SOUND.replace("</body>", markup + "</body>"))


def test_sound_site(site, capsys):
    assert check_pages.main([str(site), "--static"]) == 0
    assert capsys.readouterr().out == "2 pages, 8 links and resources, read only: no problem\n"


@pytest.mark.parametrize(("markup", "problem"), [
    ("<a href='gone.html'>x</a>", "dead link: gone.html"),
    ("<a href='next%20page.html#gone'>x</a>", "no such anchor: next%20page.html#gone"),
    ("<a href='#gone'>x</a>", "no such anchor: #gone"),
    ("<a href='../other.html'>x</a>", "points out of the book: ../other.html"),
    ("<img src='gone.png'>", "missing resource: gone.png"),
    ("<img srcset='_static/dot.svg 1x, gone.png 2x'>", "missing resource: gone.png"),
    ("<script src='https://a.invalid/x.js'></script>", "loads from outside: https://a.invalid/x.js"),
    ("<script src='//a.invalid/x.js'></script>", "loads from outside: //a.invalid/x.js"),
    ("<link rel='preconnect' href='https://a.invalid'>", "loads from outside: https://a.invalid"),
    ("<style>@import 'https://a.invalid/x.css';</style>", "loads from outside: https://a.invalid/x.css"),
    ("<p style='background: url(gone.png)'>", "missing resource: gone.png"),
    ("<meta http-equiv='Refresh' content='0; url=gone.html'>", "dead link: gone.html"),
])
def test_broken_page_is_named(site, capsys, markup, problem):
    add(site, markup)
    assert check_pages.main([str(site), "--static"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"index.html: {problem}" and lines[1].endswith(": 1 problem") and len(lines) == 2


def test_style_sheets_are_followed(site, capsys):
    (site / "_static" / "book.css").write_text("@import url(more.css);")
    (site / "_static" / "more.css").write_text("@font-face { src: url('https://a.invalid/font.woff2') }")
    assert check_pages.main([str(site), "--static"]) == 1
    assert "_static/more.css loads from outside: https://a.invalid/font.woff2" in capsys.readouterr().out


def test_no_book(tmp_path, capsys):
    assert check_pages.main([str(tmp_path)]) == 1
    assert "run `make book`" in capsys.readouterr().out


@pytest.mark.skipif(browser.missing() is not None, reason=browser.missing() or "")
def test_what_a_script_asks_for_is_seen(site, capsys):
    assert check_pages.main([str(site)]) == 0
    (site / "_static" / "book.js").write_text("new Image().src = 'https://a' + '.invalid/x.png';")
    assert check_pages.main([str(site)]) == 1
    assert "index.html: asked the outside for https://a.invalid/x.png" in capsys.readouterr().out
    (site / "_static" / "book.js").write_text("const x = 1; const x = 2;")
    assert check_pages.main([str(site)]) == 1
    assert "console error" in capsys.readouterr().out
