"""Judges: every kind against a computation that shares no code with it, on real or tiny random models."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="judging models needs the llm extra")
transformers = pytest.importorskip("transformers")
import torch  # noqa: E402

from bestofk_runs import judges  # noqa: E402
from bestofk_runs.judges import Item, Sample, likelihood, plain, prompted, remote, rewards  # noqa: E402
from bestofk_runs.scoring import Scorer, chunks, tree  # noqa: E402

PROMPT = "Question: Tom has 3 boxes with 4 pens in each box. How many pens?\nAnswer:"
ITEM = Item("p0", "Tom has 3 boxes with 4 pens in each box. How many pens?", PROMPT)
TEXTS = [" 3 * 4 = 12. #### 12", " 3 * 4 = 12. #### 1", " 3 * 4 = 7. #### 7", " 3 + 4 = 7. #### 7", "12", " Twelve!"]


@pytest.fixture(scope="module")
def tokenizer():
    models = pytest.importorskip("bestofk_runs.engines.models")
    try:
        source = models.resolve("smollm2")
    except ValueError as problem:
        pytest.skip(str(problem))
    return transformers.AutoTokenizer.from_pretrained(source.path)


def tiny(config, tokenizer, auto=None, dtype=torch.float32, seed=0):
    """A tiny model with random weights large enough that its distributions are far from uniform."""
    torch.manual_seed(seed)
    model = (auto or transformers.AutoModelForCausalLM).from_config(config)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(std=0.3)
    return model.to(dtype).eval()


def as_engine(model, tokenizer):
    return SimpleNamespace(
        model=model,
        tokenizer=tokenizer,
        encode=lambda text: tokenizer(text, add_special_tokens=False)["input_ids"],
        chat=lambda text: f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",
        source=SimpleNamespace(name="tiny"),
        max_length=model.config.max_position_embeddings,
    )


SIZES = dict(
    vocab_size=49152, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256,
)  # fmt: skip


@pytest.fixture(scope="module")
def llama(tokenizer):
    return as_engine(tiny(transformers.LlamaConfig(**SIZES), tokenizer), tokenizer)


@pytest.fixture(scope="module")
def gemma(tokenizer):
    config = transformers.Gemma3TextConfig(
        **SIZES, head_dim=8, sliding_window=9, layer_types=["sliding_attention", "full_attention", "sliding_attention"]
    )
    return as_engine(tiny(config, tokenizer), tokenizer)


def naive(engine, prompt, text):
    """Log-probabilities and entropies from one whole forward pass, no cache, no mask of ours."""
    start, ids = engine.encode(prompt), engine.encode(prompt + text)
    begin = next((i for i, (a, b) in enumerate(zip(start, ids)) if a != b), len(start))
    with torch.inference_mode():
        logp = engine.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    rows = logp[begin - 1 : -1]
    return rows[torch.arange(len(rows)), torch.tensor(ids[begin:])].numpy(), -(rows.exp() * rows).sum(-1).numpy()


def assert_as_naive(engine, prompt, texts, nodes, tolerance):
    for text, (logp, entropy) in zip(texts, Scorer(engine, nodes).likelihood(prompt, texts), strict=True):
        expected = naive(engine, prompt, text)
        np.testing.assert_allclose(logp, expected[0], atol=tolerance)
        np.testing.assert_allclose(entropy, expected[1], atol=tolerance)


# float32 rounds a logit of size 30 by 2e-6; a few dozen such roundings, in other orders, stay below 2e-4
FLOAT32 = 2e-4


@pytest.mark.parametrize("nodes", [7, 1024])
@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_tree_pass_equals_whole_passes(family, nodes, request):
    assert_as_naive(request.getfixturevalue(family), PROMPT, TEXTS, nodes, FLOAT32)


def test_sliding_window_matters_in_that_test(gemma):
    scorer = Scorer(gemma)
    right = scorer.likelihood(PROMPT, TEXTS)[0][0]
    scorer = Scorer(gemma)
    scorer.cached.window = 10**6
    assert np.abs(right - scorer.likelihood(PROMPT, TEXTS)[0][0]).max() > 100 * FLOAT32


def test_prompts_one_after_another_reuse_the_cache(llama):
    scorer = Scorer(llama)
    prompts = [PROMPT, PROMPT.replace("pens", "apples"), "Other:", PROMPT]
    for prompt in prompts:
        for text, (logp, _) in zip(TEXTS, scorer.likelihood(prompt, TEXTS)):
            np.testing.assert_allclose(logp, naive(llama, prompt, text)[0], atol=FLOAT32)
    assert scorer.computed < sum(len(llama.encode(p + t)) for p in prompts for t in TEXTS) / 3


@pytest.mark.parametrize("others", [["Question: Tom has 9 cats.\nAnswer:"], ["Nothing alike"]])
def test_several_prompts_in_one_pass(llama, others):
    prompts = [PROMPT, *others, PROMPT]
    got = Scorer(llama, 24).likelihood(prompts, TEXTS[: len(prompts)])
    for prompt, text, (logp, entropy) in zip(prompts, TEXTS, got):
        expected = naive(llama, prompt, text)
        np.testing.assert_allclose(logp, expected[0], atol=FLOAT32)
        np.testing.assert_allclose(entropy, expected[1], atol=FLOAT32)
    items = [Item(i, "", prompt) for i, prompt in enumerate(prompts)]
    together = likelihood.measure(llama)(items, [Sample(t) for t in TEXTS[: len(prompts)]])
    for item, text, sums in zip(items, TEXTS, together):
        np.testing.assert_allclose(sums, likelihood.measure(llama)(item, [Sample(text)])[0], atol=20 * FLOAT32)


def test_tokens_that_straddle_the_end_of_the_prompt(llama):
    # "\n" + "\n" is one token of this tokenizer: the whole text is tokenised, not its two halves
    assert_as_naive(llama, "One line\n", ["\nnext", "next", "\n\nnext"], 1024, FLOAT32)


def test_half_precision_keeps_a_float32_output_layer(tokenizer):
    engine = as_engine(tiny(transformers.LlamaConfig(**SIZES), tokenizer, dtype=torch.bfloat16), tokenizer)
    assert_as_naive(engine, PROMPT, TEXTS, 1024, 0.5)
    logits = next(Scorer(engine)._passes(engine.encode(PROMPT), [engine.encode(TEXTS[0])]))[2]
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).float().mean() > 0.9
    assert engine.model.get_input_embeddings().weight.dtype == torch.bfloat16


@pytest.fixture(scope="module")
def smollm2(tokenizer):
    engines = pytest.importorskip("bestofk_runs.engines")
    return engines.load("transformers", "smollm2", dtype="float32")


def test_embedded_model_judges_as_naively(smollm2):
    assert_as_naive(smollm2, PROMPT, TEXTS[:3], 1024, FLOAT32)


def test_embedded_model_writes_scores(smollm2):
    (greedy,) = judges.load("score", engine=smollm2, chat=True, judge_tokens=6)(ITEM, [Sample(TEXTS[0])])
    text = prompted.fill(prompted.template("", "score"), ITEM, TEXTS[0])
    ids = torch.tensor([smollm2.encode(smollm2.chat(text))])
    written = smollm2.model.generate(ids, do_sample=False, max_new_tokens=6)[0, ids.shape[1] :]
    expected = prompted.parse(smollm2.tokenizer.decode(written), prompted.re.compile(r"-?\d+(?:\.\d+)?"), 10)
    assert greedy.reason == "unparsed" if expected is None else greedy.score == expected
    votes = dict(votes=2, judge_temperature=1.5, judge_tokens=2)
    first, again = (judges.load("score", engine=smollm2, **votes)(ITEM, [Sample(TEXTS[0])]) for _ in range(2))
    assert repr(first) == repr(again)


def test_next_token_probabilities(llama):
    texts = [PROMPT + t for t in TEXTS] + [PROMPT, PROMPT]
    tokens = [5, 17, 4000]
    got = Scorer(llama, 16).next_token(texts, tokens)
    for text, row in zip(texts, got):
        with torch.inference_mode():
            p = llama.model(torch.tensor([llama.encode(text)])).logits[0, -1].double().softmax(-1)
        np.testing.assert_allclose(row, p[tokens].numpy(), rtol=1e-3)


def test_what_does_not_fit_has_no_score_and_is_counted(llama):
    long = Sample(" 7" * 300, finish_reason="length")
    for kind in ("loglik", "loglik_mean", "entropy", "yes", "score_expected"):
        first, second = judges.load(kind, engine=llama)(ITEM, [long, Sample(TEXTS[0])])
        assert np.isnan(first.score) and first.reason == "too long"
        assert np.isfinite(second.score) and second.reason == ""


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=12), st.integers(1, 12))
def test_tree_and_chunks_hold_every_sequence(sequences, limit):
    t = tree(sequences)
    assert [t.token[p].tolist() for p in t.paths] == sequences
    assert len(t.token) == len({tuple(s[: i + 1]) for s in sequences for i in range(len(s))})
    assert all(t.parent[i] < i and (t.parent[i] < 0) == (t.depth[i] == 0) for i in range(len(t.token)))
    groups = chunks(sequences, limit)
    assert sorted(i for g in groups for i in g) == list(range(len(sequences)))
    assert all(len(g) == 1 or len(tree([sequences[i] for i in g]).token) <= limit for g in groups)


def test_likelihood_kinds_come_from_the_same_pass_and_score_the_end(llama):
    samples = [Sample(TEXTS[0], finish_reason="stop"), Sample(TEXTS[1], finish_reason="length")]
    sums = likelihood.measure(llama)(ITEM, samples)
    for sample, text, (logprob, entropy, tokens) in zip(samples, [TEXTS[0] + "\n", TEXTS[1]], sums):
        logp, ent = naive(llama, PROMPT, text)
        np.testing.assert_allclose([logprob, entropy], [logp.sum(), ent.sum()], atol=20 * FLOAT32)
        assert tokens == len(logp)
        for kind, value in {"loglik": logp.sum(), "loglik_mean": logp.mean(), "entropy": -ent.mean()}.items():
            (verdict,) = judges.load(kind, engine=llama)(ITEM, [sample])
            assert verdict.score == pytest.approx(value, abs=20 * FLOAT32)


def test_an_empty_completion_is_judged_by_its_end(llama):
    logprob, _, tokens = likelihood.measure(llama)(ITEM, [Sample("", finish_reason="length")])[0]
    assert tokens == 1 and logprob == pytest.approx(naive(llama, PROMPT, "\n")[0].sum(), abs=FLOAT32)


def test_equal_completions_are_judged_once(llama):
    judge = judges.load("loglik", engine=llama)
    verdicts = judge(ITEM, [Sample(TEXTS[0])] * 50 + [Sample(TEXTS[1])])
    assert verdicts[0] == verdicts[49] and verdicts[0] != verdicts[50]
    assert judge.scorer.computed <= len(llama.encode(PROMPT + TEXTS[0])) + len(llama.encode(TEXTS[1]))


@pytest.mark.parametrize("chat", [False, True])
def test_yes_and_expected_digit_by_hand(llama, chat):
    for kind in ("yes", "score_expected"):
        text = prompted.PROMPTS[kind].replace("{question}", ITEM.question).replace("{solution}", TEXTS[0].strip())
        if chat:
            text = llama.chat(text)
        elif kind == "score_expected":
            text += " "  # this tokenizer writes " 7" as two tokens
        with torch.inference_mode():
            p = llama.model(torch.tensor([llama.encode(text)])).logits[0, -1].double().softmax(-1).numpy()
        if kind == "yes":
            one = lambda words: sum(p[i[0]] for w in words if len(i := llama.encode(w)) == 1)  # noqa: E731
            expected = one(prompted.YES) / (one(prompted.YES) + one(prompted.NO))
        else:
            q = np.array([p[llama.encode(str(d))[0]] for d in range(10)])
            expected = (q * np.arange(10)).sum() / q.sum()
        judge = judges.load(kind, engine=llama, chat=chat)
        (verdict,) = judge(ITEM, [Sample(TEXTS[0])])
        assert verdict.score == pytest.approx(expected, rel=1e-3)
        assert 0 < verdict.mass < 1


def test_question_and_solution_are_shown_whole():
    item = Item(0, "Q " * 5000, "")
    text = prompted.fill(prompted.PROMPTS["yes"], item, "solution with {question} and {braces} " * 500)
    assert item.question.strip() in text and text.count("{question} and {braces}") == 500


class Writer:
    """An engine that writes given texts and remembers what it was asked."""

    tokenizer = source = None
    max_length = 400

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def encode(self, text):
        return list(text)

    def generate(self, prompts, n, *, sampling_temperature, max_tokens, seeds):
        self.asked.append((prompts, n, sampling_temperature, max_tokens, seeds))
        return [[SimpleNamespace(text=next(self.answers)) for _ in range(n)] for _ in prompts]


def test_written_scores_and_votes():
    writer = Writer(iter(["7", "8/10", "none", "eleven", "no", "11"]))
    judge = judges.load("score", engine=writer, votes=3, judge_temperature=1.0)
    out = judge(ITEM, [Sample("a"), Sample("b"), Sample("a"), Sample("c" * 500)])
    assert [v.score for v in out[:1]] == [7.5] and out[2] == out[0]
    assert out[1].reason == "unparsed" and np.isnan(out[1].score)
    assert out[3].reason == "too long"
    ((prompts, n, temperature, _, seeds),) = writer.asked
    assert len(prompts) == 2 and n == 3 and temperature == 1.0 and abs(seeds[1] - seeds[0]) >= 3  # no vote shares its seed


def test_bad_options_are_named(llama):
    for kind, options, words in [
        ("lucky", {}, "lucky"),
        ("score", dict(votes=2), "votes"),
        ("yes", dict(judge_prompt="Is it right?"), "judge_prompt"),
        ("length", dict(prefer="nice"), "nice"),
        ("stored", dict(stored="gold"), "gold"),
        ("numeric", dict(estimates={}, estimate_noise=-1.0), "estimate_noise"),
        ("prm", dict(aggregate="median"), "median"),
        ("prm", dict(layout="other"), "layout"),
        ("prm", dict(separator="two words"), "separator"),
        ("http", dict(url="ftp://x"), "http_url"),
        ("http", dict(url="http://me:secret@x"), "http_url"),
        ("http", dict(url="http://x:99999/"), "http_url must begin"),
        ("http", dict(url="http://[::1"), "http_url must begin"),
        ("http", dict(url="http://x", time_limit=0), "http_time_limit"),
        ("http", dict(url="http://x", token_variable="NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
    ]:
        with pytest.raises(ValueError, match=words) as error:
            judges.load(kind, engine=llama, **options)
        assert "secret" not in str(error.value)


# ---------------------------------------------------------------- plain judges and noise


def test_length_stored_numeric():
    a, b = Sample("xx", tokens=4, logprob=-2.0, y=3.0), Sample("xxx", y=float("nan"))
    assert [v.score for v in plain.length()(ITEM, [a, b])] == [-4.0, -3.0]
    assert [v.score for v in plain.stored(stored="logprob")(ITEM, [a])] == [-2.0]
    assert plain.stored()(ITEM, [b])[0].reason == "missing"
    numeric = plain.numeric(estimates={ITEM.question: 1.0})
    assert numeric(ITEM, [a])[0].score == -4.0 and numeric(ITEM, [b])[0].reason == "missing"
    log = plain.numeric(estimates={ITEM.question: -1.0}, scale="log")
    assert log(ITEM, [a])[0].score == pytest.approx(-((np.log(4) + np.log(2)) ** 2))
    assert plain.numeric(estimates={})(ITEM, [a])[0].reason == "missing"


def test_noisy_estimate_is_one_draw_a_prompt():
    judge = plain.numeric(estimates={str(i): 0.0 for i in range(2000)}, estimate_noise=2.0, estimate_seed=3)
    zero, one = np.array([[v.score for v in judge(Item(i, str(i), ""), [Sample("", y=0.0), Sample("", y=1.0)])]
                          for i in range(2000)]).T  # fmt: skip
    mu = (one - zero + 1) / 2  # -(1-mu)^2 + mu^2 = 2 mu - 1
    np.testing.assert_allclose(-(mu**2), zero, atol=1e-9)
    assert abs(mu.mean()) < 5 * 2 / np.sqrt(2000) and mu.std() == pytest.approx(2.0, rel=5 / np.sqrt(2 * 2000))


def test_noise_is_unclipped_seeded_and_keeps_nulls():
    scores = np.full(4000, 10.0)
    scores[0] = np.nan
    rows = np.stack([np.arange(4000) // 8, np.arange(4000) % 8], axis=1)
    noisy = judges.add_noise(scores, 2.0, 1, rows)
    assert np.isnan(noisy[0]) and np.isfinite(noisy[1:]).all()
    assert noisy[1:].std() == pytest.approx(2.0, rel=5 / np.sqrt(8000)) and (noisy[1:] > 10).mean() > 0.4
    assert len(np.unique(noisy[1:])) == 3999
    np.testing.assert_array_equal(noisy, judges.add_noise(scores, 2.0, 1, rows))
    assert (noisy[1:] != judges.add_noise(scores, 2.0, 2, rows)[1:]).all()
    with pytest.raises(ValueError, match="noise"):
        judges.add_noise(scores, -1, 0, rows)


# ---------------------------------------------------------------- reward models


def test_steps_keep_decimals():
    assert rewards.steps("It costs $3.50. So 2 cost 3.5 * 2 = 7.0.") == ["It costs $3.50.", "So 2 cost 3.5 * 2 = 7.0."]
    assert rewards.steps("a\nb\n\nc") == ["a\nb", "c"] and rewards.steps("  ") == [""]


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(alphabet="ab1.!? \n$", max_size=40))
def test_steps_lose_nothing(text):
    assert "".join("".join(rewards.steps(text)).split()) == "".join(text.split())


@pytest.fixture(scope="module")
def prm_folder(tokenizer, tmp_path_factory):
    """Qwen2 with the two-layer step head of Qwen2.5-Math-PRM, tiny and random, written as safetensors."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("prm")
    own = transformers.AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    own.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    config = transformers.Qwen2Config(**{**SIZES, "vocab_size": 49160})
    tiny(config, own, transformers.AutoModel).save_pretrained(folder)
    own.save_pretrained(folder)
    tensors = {f"model.{name}": t for name, t in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(1)
    for name, shape in {"0.weight": (32, 32), "0.bias": (32,), "2.weight": (2, 32), "2.bias": (2,)}.items():
        tensors[f"score.{name}"] = torch.randn(shape)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((folder / "config.json").read_text())
    described["architectures"] = ["Qwen2ForProcessRewardModel"]
    described["auto_map"] = {"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"}
    (folder / "config.json").write_text(json.dumps(described))
    return folder


def local_source(folder):
    return SimpleNamespace(path=str(folder), name=str(folder), revision=None, id="tiny", sha256=None, licence=None)


@pytest.mark.parametrize("aggregate", ["mean", "min", "product", "last"])
def test_process_reward_by_hand(prm_folder, aggregate):
    from safetensors.torch import load_file

    engine = rewards.RewardModel(local_source(prm_folder), "prm")
    solution = "Each costs $3.50. Two cost 2 * 3.50 = 7. #### 7"
    got = judges.load("prm", engine=engine, aggregate=aggregate, batch=2)(
        ITEM, [Sample(solution), Sample("x"), Sample("so it is. done.")]
    )
    parts = ["Each costs $3.50.", "Two cost 2 * 3.50 = 7.", "#### 7"]
    body = "".join(p + "<extra_0>" for p in parts)
    turns = [("system", rewards.SYSTEM), ("user", ITEM.question), ("assistant", body)]
    text = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns)
    ids = engine.tokenizer(text)["input_ids"]
    t = load_file(prm_folder / "model.safetensors")
    body_model = transformers.Qwen2Model(transformers.Qwen2Config.from_pretrained(prm_folder)).eval()
    body_model.load_state_dict({k[6:]: v for k, v in t.items() if k.startswith("model.")})
    with torch.inference_mode():
        h = body_model(torch.tensor([ids])).last_hidden_state[0]
    inner = (h @ t["score.0.weight"].T + t["score.0.bias"]).clamp_min(0)
    p = torch.softmax(inner @ t["score.2.weight"].T + t["score.2.bias"], -1)[:, 1]
    at = [i for i, x in enumerate(ids) if x == engine.tokenizer.convert_tokens_to_ids("<extra_0>")]
    assert len(at) == 3
    r = [float(p[i]) for i in at]
    expected = {"mean": sum(r) / 3, "min": min(r), "product": r[0] * r[1] * r[2], "last": r[2]}[aggregate]
    assert got[0].score == pytest.approx(expected, abs=1e-5)
    assert len({v.score for v in got}) == 3


def test_generic_process_reward_by_hand(llama):
    judge = judges.load("prm", engine=llama, layout="generic", separator="\n", good="+", bad="-", aggregate="min")
    (verdict,) = judge(ITEM, [Sample("A costs $3.50. B costs 4.")])
    ids = llama.encode(f"{ITEM.question} A costs $3.50.\nB costs 4.\n")
    with torch.inference_mode():
        z = llama.model(torch.tensor([ids])).logits[0]
    new_line, (plus,), (minus,) = llama.encode("\n")[0], llama.encode("+"), llama.encode("-")
    r = [float(torch.sigmoid(z[i, plus] - z[i, minus])) for i, x in enumerate(ids) if x == new_line]
    assert len(r) == 2 and verdict.score == pytest.approx(min(r), abs=1e-5)


def test_a_model_without_step_head_is_refused(llama, tokenizer, tmp_path):
    llama.model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no step head"):
        rewards.RewardModel(local_source(tmp_path), "prm")
    # transformers would make up a random head
    with pytest.raises(ValueError, match="no weights for score.weight, so it is no sequence-classification model"):
        rewards.RewardModel(local_source(tmp_path), "classifier")


@pytest.mark.parametrize("labels", [1, 3])
def test_classifier_by_hand(tokenizer, labels):
    config = transformers.LlamaConfig(**SIZES, num_labels=labels)
    model = tiny(config, tokenizer, transformers.AutoModelForSequenceClassification)
    engine = SimpleNamespace(model=model, tokenizer=tokenizer)
    samples = [Sample(t) for t in TEXTS]
    got = judges.load("classifier", engine=engine, label=1, batch=4)(ITEM, samples)
    for sample, verdict in zip(samples, got):
        turns = [{"role": "user", "content": ITEM.question}, {"role": "assistant", "content": sample.text.strip()}]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False))["input_ids"]
        with torch.inference_mode():
            z = model.score(model.model(torch.tensor([ids])).last_hidden_state[0, -1]).double()
        expected = z[0] if labels == 1 else z[1] - torch.logsumexp(z[[0, 2]], 0)
        assert verdict.score == pytest.approx(float(expected), abs=1e-4)


# ---------------------------------------------------------------- endpoint


@pytest.fixture
def endpoint():
    """A local endpoint whose behaviour a test sets: (body, number of tries so far for it) -> (status, bytes)."""
    tries, lock, released = {}, threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                tries[body["cot"]] = tries.get(body["cot"], 0) + 1
                number = tries[body["cot"]]
            reply = place.answer(body, number, dict(self.headers))
            if reply is None:
                released.wait(10)
                return
            status, content = reply
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    place = SimpleNamespace(url=f"http://127.0.0.1:{server.server_address[1]}/score", tries=tries, answer=None)
    yield place
    released.set()
    server.shutdown()
    server.server_close()


QUICK = dict(time_limit=20, attempts=3, pause=0.01)
SHORT = {**QUICK, "time_limit": 0.3}  # for those that hang


def test_endpoint_is_asked_once_a_distinct_solution_and_side_by_side(endpoint):
    seen, together = [], threading.Barrier(4)

    def answer(body, number, headers):
        seen.append(body)
        together.wait(timeout=15)  # breaks, and answers nothing, unless four requests are here at a time
        return 200, json.dumps({"score": len(body["cot"])}).encode()

    endpoint.answer = answer
    samples = [Sample("x" * (1 + i % 20), answer=str(i % 20)) for i in range(60)]
    got = judges.load("http", url=endpoint.url, concurrent=4, attempts=1)(ITEM, samples)
    assert [v.score for v in got] == [len(s.text) for s in samples]
    assert len(seen) == 20
    assert all(set(b) == {"prompt", "cot", "final_answer"} and b["prompt"] == ITEM.question for b in seen)


def test_endpoint_failures_that_pass_are_tried_again(endpoint):
    endpoint.answer = lambda body, number, headers: (
        (None if body["cot"] == "slow" else (503, b"busy")) if number < 3 else (200, b'{"score": 1.5}')
    )
    got = judges.load("http", url=endpoint.url, time_limit=2, attempts=3, pause=0.01)(ITEM, [Sample("slow"), Sample("busy")])
    assert [v.score for v in got] == [1.5, 1.5] and endpoint.tries == {"slow": 3, "busy": 3}


@pytest.mark.parametrize(
    "reply, words, tries",
    [
        ((500, b"oops"), "answered 500 3 times", 3),
        (None, "took longer than 0.3 s 3 times", 3),
        ((404, b"no"), "answered 404, so it was not asked again; finished shards are kept", 1),
        ((302, b""), "answered 302", 1),
        ((200, b"{}"), "it said '{}'; finished shards are kept, run the same command to go on", 1),
        ((200, b'{"score": "nan"}'), "holds a number 'score'", 1),
        ((200, b"<html>hello"), "it said '<html>hello'", 1),
        ((200, b'{"score": "high"}'), "not with a JSON object that holds a number", 1),
        ((200, b"9" * 2_000_000), "not with a JSON object", 1),
    ],
)
def test_bad_endpoint_is_one_sentence(endpoint, reply, words, tries, monkeypatch):
    monkeypatch.setenv("MY_JUDGE_TOKEN", "planted-secret")
    endpoint.answer = lambda body, number, headers: reply
    limits = SHORT if reply is None else QUICK
    judge = judges.load("http", url=endpoint.url + "?key=hidden", token_variable="MY_JUDGE_TOKEN", **limits)
    begin = time.monotonic()
    with pytest.raises(remote.EndpointError, match=words) as error:
        judge(ITEM, [Sample("a")])
    assert time.monotonic() - begin < 15 and endpoint.tries == {"a": tries}
    assert "\n" not in str(error.value) and "planted" not in str(error.value) and "hidden" not in str(error.value)


def test_dripping_endpoint_meets_the_time_limit():
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def drip():
        while not stop.is_set():
            connection, _ = listener.accept()
            threading.Thread(target=feed, args=(connection,), daemon=True).start()

    def feed(connection):
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.is_set():
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass

    threading.Thread(target=drip, daemon=True).start()
    begin = time.monotonic()
    with pytest.raises(remote.EndpointError, match="took longer"):
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        judges.load("http", url=url, time_limit=0.3, attempts=2, pause=0.01)(ITEM, [Sample("a")])
    assert time.monotonic() - begin < 15
    stop.set()
    listener.close()


def test_nobody_listens():
    with pytest.raises(remote.EndpointError, match="could not be reached"):
        judges.load("http", url="http://127.0.0.1:9/", **QUICK)(ITEM, [Sample("a")])


def test_rubbish_among_scores_is_a_null(endpoint):
    endpoint.answer = lambda body, number, headers: (200, b"?" if body["cot"] == "b" else b'{"score": 3}')
    got = judges.load("http", url=endpoint.url, **QUICK)(ITEM, [Sample("a"), Sample("b")])
    assert got[0].score == 3 and got[1].reason == "unparsed"


def test_token_is_sent_and_not_kept(endpoint, monkeypatch):
    monkeypatch.setenv("MY_JUDGE_TOKEN", "planted-secret")
    heads = []
    endpoint.answer = lambda body, number, headers: heads.append(headers) or (200, b'{"score": 3}')
    judge = judges.load("http", url=endpoint.url, token_variable="MY_JUDGE_TOKEN", **QUICK)
    judge(ITEM, [Sample("a")])
    assert heads[0]["Authorization"] == "Bearer planted-secret"


# ---------------------------------------------------------------- a whole run


def a_pool(directory, chat=False, stop=("\n",)):
    """A finished run made by hand: three prompts, six completions each, one of them empty."""
    import pyarrow as pa

    from bestofk_runs import publishing

    directory.mkdir(parents=True)
    ids = [f"p{i}" for i in range(3) for _ in range(6)]
    index = pa.array(list(range(6)) * 3, pa.int32())
    texts = [*TEXTS[:4], TEXTS[0], "", *TEXTS, *TEXTS[::-1]]
    completions = {
        "prompt_id": ids,
        "sample_index": index,
        "answer": [None if t == "" else t.split()[-1] for t in texts],
        "correct": [t.endswith("12") for t in texts],
        "y": [float(t.split()[-1]) if t.split()[-1:] and t.split()[-1].isdigit() else None for t in texts],
        "loss": pa.nulls(18, pa.float64()),
        "logprob": pa.array([-float(len(t)) for t in texts], pa.float32()),
        "tokens": pa.array([1 + len(t) for t in texts], pa.int32()),
        "finish_reason": ["stop"] * 17 + ["length"],
        "seed": list(range(18)),
    }
    tables = {
        "prompts": pa.table({"prompt_id": ["p0", "p1", "p2"], "gold": ["12"] * 3}),
        "completions": pa.table(completions),
        "texts": pa.table({"prompt_id": ids, "sample_index": index, "text": texts}),
        "questions": pa.table(
            {
                "prompt_id": ["p0", "p1", "p2"],
                "question": [ITEM.question.replace("3", str(3 + i)) for i in range(3)],
                "prompt": [PROMPT.replace("3", str(3 + i)) for i in range(3)],
            }
        ),
    }
    publishing.publish_generation(directory, tables, {"parameters": {"stop": list(stop), "chat": chat}})
    return directory


def settings_for(directory, **values):
    from bestofk_runs import judging

    return judging.Judge(root=str(directory.parent), run=directory.name, progress=False, **values)


def scores_of(directory, name):
    import pyarrow.parquet as pq

    return pq.read_table(directory / f"scores-{name}.parquet").to_pydict()


@pytest.fixture
def loads(monkeypatch, llama):
    """Give judges the tiny model; count how often one is loaded."""
    from bestofk_runs import engines
    from bestofk_runs.engines import models

    count = []
    llama.describe = lambda: {"model": "tiny"}
    monkeypatch.setattr(engines, "load", lambda *a, **k: count.append(a) or llama)
    source = SimpleNamespace(id="tiny", revision=None, sha256="0" * 64)
    monkeypatch.setattr(models, "resolve", lambda name, revision=None: source)
    return count


def test_likelihood_kinds_share_one_pass_and_end_in_three_files(tmp_path, loads, llama):
    from bestofk_runs import judging, publishing

    directory = a_pool(tmp_path / "a")
    records = {k: judging.run(settings_for(directory, judge=k, shard_size=2)) for k in judging.LIKELIHOOD}
    assert len(loads) == 1
    assert set(publishing.manifest_of(directory)["judges"]) == {f"{k}-smollm2" for k in judging.LIKELIHOOD}
    assert records["loglik"]["rows"] == records["loglik"]["scored"] == 18
    assert records["loglik"]["prompts_with_a_tie_at_the_top"] <= 1  # p0 holds one text twice
    table = scores_of(directory, "entropy-smollm2")
    place = list(zip(table["prompt_id"], table["sample_index"])).index(("p1", 2))
    ent = naive(llama, PROMPT.replace("3", "4"), TEXTS[2] + "\n")[1]
    assert table["score"][place] == pytest.approx(-ent.mean(), abs=1e-3)
    cut = list(zip(table["prompt_id"], table["sample_index"])).index(("p2", 5))
    ent = naive(llama, PROMPT.replace("3", "5"), TEXTS[0])[1]  # cut off at the token limit: no end to score
    assert table["score"][cut] == pytest.approx(-ent.mean(), abs=1e-3)


def test_likelihood_judges_read_what_the_generator_read_unless_told(tmp_path, loads, llama):
    """A base model, which has no template, can judge what a chat model wrote: with chat = false."""
    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a", chat=True)
    judging.run(settings_for(directory, judge="loglik"))
    judging.run(settings_for(directory, judge="loglik", chat=False, judge_name="plain"))
    prompt = PROMPT.replace("3", "4")
    for name, text in (("loglik-smollm2", llama.chat(prompt)), ("plain", prompt)):
        table = scores_of(directory, name)
        place = list(zip(table["prompt_id"], table["sample_index"])).index(("p1", 2))
        assert table["score"][place] == pytest.approx(naive(llama, text, TEXTS[2] + "\n")[0].sum(), abs=1e-3)
    with pytest.raises(ValueError, match="chat"):
        judging.run(settings_for(directory, judge="loglik", chat=True, judge_name="plain"))


def test_resume_parts_and_refusal(tmp_path, loads):
    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a")
    options = dict(judge="yes", shard_size=1)
    assert judging.run(settings_for(directory, shard="0/2", **options)) is None
    assert not (directory / "scores-yes-smollm2.parquet").exists()
    judging.run(settings_for(directory, shard="1/2", **options))
    first = scores_of(directory, "yes-smollm2")
    assert len(loads) == 2
    judging.run(settings_for(directory, **options))
    assert len(loads) == 2 and scores_of(directory, "yes-smollm2") == first  # nothing judged again
    with pytest.raises(ValueError, match="chat was False, now True"):
        judging.run(settings_for(directory, chat=True, **options))
    with pytest.raises(ValueError, match="noise was 0.0, now 0.5"):
        judging.run(settings_for(directory, noise=0.5, **options))
    record = judging.run(settings_for(directory, noise=0.5, judge_name="yes-noisy", **options))
    assert len(loads) == 2 and record["seconds"] >= 0
    noisy = scores_of(directory, "yes-noisy")
    assert noisy["prompt_id"] == first["prompt_id"] and noisy["score"] != first["score"]
    assert not list(directory.rglob("*.tmp"))


def test_plain_judges_and_nulls(tmp_path):
    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a")
    record = judging.run(settings_for(directory, judge="numeric", estimate_run="a"))
    table = scores_of(directory, "numeric")
    assert record["unscored"] == {"missing": table["score"].count(None)} and record["unscored"]["missing"] > 0
    assert [s is not None for s in table["score"]] == table["parsed"]
    pool = judging.pool(directory)
    y = {(item.prompt_id, i): s.y for item, index, samples in pool for i, s in zip(index, samples)}
    # the estimate is the median of the numbers answered to the same question
    for p, i, score in zip(table["prompt_id"], table["sample_index"], table["score"]):
        values = [v for (q, _), v in y.items() if q == p and v is not None]
        assert score is None if y[p, i] is None else score == pytest.approx(-((y[p, i] - np.median(values)) ** 2))
    judging.run(settings_for(directory, judge="length", prefer="long"))
    assert max(scores_of(directory, "length")["score"]) == 1 + max(map(len, TEXTS))


def test_the_run_of_an_estimate_is_looked_for_here_and_then_among_the_published(tmp_path):
    from bestofk_runs import judging

    published = a_pool(tmp_path / "published" / "b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging.publishing, "DATA", tmp_path / "published")
        directory = a_pool(tmp_path / "a")
        judging.run(settings_for(directory, judge="numeric", estimate_run="b"))
        assert judging._where("b", tmp_path) == published
        nearer = a_pool(tmp_path / "b")
        assert judging._where("b", tmp_path) == nearer
        with pytest.raises(ValueError, match="estimate_run .*c' is not a finished run"):
            judging.run(settings_for(directory, judge="numeric", estimate_run="c", judge_name="other"))


def test_an_estimate_of_other_questions_is_refused(tmp_path, monkeypatch):
    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a")
    monkeypatch.setattr(judging, "estimates", lambda folder: {"another question?": 3.0})
    with pytest.raises(ValueError, match="estimate_run 'a' has no number for any question of this run"):
        judging.run(settings_for(directory, judge="numeric", estimate_run="a"))
    assert not (directory / "scores-numeric.parquet").exists()


def test_a_judge_never_sees_the_gold_answer(tmp_path):
    from dataclasses import fields

    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a")
    (directory / "prompts.parquet").unlink()  # the gold answers are in this file alone
    judging.run(settings_for(directory, judge="stored"))
    names = {f.name for kind in (Item, Sample) for f in fields(kind)}
    assert not names & {"gold", "correct", "loss"}


def test_bad_runs_and_settings_are_one_sentence(tmp_path):
    from bestofk_runs import judging

    with pytest.raises(ValueError, match="'none' is not finished"):
        judging.run(settings_for(tmp_path / "none", judge="length"))
    directory = a_pool(tmp_path / "a")
    with pytest.raises(ValueError, match="votes = 3 has no effect on judge = 'yes'"):
        judging.run(settings_for(directory, judge="yes", votes=3))
    with pytest.raises(ValueError, match="http_url"):
        judging.run(settings_for(directory, judge="http"))
    with pytest.raises(ValueError, match="trust_remote_code"):
        judging.run(settings_for(directory, judge="prm", trust_remote_code=True))
    with pytest.raises(ValueError, match="no/such/model"):
        judging.run(settings_for(directory, judge="yes", judge_model="no/such/model"))
    (directory / "texts.parquet").unlink()
    with pytest.raises(ValueError, match="texts.parquet"):
        judging.run(settings_for(directory, judge="length"))


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_damaged_files_of_a_run_are_named_and_renewed(tmp_path, content):
    from bestofk_runs import judging, publishing

    directory = a_pool(tmp_path / "a")
    judging.run(settings_for(directory, judge="length"))
    for name in ("texts", "questions", "completions"):
        path = directory / f"{name}.parquet"
        whole = path.read_bytes()
        path.write_text(content)
        with pytest.raises(ValueError, match=f"{name}.parquet does not match its manifest: generate again"):
            judging.run(settings_for(directory, judge="length"))
        path.write_bytes(whole)
    (folder,) = (directory / "work").glob("raw-length-*")
    (folder / "model.json").write_text(content)
    assert judging.run(settings_for(directory, judge="length"))["model"] is None
    (directory / "manifest.json").write_text(content)
    with pytest.raises(ValueError, match="manifest.json is damaged: generate and judge again"):
        judging.run(settings_for(directory, judge="length"))
    with pytest.raises(ValueError, match="manifest.json is damaged"):
        publishing.copy("a", root=tmp_path, destination=tmp_path / "data")
    publishing.publish_generation(directory, {}, {})
    assert publishing.manifest_of(directory)["judges"] == {}


def test_the_notebook_sends_the_token_and_leaves_no_secret_behind(tmp_path, endpoint, assert_no_secret):
    from pathlib import Path

    import papermill

    directory, heads = a_pool(tmp_path / "a"), []
    endpoint.answer = lambda body, number, headers: heads.append(headers) or (200, b'{"score": 2}')
    given = {
        "run": "a", "root": str(tmp_path), "judge": "http", "http_url": endpoint.url, "progress": False,
        "http_token_variable": "MY_JUDGE_TOKEN",
    }  # fmt: skip
    notebook = Path(__file__).parents[1] / "gpu_runs" / "judge.ipynb"
    papermill.execute_notebook(notebook, tmp_path / "out.ipynb", parameters=given, progress_bar=False)
    assert {head["Authorization"] for head in heads} == {"Bearer planted-bearer-42"}
    assert scores_of(directory, "http")["score"] == [2.0] * 18
    assert_no_secret(tmp_path, ["out.ipynb", "manifest.json", "identity.json", "scores-http.parquet"])


def test_endpoint_failure_keeps_finished_shards(tmp_path, endpoint, monkeypatch):
    from bestofk_runs import judging

    monkeypatch.setenv("MY_JUDGE_TOKEN", "planted-secret")
    directory = a_pool(tmp_path / "a")
    down = [True]
    endpoint.answer = lambda body, number, headers: (
        (500, b"") if down and "with 4 pens" in body["prompt"] and "has 5" in body["prompt"] else (200, b'{"score": 2}')
    )
    settings = settings_for(
        directory, judge="http", http_url=endpoint.url, http_attempts=2, http_pause=0.01, shard_size=1,
        http_token_variable="MY_JUDGE_TOKEN",
    )  # fmt: skip
    with pytest.raises(remote.EndpointError, match="500"):
        judging.run(settings)
    asked = dict(endpoint.tries)
    down.clear()
    judging.run(settings)
    assert scores_of(directory, "http")["score"] == [2.0] * 18
    again = {k: v - asked.get(k, 0) for k, v in endpoint.tries.items()}
    assert max(again.values()) == 1  # the two finished prompts were not asked again
    for file in directory.rglob("*"):
        assert not file.is_file() or b"planted-secret" not in file.read_bytes()


def test_a_wrong_address_can_be_corrected_and_nulls_do_not_stop_a_run_that_had_scores(tmp_path, endpoint):
    from bestofk_runs import judging

    directory = a_pool(tmp_path / "a")
    options = dict(judge="http", http_attempts=1, http_pause=0.01, shard_size=1)
    endpoint.answer = lambda body, number, headers: (404, b"")
    with pytest.raises(remote.EndpointError, match="404"):
        judging.run(settings_for(directory, http_url=endpoint.url + "x", **options))
    # the last prompt never gets a readable score; nor does it after a restart, which begins with it
    endpoint.answer = lambda body, number, headers: (
        (200, b'{"score": 1e99}') if "has 5" not in body["prompt"] else (500, b"") if stop else (200, b"?")
    )
    stop = [True]
    with pytest.raises(remote.EndpointError, match="500"):
        judging.run(settings_for(directory, http_url=endpoint.url, **options))
    stop.clear()
    record = judging.run(settings_for(directory, http_url=endpoint.url, **options))
    assert record["unscored"] == {"unparsed": 6, "out of range": 12} and record["scored"] == 0
    with pytest.raises(ValueError, match="http_url was .* Choose another judge_name, or restore these settings"):
        judging.run(settings_for(directory, http_url=endpoint.url + "x", **options))


def test_yes_survives_yaml():
    import yaml

    from bestofk_runs import judging

    assert judging.Judge(**yaml.safe_load("judge: yes")).judge == "yes"


def test_published_parameters_are_accepted():
    from pathlib import Path

    import yaml

    from bestofk_runs import judging

    files = sorted((Path(__file__).parents[1] / "gpu_runs" / "params").glob("*/judge-*.yaml"))
    assert files
    for file in files:
        settings = judging.Judge(**yaml.safe_load(file.read_text()))
        judging.check(settings)
        assert settings.run == file.parent.name and file.stem == f"judge-{judging.name_of(settings)}"


def test_notebook_knows_every_setting():
    import ast
    from pathlib import Path

    from bestofk_runs import judging

    notebook = Path(__file__).parents[1] / "gpu_runs" / "judge.ipynb"
    cell = next(c for c in json.loads(notebook.read_text())["cells"] if "parameters" in c["metadata"].get("tags", []))
    defaults = {
        node.target.id: ast.literal_eval(node.value)
        for node in ast.parse("".join(cell["source"])).body
        if isinstance(node, ast.AnnAssign)
    }
    assert defaults == {name: field.get_default() for name, field in judging.Judge.model_fields.items()}
