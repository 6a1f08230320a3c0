"""The vLLM engine for real: ``make test-vllm`` runs this file in its own environment (vLLM's CPU build or a GPU)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed in this environment: make test-vllm")

from bestofk import artifacts  # noqa: E402
from bestofk_runs import engines, tasks  # noqa: E402

NOTEBOOK = Path(__file__).parents[1] / "gpu_runs" / "generate.ipynb"
PROMPTS = [problem.prompt for problem in tasks.load("boxes", limit=2).problems]


@pytest.fixture(scope="module")
def engine():
    return engines.load("vllm", "smollm2", max_model_len=512)


@pytest.fixture(scope="module")
def plain():
    return engines.load("transformers", "smollm2", dtype="float32")


def test_greedy_completions_are_those_of_the_other_engine(engine, plain):
    options = {"sampling_temperature": 0, "max_tokens": 24, "stop": ["\n"], "seeds": [0, 0]}
    for mine, theirs in zip(engine.generate(PROMPTS, 1, **options), plain.generate(PROMPTS, 1, **options)):
        assert (mine[0].text, mine[0].finish_reason, mine[0].tokens) == (theirs[0].text, "stop", theirs[0].tokens)
        # bfloat16 against float32, summed over the tokens
        assert mine[0].logprob == pytest.approx(theirs[0].logprob, abs=0.15 * mine[0].tokens)


def test_samples_of_a_prompt_have_their_own_seeds_and_repeat(engine):
    options = {"sampling_temperature": 1.0, "max_tokens": 24, "stop": ["\n"]}
    first = engine.generate(PROMPTS[1:], 8, seeds=[1000], **options)[0]
    assert [c.seed for c in first] == list(range(1000, 1008)) and len({c.text for c in first}) > 1
    # sample 3 alone, by its recorded seed: the same text, as far as batching allows
    again = [engine.generate(PROMPTS[1:], 1, seeds=[c.seed], **options)[0][0].text for c in first]
    assert sum(a == c.text for a, c in zip(again, first)) >= 6


def test_truncation_is_flagged(engine):
    short = engine.generate(PROMPTS[:1], 2, sampling_temperature=0.7, max_tokens=3, seeds=[0])[0]
    assert all(c.finish_reason == "length" and c.tokens == 3 for c in short)


def test_the_notebook_with_vllm(tmp_path):
    command = [sys.executable, "-m", "papermill", str(NOTEBOOK), str(tmp_path / "out.ipynb"), "--no-progress-bar"]
    given = {
        "run": "v",
        "root": tmp_path,
        "engine": "vllm",
        "limit": 4,
        "samples": 4,
        "max_tokens": 24,
        "shard_size": 2,
    }
    for name, value in given.items():
        command += ["-p", name, str(value)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    pool = artifacts.load("v", root=tmp_path)
    assert pool.shape == (4, 4) and pool.manifest["model"]["engine"] == "vllm"
    assert pool.manifest["summary"]["tokens_out"] == pool.tokens.sum()
