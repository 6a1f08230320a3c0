"""Fixtures of several files: planted secrets, which no run may leave behind, and a headless browser with the built book."""

import json
import os

import pytest

SECRETS = {
    "HF_TOKEN": "hf_planted0123456789",
    "MY_JUDGE_TOKEN": "planted-bearer-42",
    "AWS_SECRET_ACCESS_KEY": "planted/aws",
}


@pytest.fixture(scope="session", autouse=True)
def planted():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def assert_no_secret(planted):
    """Look for the planted values in every file of a folder, and for the home folder in what is published or printed."""

    def look(folder, least):
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in files:
            content = file.read_bytes()
            assert not any(secret.encode() in content for secret in SECRETS.values()), file
            if file.suffix == ".ipynb":
                content = json.dumps([cell.get("outputs") for cell in json.loads(content)["cells"]]).encode()
            if file.suffix in (".ipynb", ".parquet", ".csv", ".html") or file.name == "manifest.json":
                assert f"{os.path.expanduser('~')}{os.sep}".encode() not in content, file
        assert {file.name for file in files} >= set(least)

    return look


@pytest.fixture(scope="session")
def book():
    """The built book's folder, or a skip that says how to build it."""
    import chromium as browser  # tests/browser/chromium.py

    folder = browser.book_folder()
    if not (folder / "index.html").exists():
        pytest.skip(f"no built book in {folder}: run `make book`, or set BOOK_HTML")
    return folder


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, or a skip that says how to get one."""
    import chromium as browser

    reason = browser.missing()
    if reason:
        pytest.skip(reason)
    with browser.opened() as opened:
        yield opened
