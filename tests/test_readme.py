"""The README's recipe runs as it stands."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_recipe_for_a_table_of_samples(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    prompts = np.repeat(np.arange(40), 20)
    correct = rng.random(prompts.size) < 0.4
    score = correct + rng.normal(size=prompts.size)
    table = {"prompt": prompts, "correct": correct.astype(int), "score": score}
    pd.DataFrame(table).to_csv(tmp_path / "samples.csv", index=False)
    monkeypatch.chdir(tmp_path)
    (recipe,) = re.findall(r"```python\n(.*?)```", README, re.S)
    scope = {}
    exec(recipe, scope)
    mean = scope["curve"].mean
    fewest = np.bincount(prompts).min()  # k goes as far as the smallest prompt
    assert mean.shape == (fewest, 3)
    assert np.allclose(mean[0], 1 - correct.mean())  # one sample: the judge has no choice
    assert (np.diff(mean[:, 0]) < 0).all()  # a judge that sees the truth through noise: more samples help
    assert "best k and T" in capsys.readouterr().out
