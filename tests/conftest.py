"""Every test runs with secrets in its environment; what runs leave behind must not hold them."""

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
