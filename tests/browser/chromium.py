"""Open the built book in headless Chromium, cut off from the network, and say what each page asked for.

Used by the tests beside this file and by check_pages.py. Needs Debian's
chromium and chromium-driver, or $CHROMIUM and $CHROMEDRIVER; nothing is ever
downloaded.
"""

import json
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--force-device-scale-factor=1", "--no-first-run", "--disable-extensions", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",  # no name outside resolves
]
INSIDE = ("file:", "data:", "blob:", "about:")  # addresses that leave no page
SETTLED = """
    const done = arguments[arguments.length - 1];
    const settle = () => {
      const maths = window.MathJax && MathJax.startup && MathJax.startup.promise;
      Promise.resolve(maths).then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(true))), done);
    };
    if (document.readyState === "complete") settle(); else addEventListener("load", settle);
"""


def book_folder():
    """Return the folder of built pages: $BOOK_HTML, else book/_build/html."""
    return Path(os.environ.get("BOOK_HTML", ROOT / "book" / "_build" / "html")).resolve()


def pages(folder):
    """Return the built pages, without the fragments and templates under _static."""
    return sorted(path for path in folder.rglob("*.html") if "_static" not in path.relative_to(folder).parts)


def programs():
    """Return the paths of the browser and its driver, None where one is missing."""
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    return browser, os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")


def missing():
    """Return why the browser cannot be used, or None where it can."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed: pip install -e '.[test]'"
    browser, driver = programs()
    if not browser or not driver:
        return "no chromium with chromedriver here (Debian: apt-get install chromium chromium-driver)"
    return None


@contextmanager
def opened(width=1300, height=1000):
    """Give a headless Chromium of the given window size, closed on leaving."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    browser, driver = programs()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(driver))
    try:
        chromium.set_script_timeout(60)
        resize(chromium, width, height)
        yield chromium
    finally:
        chromium.quit()


def resize(chromium, width, height=1000):
    """Set the size of the page area in CSS pixels."""
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                             {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})


def visit(chromium, page):
    """Load a built page from file:// and wait until its maths are typeset."""
    chromium.get(Path(page).as_uri())
    chromium.execute_async_script(SETTLED)


def outside_requests(chromium):
    """Return the addresses asked for since the last call that are not files of the book, each once."""
    seen = []
    for entry in chromium.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            address = message["params"].get("request", message["params"])["url"]
            if not address.startswith(INSIDE) and address not in seen:
                seen.append(address)
    return seen


def console_errors(chromium):
    """Return the error lines of the page's console since the last call."""
    return [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
