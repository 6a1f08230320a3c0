"""Check a built book: every internal link resolves, and no page asks anything from outside.

    python tests/browser/check_pages.py book/_build/html

Reads all pages and the style sheets they load (links, anchors, images,
scripts, fonts), then opens every page in headless Chromium and listens to
what it asks for. Prints one line per problem and a summary; exit status 1 if
there is any problem. --static leaves the browser out.
"""

import argparse
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import chromium as browser

# what a browser fetches by itself when it shows a page, tag -> attributes
LOADED = {
    "script": ("src",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",), "embed": ("src",),
    "audio": ("src",), "video": ("src", "poster"), "track": ("src",), "object": ("data",), "input": ("src",),
    "use": ("href", "xlink:href"), "image": ("href", "xlink:href"),
}
LOADING_RELATIONS = {"stylesheet", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "icon",
                     "apple-touch-icon", "manifest"}
CSS_ADDRESS = re.compile(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)'"\s]*))\s*\)|@import\s+["']([^"']+)["']""")
REFRESH = re.compile(r"url\s*=\s*['\"]?([^'\";]+)", re.IGNORECASE)


class Page(HTMLParser):
    """Collect a page's anchors, the places it links to and the resources it loads."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.anchors, self.links, self.resources = {"", "top"}, [], []
        self.in_style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = {name: value for name, value in attributes if value is not None}
        self.anchors.update(filter(None, [values.get("id"), values.get("name") if tag == "a" else None]))
        self.in_style = tag == "style"
        if tag in ("a", "area") and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "href" in values:
            loads = LOADING_RELATIONS & set(values.get("rel", "").lower().split())
            (self.resources if loads else self.links).append(values["href"])
        elif tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            self.links += REFRESH.findall(values.get("content", ""))
        for name in LOADED.get(tag, ()):
            if name == "srcset":
                self.resources += [part.split()[0] for part in values.get(name, "").split(",") if part.strip()]
            elif name in values:
                self.resources.append(values[name])
        self.resources += css_addresses(values.get("style", ""))

    def handle_endtag(self, tag):
        self.in_style = False

    def handle_data(self, data):
        if self.in_style:
            self.resources += css_addresses(data)


def css_addresses(text):
    """Return every url(...) and @import of a style sheet."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return [next(filter(None, found), "") for found in CSS_ADDRESS.findall(text)]


class Book:
    """The built pages and what is wrong with them."""

    def __init__(self, folder):
        self.folder = folder.resolve()
        self.files = browser.pages(self.folder)
        self.parsed = {path: Page(path.read_text(encoding="utf-8")) for path in self.files}
        self.sheets = {}
        self.checked = 0

    def where(self, path):
        return path.relative_to(self.folder).as_posix()

    def target(self, source, address):
        """Return (file, anchor) for an address inside the book, None for one that is not a file's."""
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            return None
        path = unquote(urlsplit(urljoin(source.as_uri(), parts.path or source.name)).path)
        file = Path(path)
        return (file / "index.html" if file.is_dir() else file), unquote(parts.fragment)

    def check_address(self, source, address, loaded):
        """Yield what is wrong with one address found in `source`."""
        self.checked += 1
        address = address.strip()
        scheme = urlsplit(address).scheme
        if scheme in ("data", "javascript", "mailto", "blob"):
            return
        if scheme or address.startswith("//"):
            if loaded:
                yield f"loads from outside: {address}"
            return
        file, anchor = self.target(source, address)
        if not file.is_relative_to(self.folder):
            yield f"points out of the book: {address}"
        elif not file.is_file():
            yield f"{'missing resource' if loaded else 'dead link'}: {address}"
        elif loaded and file.suffix == ".css":
            yield from self.check_sheet(file)
        elif not loaded and anchor and file in self.parsed and anchor not in self.parsed[file].anchors:
            yield f"no such anchor: {address}"

    def check_sheet(self, sheet):
        """Yield what is wrong with a style sheet, once for the whole book."""
        if sheet in self.sheets:
            return
        self.sheets[sheet] = True
        for address in css_addresses(sheet.read_text(encoding="utf-8")):
            if address and not address.startswith("#"):
                for problem in self.check_address(sheet, address, loaded=True):
                    yield f"{self.where(sheet)} {problem}"

    def static_problems(self):
        """Yield (page, problem) from reading the pages and their style sheets."""
        for path, page in self.parsed.items():
            seen = set()
            for loaded, addresses in ((False, page.links), (True, page.resources)):
                for address in addresses:
                    if (loaded, address) not in seen:
                        seen.add((loaded, address))
                        for problem in self.check_address(path, address, loaded):
                            yield path, problem

    def seen_problems(self):
        """Yield (page, problem) from opening every page in a browser without a network."""
        with browser.opened() as chromium:
            for path in self.files:
                browser.visit(chromium, path)
                asked = {}
                for entry in chromium.get_log("performance"):
                    message = json.loads(entry["message"])["message"]
                    values = message["params"]
                    if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
                        asked[values["requestId"]] = values.get("request", values)["url"]
                    elif message["method"] == "Network.loadingFailed" and not values.get("canceled"):
                        address = asked.get(values["requestId"], "")
                        if address.startswith("file:"):
                            name = address.removeprefix(self.folder.as_uri() + "/")
                            yield path, f"did not load: {name} ({values['errorText']})"
                for address in dict.fromkeys(asked.values()):
                    if not address.startswith(browser.INSIDE):
                        yield path, f"asked the outside for {address}"
                for message in browser.console_errors(chromium):
                    yield path, f"console error: {message}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of built pages, such as book/_build/html")
    parser.add_argument("--static", action="store_true", help="read the pages only, without a browser")
    options = parser.parse_args(arguments)
    if not (options.folder / "index.html").is_file():
        print(f"no built book in {options.folder}: run `make book`")
        return 1
    book = Book(options.folder)
    problems = list(book.static_problems())
    how = "read only"
    if not options.static:
        reason = browser.missing()
        if reason:
            print(f"{reason}; --static checks without a browser")
            return 1
        problems += book.seen_problems()
        how = "each opened in a browser without a network"
    for path, problem in problems:
        print(f"{book.where(path)}: {problem}")
    print(f"{len(book.files)} pages, {book.checked} links and resources, {how}: "
          + f"{len(problems) or 'no'} problem{'s' if len(problems) > 1 else ''}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
