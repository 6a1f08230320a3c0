"""Fixtures of several files: planted secrets, which no run may leave behind, a tiny model, a browser with the built book."""

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
def tiny_llama(tmp_path_factory):
    """A random-weight Llama with the embedded model's tokenizer, as a directory; read it, do not change it."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from bestofk_runs.engines import models

    try:
        source = models.resolve("smollm2")
    except ValueError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.path)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.6,
        bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
