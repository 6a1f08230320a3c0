"""The transformers engine: exact sampling that computes every distinct prefix once.

The n samples of a prompt are grown as a tree. A node is a distinct prefix; the
samples that sit on it share its next-token distribution, and each draws its own
token with its own random number. So the samples are independent, exactly as if
they had been generated one by one, but a short answer that 100 of 128 samples
begin with is computed once. All nodes lie in one row of the key-value cache; a
mask lets each see the prompt and its own ancestors only (tree attention). Several
prompts are grown at once in the same row, their common beginning (the worked
examples) held once.
"""

from typing import NamedTuple

import numpy as np

from . import models
from .base import Completion, Engine, common
from .cached import Cached

# prompts grown together: at most this many nodes if every sample went its own way
MOST_NODES = 32768


class _Node(NamedTuple):
    prompt: int  # index of its prompt
    samples: np.ndarray  # the samples that sit on it
    path: tuple  # its tokens after the prompt
    logprob: float
    places: np.ndarray  # where its prompt, its ancestors and itself lie in the cache


class TransformersEngine(Engine):
    """See `bestofk_runs.engines.load`."""

    name = "transformers"

    def __init__(self, source, *, dtype, trust_remote_code=False, device=None):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.source = source
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = dtype
        kwargs = {"revision": source.revision, "trust_remote_code": trust_remote_code}
        self.tokenizer = AutoTokenizer.from_pretrained(source.path, **kwargs)
        kwargs |= {"dtype": getattr(torch, self.dtype), "attn_implementation": "sdpa", "use_safetensors": True}
        loaded = AutoModelForCausalLM.from_pretrained(source.path, output_loading_info=True, **kwargs)
        self.model = models.whole(loaded, source, "causal language model")
        self.model.to(self.device).eval()
        self.max_length = self.model.config.get_text_config().max_position_embeddings
        self._cached = Cached(self.model)

    def generate(self, prompts, n, *, sampling_temperature=1.0, top_p=1.0, max_tokens=64, stop=(), seeds):
        """Sample `n` completions of every prompt.

        Parameters
        ----------
        prompts : list of str
        n : int
        sampling_temperature : float
            0 is greedy.
        top_p : float
            Keep the smallest set of tokens with at least this probability.
        max_tokens : int
        stop : sequence of str
        seeds : sequence of int
            One a prompt; sample ``i`` uses ``seed + i``.

        Returns
        -------
        list (a prompt) of lists (a sample) of `Completion`
        """
        group = max(1, MOST_NODES // (n * max_tokens))
        self._cached.forget()
        out = []
        for start in range(0, len(prompts), group):
            ids = [self.encode(prompt) for prompt in prompts[start : start + group]]
            out += self._grow(
                ids, n, sampling_temperature, top_p, max_tokens, tuple(stop), seeds[start : start + group]
            )
        return out

    def _plant(self, prompts):
        """Put several prompts (lists of token ids) into one row of the cache, their common beginning once.

        Returns
        -------
        logits : tensor (prompts, vocabulary)
            After each prompt's last token.
        places : list of arrays
            Where in the cache each prompt's tokens lie.
        """
        shared = min(common(prompts), min(len(ids) for ids in prompts) - 1)
        self._cached.hold(prompts[0][:shared])
        tails = [ids[shared:] for ids in prompts]
        ends = np.cumsum([len(tail) for tail in tails])
        mask = np.zeros((ends[-1], shared + ends[-1]), dtype=bool)
        mask[:, :shared] = True
        places = []
        for tail, end in zip(tails, ends):
            rows = np.arange(end - len(tail), end)
            mask[rows[:, None], shared + rows] = np.tri(len(tail), dtype=bool)
            places.append(np.r_[np.arange(shared), shared + rows])
        tokens = [token for tail in tails for token in tail]
        positions = [shared + i for tail in tails for i in range(len(tail))]
        return self._cached.extend(tokens, positions, mask, keep=ends - 1), places

    def _grow(self, prompts, n, temperature, top_p, max_tokens, stop, seeds):
        ends = self._end_tokens()
        done = [[None] * n for _ in prompts]
        uniforms = [np.stack([np.random.default_rng(int(s) + i).random(max_tokens) for i in range(n)]) for s in seeds]
        logits, places = self._plant(prompts)
        # the frontier: nodes whose next token is to be drawn
        frontier = [_Node(p, np.arange(n), (), 0.0, places[p]) for p in range(len(prompts))]
        for step in range(max_tokens):
            children = []
            for node, (logprobs, cumulative) in zip(frontier, _laws(logits, temperature, top_p)):
                drawn = uniforms[node.prompt][node.samples, step] * cumulative[-1]
                tokens = np.minimum(np.searchsorted(cumulative, drawn, side="right"), len(cumulative) - 1)
                for token in np.unique(tokens):
                    path = node.path + (int(token),)
                    child = _Node(
                        node.prompt,
                        node.samples[tokens == token],
                        path,
                        node.logprob + float(logprobs[token]),
                        node.places,
                    )
                    text, reason = self._finish(path, stop, ends, step + 1 == max_tokens)
                    if reason is None:
                        children.append(child)
                        continue
                    for i in child.samples:
                        seed = int(seeds[node.prompt]) + int(i)
                        done[node.prompt][i] = Completion(text, child.logprob, len(path), reason, seed)
            if not children:
                break
            cached = len(self._cached.positions)
            mask = np.zeros((len(children), cached + len(children)), dtype=bool)
            frontier = []
            for row, child in enumerate(children):
                own = np.r_[child.places, cached + row]
                mask[row, own] = True
                frontier.append(child._replace(places=own))
            positions = [len(prompts[child.prompt]) + step for child in frontier]
            logits = self._cached.extend([child.path[-1] for child in frontier], positions, mask)
        return done

    def _end_tokens(self):
        ends = self.model.generation_config.eos_token_id
        ends = set(ends) if isinstance(ends, (list, tuple)) else {ends}
        return (ends | {self.tokenizer.eos_token_id}) - {None}

    def _finish(self, path, stop, ends, last):
        """Text and reason if the completion `path` ends here, else (None, None)."""
        if path[-1] in ends:
            return self.tokenizer.decode(path[:-1], skip_special_tokens=True), "stop"
        text = self.tokenizer.decode(path, skip_special_tokens=True)
        cuts = [text.index(s) for s in stop if s in text]
        if cuts:
            return text[: min(cuts)], "stop"
        return (text, "length") if last else (None, None)


def _laws(logits, temperature, top_p, rows=64):
    """For each node: log-probabilities at temperature 1, and cumulative sampling weights (float64)."""
    import torch

    for block in logits.split(rows):
        logprobs = torch.log_softmax(block, -1).cpu().numpy()
        if temperature == 0:
            weights = torch.nn.functional.one_hot(block.argmax(-1), block.shape[-1]).double()
        else:
            weights = torch.softmax(block / temperature, -1).double()
        if top_p < 1:
            ordered, order = weights.sort(-1, descending=True)
            drop = ordered.cumsum(-1) - ordered >= top_p
            weights = torch.zeros_like(weights).scatter(-1, order, ordered.masked_fill(drop, 0.0))
        yield from zip(logprobs, weights.cumsum(-1).cpu().numpy())
