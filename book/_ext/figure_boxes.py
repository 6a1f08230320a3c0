"""Give every figure a box of its own, in which it stays large enough to read.

A figure shrinks with its page until its words would be too small, then it
scrolls sideways in its box (pages.css). A click on it opens the picture
alone. The size of the picture is written into the page, so that nothing moves
when it arrives.
"""

import re
import struct
from pathlib import Path

FIGURE = re.compile(r'(<figure\b[^>]*>\s*)<img\b([^>]*\bsrc="([^"]*\b_images/([^"/]+\.png))"[^>]*?)/?>')


def png_size(path):
    """Return width and height in pixels from the head of a PNG file."""
    head = Path(path).read_bytes()[:24]
    return struct.unpack(">II", head[16:24])


def box_figures(body, sizes):
    """Return the page `body` with each figure of `sizes` (file name -> pixels) in a box."""

    def box(found):
        start, attributes, address, name = found.groups()
        if name not in sizes:
            return found.group()
        width, height = sizes[name]
        return (f'{start}<div class="figure-box" style="--drawn: {width}px">'
                f'<a href="{address}" title="Open the figure alone">'
                f'<img width="{width}" height="{height}"{attributes}/></a></div>')

    return FIGURE.sub(box, body)


def box_page(app, pagename, templatename, context, doctree):
    """Box the figures of one page before it is written."""
    images = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}
    sizes = {name: png_size(path) for name, path in images.items() if path.suffix == ".png" and path.is_file()}
    context["body"] = box_figures(context.get("body", ""), sizes)


def setup(app):
    app.connect("html-page-context", box_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
