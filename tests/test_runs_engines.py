"""The transformers engine: tree sampling is exact sampling, one sample at a time.

The oracle draws every sample on its own, token by token, with a plain forward
pass over the whole text and no cache; it shares the random numbers only.
"""

import math
import shutil
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from bestofk_runs import engines  # noqa: E402
from bestofk_runs.engines import models  # noqa: E402

PROMPTS = ["Tom has 3 boxes.", "Tom has 4 boxes. How", "A b", "Tom has 3 boxes. Then he"]


@pytest.fixture(scope="module")
def engine(tiny_llama):
    return engines.load("transformers", str(tiny_llama), dtype="float32", device="cpu")


def naive(engine, prompt, seed, *, temperature, top_p, max_tokens):
    """One sample by plain forward passes: its tokens, its log-probability at temperature 1, its closest call.

    The closest call is the least distance of a random number from the border between two tokens.
    """
    ids, uniforms, path, total, closest = (
        engine.encode(prompt),
        np.random.default_rng(seed).random(max_tokens),
        [],
        0.0,
        1.0,
    )
    for u in uniforms:
        with torch.inference_mode():
            logits = engine.model(torch.tensor([ids + path])).logits[0, -1].double()
        logprobs = torch.log_softmax(logits, -1)
        if temperature == 0:
            token = int(logits.argmax())
        else:
            weights = torch.softmax(logits / temperature, -1).numpy()
            if top_p < 1:
                order = np.argsort(-weights, kind="stable")
                before = np.cumsum(weights[order]) - weights[order]
                weights[order[before >= top_p]] = 0
            borders = np.cumsum(weights) / weights.sum()
            token = int(np.searchsorted(borders, u, side="right"))
            closest = min(closest, np.abs(borders - u).min())
        path.append(token)
        total += float(logprobs[token])
        if token == engine.tokenizer.eos_token_id:
            break
    return path, total, closest


@pytest.mark.parametrize("temperature, top_p", [(1.0, 1.0), (0.4, 1.0), (0.7, 0.5), (0.0, 1.0)])
def test_every_sample_equals_the_one_drawn_on_its_own(engine, temperature, top_p):
    n, seeds, skipped = 6, [0, 1000, 2000, 3000], 0
    out = engine.generate(PROMPTS, n, sampling_temperature=temperature, top_p=top_p, max_tokens=6, seeds=seeds)
    for prompt, seed, completions in zip(PROMPTS, seeds, out):
        assert [c.seed for c in completions] == list(range(seed, seed + n))
        for c in completions:
            path, total, closest = naive(engine, prompt, c.seed, temperature=temperature, top_p=top_p, max_tokens=6)
            if closest < 3e-7:  # float32 cannot tell these two tokens apart
                skipped += 1
                continue
            kept = path[:-1] if path[-1] == engine.tokenizer.eos_token_id else path
            assert c.text == engine.tokenizer.decode(kept, skip_special_tokens=True)
            assert c.tokens == len(path)
            assert c.logprob == pytest.approx(total, abs=1e-3)
            assert c.finish_reason == ("length" if len(kept) == 6 else "stop")
    assert skipped <= 6


@pytest.mark.parametrize("family", ["gemma", "mistral"])
def test_a_sliding_window_is_kept(engine, tmp_path, family):
    sizes = dict(
        vocab_size=len(engine.tokenizer), hidden_size=32, intermediate_size=48, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, max_position_embeddings=256, sliding_window=5, initializer_range=0.6, eos_token_id=2,
    )  # fmt: skip
    kinds = ["sliding_attention", "full_attention"]
    config = (
        transformers.Gemma3TextConfig(**sizes, num_hidden_layers=2, layer_types=kinds)
        if family == "gemma"
        else transformers.MistralConfig(**sizes, num_hidden_layers=2)
    )
    torch.manual_seed(3)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    engine.tokenizer.save_pretrained(tmp_path)
    windowed = engines.load("transformers", str(tmp_path), dtype="float32", device="cpu")
    law = dict(temperature=3.0, top_p=1.0, max_tokens=6)
    out = windowed.generate(PROMPTS, 6, sampling_temperature=3.0, max_tokens=6, seeds=[0, 1000, 2000, 3000])
    drawn = [(c, *naive(windowed, p, c.seed, **law)) for p, cs in zip(PROMPTS, out) for c in cs]
    sure = [(c, path, total) for c, path, total, closest in drawn if closest > 1e-6]
    assert len(sure) > 12
    for c, path, total in sure:
        kept = path[:-1] if path[-1] == engine.tokenizer.eos_token_id else path
        assert c.text == engine.tokenizer.decode(kept, skip_special_tokens=True)
        assert c.logprob == pytest.approx(total, abs=1e-3)
    windowed._cached.window = 10**6  # the window matters in this test
    wide = windowed.generate(PROMPTS, 6, sampling_temperature=3.0, max_tokens=6, seeds=[0, 1000, 2000, 3000])
    assert any(abs(a.logprob - b.logprob) > 0.01 for a, b in zip(sum(out, []), sum(wide, [])))


def test_layers_that_no_mask_can_tell_what_to_see_are_refused(engine):
    from types import SimpleNamespace

    from bestofk_runs.engines.cached import Cached

    config = SimpleNamespace(layer_types=["full_attention", "chunked_attention"])
    with pytest.raises(ValueError, match="cannot run layers of type chunked_attention: use vllm"):
        Cached(SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: config)))


def test_a_sample_does_not_depend_on_its_company(engine):
    whole = engine.generate(PROMPTS, 8, max_tokens=6, seeds=[5, 6, 7, 8])
    alone = [engine.generate([p], 8, max_tokens=6, seeds=[s])[0] for p, s in zip(PROMPTS, [5, 6, 7, 8])]
    fewer = engine.generate(PROMPTS[::-1], 3, max_tokens=6, seeds=[8, 7, 6, 5])[::-1]
    for a, b, c in zip(whole, alone, fewer):
        assert [x.text for x in a] == [x.text for x in b] and [x.text for x in a[:3]] == [x.text for x in c]


def test_to_the_last_bit_a_call_does_not_depend_on_the_one_before(engine):
    first = engine.generate(PROMPTS[1:2], 8, max_tokens=6, seeds=[6])
    engine.generate(PROMPTS[:1], 8, max_tokens=6, seeds=[5])
    assert engine.generate(PROMPTS[1:2], 8, max_tokens=6, seeds=[6]) == first


def test_first_tokens_have_the_models_frequencies(engine):
    n = 4000
    first = Counter(
        c.text for c in engine.generate([PROMPTS[0]], n, sampling_temperature=0.5, max_tokens=1, seeds=[11])[0]
    )
    with torch.inference_mode():
        logits = engine.model(torch.tensor([engine.encode(PROMPTS[0])])).logits[0, -1].double()
    law = torch.softmax(logits / 0.5, -1)
    top = [int(t) for t in law.topk(5).indices]
    assert law[top[0]] > 0.05
    for token in top:
        p = float(law[token])
        assert abs(first[engine.tokenizer.decode([token])] / n - p) < 4.5 * math.sqrt(p * (1 - p) / n)


def test_stop_strings_end_a_completion_and_are_left_out(engine):
    free = engine.generate([PROMPTS[0]], 16, max_tokens=10, seeds=[3])[0]
    letter = Counter("".join(c.text for c in free)).most_common(1)[0][0]
    for c, before in zip(engine.generate([PROMPTS[0]], 16, max_tokens=10, stop=[letter], seeds=[3])[0], free):
        assert c.text == before.text.split(letter)[0]
        if letter in before.text:
            assert c.finish_reason == "stop" and c.tokens <= before.tokens


def test_bfloat16_keeps_the_head_in_float32(tiny_llama, engine):
    low = engines.load("transformers", str(tiny_llama), dtype="bfloat16", device="cpu")
    assert low.model.get_output_embeddings().weight.dtype == torch.float32
    a = low.generate(PROMPTS, 4, sampling_temperature=0, max_tokens=3, seeds=[0] * 4)
    assert all(math.isfinite(c.logprob) for cs in a for c in cs)
    assert engine.describe()["dtype"] == "float32" and low.describe()["dtype"] == "bfloat16"


def test_describe_names_the_weights(tiny_llama, engine, tmp_path):
    d = engine.describe()
    assert len(d["sha256"]) == 64 and d["id"] == tiny_llama.name and d["revision"] is None
    assert d["parameters"] == sum(p.numel() for p in engine.model.parameters())
    other = shutil.copytree(tiny_llama, tmp_path / "other")
    assert models.resolve(str(other)).sha256 == d["sha256"]
    (other / "config.json").write_text((other / "config.json").read_text() + "\n")
    assert models.resolve(str(other)).sha256 != d["sha256"]


def test_chat_goes_through_the_template(engine):
    text = engine.chat("How many?")
    assert "<|im_start|>user\nHow many?<|im_end|>" in text and text.endswith("<|im_start|>assistant\n")
    assert engine.encode(text).count(engine.tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3


@pytest.mark.parametrize(
    "engine_name, model, message",
    [
        ("llama.cpp", "smollm2", "engine must be one of transformers, vllm, got 'llama.cpp'"),
        ("transformers", "/no/such/dir", "'/no/such/dir' is neither an existing directory"),
        ("transformers", "./gone", "'./gone' is neither"),
        ("transformers", "smollm3", "'smollm3' is neither .* nor an embedded model \\(smollm2, "),
        ("transformers", "a/b/c", "'a/b/c' is neither"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_heavy(engine_name, model, message):
    with pytest.raises(ValueError, match=message):
        engines.check(engine_name, model)


def test_a_relative_directory_that_is_not_there_is_named(monkeypatch, tmp_path):
    from types import SimpleNamespace

    from bestofk_runs import generate, parameters
    from bestofk_runs.judges import rewards

    def offline(*given, **options):
        raise OSError("no connection to the hub\nmore about it")

    for place in ("huggingface_hub.hf_hub_download", "transformers.AutoTokenizer.from_pretrained"):
        monkeypatch.setattr(place, offline)
    given = {"run": "r", "root": str(tmp_path), "model": "models/llama", "revision": "abc"}
    settings = parameters.resolve(parameters.Generate, given)
    said = "^model 'models/llama' is no directory here, and could not be loaded as a hub id: no connection to the hub$"
    with pytest.raises(ValueError, match=said):
        generate.pool(settings, generate.prepare(settings))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=said):
        engines.load("transformers", "models/llama", revision="abc")
    with pytest.raises(ValueError, match=said):
        rewards.RewardModel(SimpleNamespace(path="models/llama", name="models/llama", revision="abc"), "prm")


def test_a_directory_that_cannot_be_loaded_is_no_hub_id(tmp_path):
    source = models.Source("x", str(tmp_path), "x", None, "0" * 64, None)
    models.reach(source)
    with pytest.raises(OSError, match="^disk$"), models.explained(source):
        raise OSError("disk")


def test_a_revision_of_what_has_none_is_refused(tiny_llama):
    said = "^revision = 'abc' has no effect on model '{}', {}: leave revision out, or give a hub id as the model$"
    for model, kind in (("smollm2", "an embedded model"), (str(tiny_llama), "a directory")):
        for refuses in (engines.load, engines.check):
            with pytest.raises(ValueError, match=said.format(model, kind)):
                refuses("transformers", model, revision="abc")


def test_a_directory_without_a_model(tmp_path):
    with pytest.raises(ValueError, match="without config.json"):
        engines.check("transformers", str(tmp_path))


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"no \*.safetensors file; pickled weights"):
        engines.check("transformers", str(tmp_path))


def test_weights_that_are_not_there_are_not_made_up(tiny_llama, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="no weights for model.norm.weight, so it is no causal language model"):
        engines.load("transformers", str(folder))


@pytest.mark.parametrize("wanted", [True, False, None])
def test_start_token_as_the_gguf_file_says(wanted, tmp_path):
    from gguf import GGUFWriter
    from transformers import AutoTokenizer

    file = tmp_path / "header.gguf"
    writer = GGUFWriter(file, "gemma3")
    if wanted is not None:
        writer.add_add_bos_token(wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = AutoTokenizer.from_pretrained(models.resolve("smollm2").path)
    plain = tokenizer("Two and two").input_ids
    models._keep_start_token(tokenizer, file)
    tokenizer.save_pretrained(tmp_path)
    found = AutoTokenizer.from_pretrained(tmp_path)("Two and two").input_ids
    assert found == ([tokenizer.bos_token_id] if wanted else []) + plain
