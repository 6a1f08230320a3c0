"""Judging on vLLM gives the numbers of judging on transformers; runs where vLLM is installed (make test-vllm)."""

import numpy as np
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed in this environment")

from bestofk_runs import engines, judges  # noqa: E402
from bestofk_runs.judges import Item, Sample  # noqa: E402

PROMPT = "Question: Tom has 3 boxes with 4 pens in each box. How many pens?\nAnswer:"
ITEM = Item("p", "Tom has 3 boxes with 4 pens in each box. How many pens?", PROMPT)
SAMPLES = [Sample(t, finish_reason="stop") for t in (" 3 * 4 = 12. #### 12", " 3 * 4 = 12. #### 1", " 3 + 4 = 7. #### 7")]


def test_scores_equal_those_of_transformers():
    ours = engines.load("transformers", "smollm2", dtype="float32")
    theirs = engines.load("vllm", "smollm2", dtype="float32", max_model_len=512)
    for kind in ("loglik", "loglik_mean", "yes", "score_expected", "score"):
        expected = [v.score for v in judges.load(kind, engine=ours)(ITEM, SAMPLES)]
        got = [v.score for v in judges.load(kind, engine=theirs)(ITEM, SAMPLES)]
        np.testing.assert_allclose(got, expected, atol=2e-3)  # float32 sums in other orders, some 20 tokens
    too_long = judges.load("loglik", engine=theirs)(ITEM, [Sample(" 7" * 600)])
    assert too_long[0].reason == "too long"
