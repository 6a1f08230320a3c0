"""Predictions from half a pool: synthetic laws whose reranked loss is known, and files that refuse to lie."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import papermill
import pytest

pa = pytest.importorskip("pyarrow")

from bestofk import artifacts, frozen, gaussian, pool  # noqa: E402
from bestofk.pool import prediction  # noqa: E402
from bestofk_runs import predicting, publishing  # noqa: E402

NOTEBOOK = Path(__file__).resolve().parents[1] / "gpu_runs" / "predict.ipynb"
K, T = np.array([1, 2, 4, 8, 16]), np.array([0, 0.3, 1, 10, np.inf])


def task(prompts, seed=0):
    """Gaussian answers with known mean, std, teacher and target."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(0, 30, prompts), 10 ** rng.uniform(-1, 2, prompts)
    teacher, target = mean + std * rng.normal(size=prompts), mean + std * rng.normal(size=prompts)
    return rng, mean, std, teacher, target


def test_gaussian_prediction_is_the_known_loss_within_five_standard_errors():
    rng, mean, std, teacher, target = task(150)
    answer = rng.normal(mean[:, None], std[:, None], (150, 400))
    found = prediction.predict(K, T, answer=answer, teacher=teacher, target=target)
    truth = np.stack(
        [[gaussian.reranked_loss(K, 2 * t * s**2, mean=m, std=s, teacher=a, reward=b) for t in T]
         for m, s, a, b in zip(mean, std, teacher, target)]
    ).transpose(0, 2, 1)  # fmt: skip
    away = found.models["gaussian"] * found.std[:, None, None] ** 2 - truth
    away = away / std[:, None, None] ** 2
    # t is in units of the measured std: a little off the truth's, first order in the error of the std, like the rest
    error = away.std(axis=0, ddof=1) / np.sqrt(150)
    assert (np.abs(away.mean(axis=0)) < 5 * error).all()
    assert error.max() < 0.02  # so that the line above says something


def test_all_models_agree_with_simulation_of_a_gaussian():
    answer = np.random.default_rng(3).normal(size=(1, 4000))
    found = prediction.predict([1, 4, 16], 0, answer=answer, teacher=[0.5], target=[0.5])
    fresh = np.random.default_rng(4).normal(size=(20000, 16))
    for column, k in enumerate((1, 4, 16)):
        kept = np.take_along_axis(fresh[:, :k], np.abs(fresh[:, :k] - 0.5).argmin(axis=1)[:, None], axis=1)[:, 0]
        loss = (kept - 0.5) ** 2
        # spread of the simulation, and of a law that was measured on 4000 samples
        error = loss.std() * np.sqrt(1 / 20000 + 1 / 4000) * 5
        assert abs(found.models["gaussian"][0, column, 0] - loss.mean()) < error
        assert abs(found.models["finite"][0, column, 0] - loss.mean()) < error


def test_local_density_of_a_uniform_law():
    answer = np.random.default_rng(5).uniform(-1, 1, (300, 400))
    laws = prediction.answer_laws(answer, teacher=np.zeros(300), target=np.zeros(300))
    # 20 nearest of 400: the count within the 20th distance is fixed, the density's relative spread 1/sqrt(20)
    error = 1 / np.sqrt(20 * 300)
    assert abs(np.mean(1 / (laws.left + laws.right)) - 20 / 20.05) < 5 * error  # E[radius] = 20/401
    assert abs(np.mean(1 / (1 + laws.beta)) - 1) < 5 / np.sqrt(19 * 300)  # a mean of 19 exponential variables each
    assert abs(np.mean(laws.left - laws.right) / 0.5) < 5 / np.sqrt(300 * 20) * 2
    k = np.array([8, 16, 32])
    found = prediction.predict(k, 0, answer=answer, teacher=np.zeros(300), target=np.zeros(300))
    law = 2 / ((k + 1) * (k + 2)) * 3  # best of k uniform draws, in units of the variance 1/3
    each = found.models["extreme"] / law
    # the density enters squared: E radius^2 = 20*21/(401*402) against (20/400)^2, and std^2 is measured
    assert np.abs(each.mean(axis=0) / (20 * 21 * 400**2 / (401 * 402 * 20**2)) - 1).max() < 5 * each.std() / np.sqrt(300) + 0.005


def test_an_atom_is_no_density():
    answer = [[7.0] * 12 + [1.0, 2, 8, 30], [7.0] * 2 + list(range(10, 24))]
    laws = prediction.answer_laws(answer, teacher=[8, 8], target=[7, 7])
    assert laws.at_target.tolist() == [12 / 16, 2 / 16] and laws.at_teacher.tolist() == [1 / 16, 0]
    assert laws.beta.tolist() == [-1, -1]
    assert laws.radius.tolist() == [0, 4] and np.isinf(laws.left[0])
    assert np.allclose([laws.left[1], laws.right[1]], [1 / 64, 3 / 64])  # atom split; 10 and 11 to the right, of 16 answers
    found = prediction.predict([1, 8, 500], 0, answer=answer, teacher=[8, 8], target=[7, 7])
    assert np.allclose(found.models["extreme"][0], 1 / laws.std[0] ** 2)


def test_finite_law_by_enumeration():
    y = np.array([3.0, 5.0, 5.0, 9.0])
    found = prediction.predict([2, 3], [0, 0.7], answer=[y], teacher=[5], target=[8])
    s2 = y.var()
    for column, k in enumerate((2, 3)):
        for row, t in enumerate((0, 0.7)):
            total = wrong = 0.0
            for draw in product(y, repeat=k):
                draw = np.array(draw)
                score = -((draw - 8) ** 2)
                weight = 1.0 * (score == score.max()) if t == 0 else np.exp((score - score.max()) / (2 * t * s2))
                total += weight @ (draw - 5) ** 2 / weight.sum() / s2 / 4**k
                wrong += weight @ (draw != 5) / weight.sum() / 4**k
            assert np.isclose(found.models["finite"][0, column, row], total, rtol=1e-12)
            if t == 0:
                assert np.isclose(found.wrong[0, column], wrong, rtol=1e-12)


def test_confrontation_measures_the_other_half():
    rng, mean, std, teacher, target = task(40, seed=8)
    answer = rng.normal(mean[:, None], std[:, None], (40, 64))
    found = prediction.predict([1, 4, 16], [0, 1], answer=answer[:, :32], teacher=teacher, target=target)
    test = prediction.confront(found, answer=answer[:, 32:], teacher=teacher, target=target, seed=2)
    s2 = found.std**2
    by_hand = np.stack(
        [pool.reranked_loss([1, 4, 16], 2 * t, loss=(answer[:, 32:] - teacher[:, None]) ** 2 / s2[:, None],
                            reward=-((answer[:, 32:] - target[:, None]) ** 2) / s2[:, None]) for t in (0, 1)], axis=2
    )  # fmt: skip
    assert np.allclose(test.mean, by_hand.mean(axis=0))
    for model in ("gaussian", "finite"):
        assert np.allclose(test.gap[model][0], (found.models[model] - by_hand).mean(axis=0))
    assert np.allclose(test.gap["extreme"][0], (found.models["extreme"] - by_hand[:, :, 0]).mean(axis=0))
    assert (test.gap["gaussian"][1] <= test.gap["gaussian"][2]).all()
    assert test.optimum.best[0] in (1, 4, 16)
    # a Gaussian law is predicted: the interval covers zero nearly everywhere
    low, high = test.gap["gaussian"][1:]
    assert np.mean((low < 0) & (high > 0)) >= 0.5
    # a wrong law is not: predict from answers twice as wide
    wide = prediction.predict([1, 4, 16], [0, 1], answer=mean[:, None] + 2 * (answer[:, :32] - mean[:, None]),
                              teacher=teacher, target=target)  # fmt: skip
    gap, low, high = prediction.confront(wide, answer=answer[:, 32:], teacher=teacher, target=target, seed=2).gap["gaussian"]
    assert (low[0] > 0).all()


def test_halves_are_a_split():
    first, second = prediction.halves(9, seed=4)
    assert len(first) == 5 and sorted([*first, *second]) == list(range(9))
    assert not np.array_equal(first, prediction.halves(9, seed=5)[0])


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: prediction.halves(3, seed=0), ["samples", "3"]),
        (lambda: prediction.answer_laws([[1.0]], teacher=[1], target=[1]), ["answer", "2 answers", "got 1"]),
        (lambda: prediction.answer_laws([[1.0, 2]], teacher=[1, 2], target=[1]), ["teacher", "(2,)"]),
        (lambda: prediction.answer_laws([[1.0, 2]], teacher=[1], target=[np.nan]), ["target", "nan"]),
        (lambda: prediction.answer_laws([[1.0, np.nan]], teacher=[1], target=[1]), ["finite", "nan", "sample 1"]),
        (lambda: prediction.predict(2, 0, answer=[[1.0, 2], [3.0, 3]], teacher=[1, 3], target=[1, 3]), ["answer", "prompt 1"]),
        (lambda: prediction.predict(2, 0, answer=[[1.0, 2]], teacher=[1], target=[1e4]), ["target", "900", "prompt 0"]),
        (lambda: prediction.predict(2, -1, answer=[[1.0, 2]], teacher=[1], target=[1]), ["t must", "-1"]),
        (lambda: frozen.view(1, "square"), ["scale", "square"]),
        (lambda: predicting.targets([[1.0, 2, 3]], [[0, 1, 5]]), ["prompt 0", "not -(y - target)^2"]),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_targets_are_read_from_float32_scores():
    rng = np.random.default_rng(6)
    y = np.round(rng.normal(5000, 3000, (50, 30)))
    target = np.round(2 * rng.normal(5000, 3000, 50)) / 2
    score = (-((y - target[:, None]) ** 2)).astype(np.float32)
    y[0, :3] = np.nan
    y[1] = 4.0
    found = predicting.targets(y, score.astype(float))
    assert np.isnan(found[1]) and np.allclose(np.delete(found, 1), np.delete(target, 1), atol=1e-9)


def publish(root, *, y, target, name="numbers"):
    """A published run of numbers with one numeric judge; nan is an unreadable answer."""
    prompts, N = y.shape
    ids = [f"p{i}" for i in range(prompts)]
    gold = np.arange(prompts) + 40.0
    cell = [(p, i) for p in range(prompts) for i in range(N)]
    key = {"prompt_id": [ids[p] for p, _ in cell], "sample_index": pa.array([i for _, i in cell], pa.int32())}
    value = [None if np.isnan(y[p, i]) else y[p, i] for p, i in cell]
    loss = [None if one is None else (one - gold[p]) ** 2 for one, (p, _) in zip(value, cell)]
    score = [None if one is None else -((one - target[p]) ** 2) for one, (p, _) in zip(value, cell)]
    completions = key | {
        "answer": pa.array([None if one is None else f"{one:g}" for one in value], pa.string()),
        "correct": [one == gold[p] for one, (p, _) in zip(value, cell)],
        "y": pa.array(value, pa.float64()),
        "loss": pa.array(loss, pa.float64()),
        "logprob": pa.array([-1.0] * len(cell), pa.float32()),
        "tokens": pa.array([3] * len(cell), pa.int32()),
        "finish_reason": ["stop"] * len(cell),
        "seed": pa.array(range(len(cell)), pa.int64()),
    }
    scores = key | {"score": pa.array(score, pa.float32()), "parsed": [one is not None for one in score]}
    table = {
        "prompt_id": ids,
        "difficulty": pa.array([1] * prompts, pa.int32()),
        "gold": [f"{g:g}" for g in gold],
        "prompt_sha256": ["x"] * prompts,
    }
    (root / name).mkdir(parents=True, exist_ok=True)
    publishing.publish_generation(root / name, {"prompts": pa.table(table), "completions": pa.table(completions)},
                                  {"class": "synthetic"})  # fmt: skip
    made = {"judge": "numeric", "settings": {"parameters": {"scale": "linear"}}}
    publishing.add_scores(root / name, "estimate", pa.table(scores), made)


@pytest.fixture
def numbers(tmp_path):
    rng = np.random.default_rng(9)
    y = np.round(rng.normal(45, 8, (12, 32)))
    y[3, 4], y[5] = np.nan, 45.0
    target = np.round(2 * rng.normal(45, 6, 12)) / 2
    publish(tmp_path, y=y, target=target)
    return tmp_path, y, target


def test_frozen_prediction_reads_back_and_confronts(numbers):
    root, y, target = numbers
    predicting.freeze("numbers", "estimate", root=root, k_values=[1, 2, 8])
    found = frozen.load("numbers", "estimate", root=root)
    assert found.record["left_out"] == {"p5": "all answers equal"} and 5 not in found.prompts
    assert np.array_equal(found.target, np.delete(target, 5))
    answer = [row[np.isfinite(row)] for row in y[np.ix_(found.prompts, found.first)]]
    again = prediction.predict([1, 2, 8], found.predictions["linear"].t, answer=answer, teacher=found.teacher, target=found.target)
    for model, values in again.models.items():
        assert np.allclose(found.predictions["linear"].models[model], values, rtol=1e-5)
    run = artifacts.load("numbers", root=root)
    test = frozen.confront(found, run, "linear", seed=0)
    rows = [row[np.isfinite(row)] for row in y[np.ix_(found.prompts, found.second)]]
    by_hand = [pool.reranked_loss(8, 0, loss=[(row - a) ** 2 / s**2], reward=[-((row - b) ** 2)])[0]
               for row, a, b, s in zip(rows, found.teacher, found.target, again.std)]  # fmt: skip
    assert np.isclose(test.mean[2, 0], np.mean(by_hand))
    assert frozen.known(root) == [("numbers", "estimate")]
    with pytest.raises(ValueError, match="there already"):
        predicting.freeze("numbers", "estimate", root=root)


def test_prediction_does_not_depend_on_the_other_half(numbers):
    root, y, target = numbers
    first, second = prediction.halves(32, seed=0)
    other = y.copy()
    other[:, second] = np.random.default_rng(10).normal(500, 100, (12, 16))
    publish(root / "other", y=other, target=target)
    for judge in predicting.judges_of(artifacts.load("numbers", root=root)):
        kept = [frozen.load("numbers", judge, root=predicting.freeze("numbers", judge, root=where).parents[2])
                for where in (root, root / "other")]  # fmt: skip
        for part in ("half_sha256", "scales", "target", "split"):
            assert kept[0].record[part] == kept[1].record[part]
        assert kept[0].record["completions_sha256"] != kept[1].record["completions_sha256"]
    with pytest.raises(ValueError, match="have changed since"):
        frozen.confront(kept[0], artifacts.load("numbers", root=root / "other"), "linear", seed=0)


def test_a_changed_prediction_is_refused(numbers):
    root, _, _ = numbers
    file = predicting.freeze("numbers", "teacher", root=root)
    record = json.loads(file.read_text())
    record["scales"]["linear"]["wrong"][0][0] += 0.1
    file.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="was changed after it was written"):
        frozen.load("numbers", "teacher", root=root)
    file.write_text("{}")
    with pytest.raises(ValueError, match="damaged"):
        frozen.load("numbers", "teacher", root=root)
    with pytest.raises(ValueError, match="no prediction of run 'numbers' with judge 'estimate'.*known: numbers/teacher"):
        frozen.load("numbers", "estimate", root=root)


def test_notebook_in_two_phases(numbers, tmp_path):
    root, _, _ = numbers
    given = {"run": "numbers", "judge": "shifted-1", "root": str(root), "k_values": [1, 2, 8]}
    printed = []
    for phase in ("predict", "confront"):
        done = papermill.execute_notebook(NOTEBOOK, tmp_path / "out.ipynb", given | {"phase": phase}, progress_bar=False)
        printed.append("".join(o.get("text", "") for c in done.cells for o in c.get("outputs", [])))
    assert "written: " in printed[0] and "gap" not in printed[0]
    assert "linear, gaussian, best of 8: measured" in printed[1]


def test_published_predictions_load():
    for run, judge in frozen.known():
        found = frozen.load(run, judge)
        assert set(found.first).isdisjoint(found.second)
        frozen.other_half(found, artifacts.load(run), "log")
