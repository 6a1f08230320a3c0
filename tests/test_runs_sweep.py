"""The sweep gives the official definition's numbers, from any pool, with the official scripts' switches."""

import json
import math
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest

from bestofk_runs import parameters, sweeping
from bestofk_runs.sweeping import Sweep

NOTEBOOK = Path(__file__).resolve().parents[1] / "gpu_runs" / "sweep.ipynb"


def stored_samples(path, prompts=12, N=6, tied=False, seed=0):
    """Stored samples in lm-eval's layout, one row a prompt and filter, with a judge's whole-number scores."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(prompts):
        gold = int(rng.integers(2, 90))
        says = np.where(rng.random(N) < 0.4, gold, gold + rng.integers(1, 9, N))
        scores = np.full(N, 7) if tied else rng.permutation(11)[:N]
        texts = [f"Take {rng.integers(2, 99)} and {j}. The answer is {a}." for j, a in enumerate(says)]
        row = {
            "doc_id": i,
            "doc": {"question": f"question {i}?", "answer": f"3 and 4.\n#### {gold}"},
            "target": str(gold),
            "resps": [texts],
            "judge": scores.tolist(),
        }
        rows += [row | {"filter": name, "filtered_resps": texts[:1]} for name in ("strict-match", "flexible-extract")]
    rows.sort(key=lambda row: row["filter"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def official_delta(path, T):
    """The official definition, prompt by prompt: minus the softmax-weighted correctness; at T = 0 of the first top."""
    deltas = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        gold = float(row["doc"]["answer"].split("####")[1])
        right = [float(re.search(r"The answer is (-?\d+)", text).group(1)) == gold for text in row["resps"][0]]
        if T == 0:
            deltas.append(-float(right[row["judge"].index(max(row["judge"]))]))
        else:
            weights = [math.exp((score - max(row["judge"])) / T) for score in row["judge"]]
            deltas.append(-sum(w * r for w, r in zip(weights, right, strict=True)) / sum(weights))
    return math.fsum(deltas) / len(deltas)


@pytest.mark.parametrize("T", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("tied", [False, True])
def test_all_samples_at_finite_T_give_the_official_delta(tmp_path, T, tied):
    path = stored_samples(tmp_path / "samples_gsm8k.jsonl", tied=tied)
    settings = Sweep(pool=str(path), judge="judge", T=T, k_values="6", T_values=f"{T}", resamples=100)
    source = sweeping.load(settings)
    assert sweeping.over_k(source, settings).delta[0, 0] == pytest.approx(official_delta(path, T), abs=1e-12)
    assert sweeping.over_T(source, settings).delta[0, 0] == pytest.approx(official_delta(path, T), abs=1e-12)


def test_best_of_all_gives_the_official_delta_where_the_top_is_not_tied(tmp_path):
    path = stored_samples(tmp_path / "samples_gsm8k.jsonl")
    settings = Sweep(pool=str(path), judge="judge", k_values="6", resamples=100)
    assert sweeping.over_k(sweeping.load(settings), settings).delta[0, 0] == pytest.approx(
        official_delta(path, 0), abs=1e-12
    )


def test_tied_scores_are_shared_where_the_official_rule_takes_the_first(tmp_path):
    path = stored_samples(tmp_path / "samples_gsm8k.jsonl", tied=True)
    settings = Sweep(pool=str(path), judge="judge", k_values="6", resamples=100)
    ours = sweeping.over_k(sweeping.load(settings), settings).delta[0, 0]
    uniform = official_delta(path, 1.0)  # all weights equal
    assert ours == pytest.approx(uniform, abs=1e-12) and abs(ours - official_delta(path, 0)) > 0.02


def test_one_file_a_k(tmp_path):
    files = {k: stored_samples(tmp_path / f"out_k{k}" / "model" / "samples_x.jsonl", N=k, seed=k) for k in (2, 4, 6)}
    settings = Sweep(
        samples_pattern=f"{tmp_path}/out_k{{k}}/**/samples_*.jsonl", judge="judge", T=2, k_min=2, k_max=6, k_step=2,
        T_values="0.5,2", k=4, resamples=100,
    )  # fmt: skip
    source = sweeping.load(settings)
    swept = sweeping.over_k(source, settings)
    assert swept.k == [2, 4, 6]
    np.testing.assert_allclose(swept.delta[:, 0], [official_delta(files[k], 2) for k in swept.k], atol=1e-12)
    along = sweeping.over_T(source, settings)
    np.testing.assert_allclose(along.delta[0], [official_delta(files[4], T) for T in (0.5, 2)], atol=1e-12)
    with pytest.raises(ValueError, match=r"k=3 has no file of samples: samples_pattern was filled in for \[2, 4, 6\]"):
        sweeping.over_T(source, settings.model_copy(update={"k": [3]}))
    stored_samples(tmp_path / "out_k4" / "model" / "samples_x.jsonl", N=3)
    with pytest.raises(ValueError, match=r"samples for k=4 \(samples_x.jsonl\) hold 3 a prompt"):
        sweeping.load(settings)


@pytest.mark.parametrize("low, high, step", [(4, 64, 4), (1, 10, 3), (2, 2, 1), (1, 9, 10)])
def test_k_ends_are_the_official_ones(low, high, step):
    official = list(range(low, high + 1, step))
    assert sweeping.counts(Sweep(k_min=low, k_max=high, k_step=step), 64) == official


@pytest.mark.parametrize("low, high, step", [(0, 10, 1), (0, 1, 0.1), (0.5, 2, 0.25), (0, 0.3, 0.1)])
def test_T_ends_are_the_official_ones(low, high, step):
    official = np.arange(low, high + 0.5 * step, step)
    np.testing.assert_allclose(
        sweeping.temperatures(Sweep(T_min=low, T_max=high, T_step=step), 1.0), official, atol=1e-12
    )


def table(tmp_path, prompts=40, N=8):
    rng = np.random.default_rng(3)
    right = rng.random((prompts, N)) < 0.5
    path = tmp_path / "pool.csv"
    data = {"prompt": np.repeat(np.arange(prompts), N), "correct": right.ravel().astype(int)}
    pd.DataFrame(data | {"score": (rng.integers(0, 9, (prompts, N)) + right).ravel()}).to_csv(path, index=False)
    return str(path)


def test_judge_noise_is_seeded_unclipped_and_idle_at_one_sample(tmp_path):
    path = table(tmp_path)

    def swept(**more):
        settings = Sweep(pool=path, k_values="1,8", resamples=100, **more)
        source = sweeping.load(settings)
        return source.first.reward, sweeping.over_k(source, settings).delta[:, 0]

    clean, without = swept()
    noisy, changed = swept(epsilon=1.0, seed=5)
    again, same = swept(epsilon=1.0, seed=5)
    _, other = swept(epsilon=1.0, seed=6)
    np.testing.assert_array_equal(noisy, again)
    np.testing.assert_array_equal(changed, same)
    assert changed[0] == pytest.approx(without[0], abs=1e-12) and changed[1] != without[1] != other[1]
    noise = (noisy - clean).ravel()
    assert abs(noise.std() - 10) < 5 * 10 / np.sqrt(2 * noise.size) and abs(noise.mean()) < 5 * 10 / np.sqrt(noise.size)
    assert noisy.max() > 12 and noisy.min() < -2  # the official scripts clip to [0, 10]
    assert len(np.unique(noisy)) == noisy.size  # and so make ties


def test_limit_is_a_share_or_a_number(tmp_path):
    path = table(tmp_path)
    for limit, count in ((0.25, 10), (7, 7)):
        assert len(sweeping.load(Sweep(pool=path, limit=limit)).first.prompt) == count


def test_judge_mode_auto_goes_by_the_name():
    names = {"Qwen/Qwen2.5-Math-PRM-7B": "prm", "mistralai/Mistral-7B-Instruct-v0.3": "score", "me/sprmodel": "score"}
    for model, kind in names.items():
        assert sweeping.judge_kind(Sweep(judge_model=model)) == kind
    assert sweeping.judge_kind(Sweep(judge_model="me/model", judge_mode="prm")) == "prm"
    assert sweeping.judge_kind(Sweep(judge_model="me/PRM", judge_mode="gen")) == "score"
    assert sweeping.judge_kind(Sweep(reward_api="http://127.0.0.1:1/")) == "http"


@pytest.fixture
def endpoint():
    class Judge(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps({"score": float(asked["final_answer"]) % 7}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_stored_samples_are_judged_by_an_endpoint_first(tmp_path, endpoint):
    path = stored_samples(tmp_path / "model" / "samples_x.jsonl")
    settings = Sweep(
        pool=str(path),
        reward_api=endpoint,
        T=2,
        k_values="6",
        root=str(tmp_path / "runs"),
        progress=False,
        resamples=100,
    )
    swept = sweeping.over_k(sweeping.load(settings), settings)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["judge"] = [float(re.findall(r"\d+", text)[-1]) % 7 for text in row["resps"][0]]
    judged = tmp_path / "judged.jsonl"
    judged.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert swept.delta[0, 0] == pytest.approx(official_delta(judged, 2), abs=1e-6)  # scores files hold float32
    assert (tmp_path / "runs" / "sweep-model-samples_x" / "scores-http.parquet").exists()


def test_a_limit_spares_the_judge_the_rest(tmp_path, endpoint):
    path = stored_samples(tmp_path / "model" / "samples_x.jsonl", prompts=8)
    settings = Sweep(pool=str(path), reward_api=endpoint, limit=0.25, root=str(tmp_path / "runs"), progress=False)
    assert len(sweeping.load(settings).first.prompt) == 2  # and not a quarter of a quarter
    (scores,) = (tmp_path / "runs").glob("*/scores-http.parquet")
    assert len(pd.read_parquet(scores)) == 2 * 6


def test_process_rewards_are_on_the_official_scale(tmp_path, monkeypatch):
    """Theirs is ten times the mean step reward: the same T and epsilon must mean the same."""
    path = stored_samples(tmp_path / "samples_x.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    shrunk = tmp_path / "samples_small.jsonl"
    shrunk.write_text("".join(json.dumps(r | {"judge": [s / 10 for s in r["judge"]]}) + "\n" for r in rows))
    monkeypatch.setattr(sweeping, "_judged", lambda settings, source: (source, {"judge": "judge"}))
    settings = Sweep(pool=str(shrunk), judge_model="me/my-PRM-7B", T=0.7, k_values="6", resamples=100, progress=False)
    source = sweeping.load(settings)
    assert sweeping.over_k(source, settings).delta[0, 0] == pytest.approx(official_delta(path, 0.7), abs=1e-12)
    assert "10 times the process rewards" in source.first.notes[-1]


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "say one of pool and samples_pattern"),
        ({"pool": "a", "samples_pattern": "b"}, "say one of pool and samples_pattern"),
        ({"pool": "a", "judge_model": "m", "reward_api": "u"}, "say one of judge_model and reward_api"),
        ({"pool": "a", "judge_model": "m", "judge": "j"}, "say judge for scores that are there"),
        ({"samples_pattern": "x{k}"}, "needs k_values or k_max"),
        ({"pool": "nothing.csv", "judge_model": "m"}, "must be a run's folder or one samples_"),
    ],
)
def test_contradictions_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        sweeping.load(Sweep(**given))


@pytest.mark.parametrize(
    "given, message",
    [
        ({"epsilonn": 1}, "unknown parameter epsilonn .did you mean epsilon..; known are T, T_max"),
        ({"k_values": "1,two"}, "parameter k_values = '1,two'"),
        ({"T": -1}, "parameter T = -1"),
        ({"T_step": 0}, "parameter T_step = 0"),
        ({"judge_mode": "prmm"}, "parameter judge_mode = 'prmm'"),
    ],
)
def test_parameters_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        parameters.resolve(Sweep, given)
    with pytest.raises(ValueError, match="k_min must be at most k_max, got k_min=9 and k_max=4"):
        sweeping.counts(Sweep(k_min=9, k_max=4), 64)


def test_the_notebook_writes_the_numbers_beside_the_pictures(tmp_path, assert_no_secret):
    path = stored_samples(tmp_path / "samples_x.jsonl")
    given = {
        "pool": str(path), "judge": "judge", "T": 2, "k_values": "1,3,6", "T_min": 0, "T_max": 4, "T_step": 2, "k": 6,
        "plot_output": str(tmp_path / "plots" / "k.svg"), "plot_output_T": str(tmp_path / "T.png"), "resamples": 100,
        "progress": False,
    }  # fmt: skip
    papermill.execute_notebook(NOTEBOOK, tmp_path / "out.ipynb", parameters=given, progress_bar=False)
    along_k, along_T = pd.read_csv(tmp_path / "plots" / "k.csv"), pd.read_csv(tmp_path / "T.csv")
    assert along_k.k.tolist() == [1, 3, 6] and along_T["T"].tolist() == [0, 2, 4]
    assert along_k.delta[2] == pytest.approx(official_delta(path, 2), abs=1e-12)
    assert along_T.delta[2] == pytest.approx(official_delta(path, 4), abs=1e-12)
    assert (along_k.low <= along_k.delta).all() and (along_k.delta <= along_k.high).all()
    assert (tmp_path / "plots" / "k.svg").read_text().lstrip().startswith("<?xml") and (
        tmp_path / "T.png"
    ).stat().st_size > 5000
    assert "rows repeat a prompt under another filter" in (tmp_path / "out.ipynb").read_text()
    assert_no_secret(tmp_path, ["out.ipynb", "T.csv", "k.svg"])
