"""The same questions as `bestofk_runs.scoring`, asked of vLLM: log-probabilities and next tokens of given texts.

vLLM reuses the beginnings that texts share by its own prefix cache. It gives no entropies (that needs the whole
distribution at every token): the entropy judge runs on the transformers engine.
"""

import numpy as np

from .engines.base import common

TOP = 20  # most log-probabilities that vLLM returns by default


class VllmScorer:
    """Reads probabilities of given texts from vLLM; `likelihood` and `next_token` as in `bestofk_runs.scoring.Scorer`."""

    def __init__(self, engine):
        self.encode, self.llm = engine.encode, engine.llm
        self.max_length = engine.max_length - 1  # one token is always generated
        self.computed = 0

    def forget(self):
        """Nothing to do: vLLM decides what it caches."""

    def likelihood(self, prompts, completions):
        """Log-probabilities of the tokens of each completion, and nan for their entropies."""
        prompts = [prompts] * len(completions) if isinstance(prompts, str) else prompts
        starts = {prompt: self.encode(prompt) for prompt in set(prompts)}
        texts = [self.encode(p + c) for p, c in zip(prompts, completions, strict=True)]
        fits = [i for i, ids in enumerate(texts) if len(ids) <= self.max_length]
        out = [None] * len(texts)
        answers = self._ask([texts[i] for i in fits], [dict(prompt_logprobs=0)] * len(fits))
        for i, answer in zip(fits, answers):
            ids, begin = texts[i], common([starts[prompts[i]], texts[i]])
            logp = np.array([answer.prompt_logprobs[j][ids[j]].logprob for j in range(begin, len(ids))])
            out[i] = logp, np.full(len(logp), np.nan)
        return out

    def next_token(self, texts, tokens):
        """Probabilities of `tokens` after each text; those outside the top 20 are asked for one by one."""
        ids = [self.encode(text) for text in texts]
        out = np.full((len(texts), len(tokens)), np.nan)
        fits = [i for i, x in enumerate(ids) if len(x) <= self.max_length]
        seen = self._ask([ids[i] for i in fits], [dict(logprobs=TOP)] * len(fits))
        absent = []
        for i, answer in zip(fits, seen):
            found = answer.outputs[0].logprobs[0]
            for column, token in enumerate(tokens):
                if token in found:
                    out[i, column] = np.exp(found[token].logprob)
                else:
                    absent.append((i, column))
        forced = [dict(logprobs=0, allowed_token_ids=[tokens[column]]) for _, column in absent]
        for (i, column), answer in zip(absent, self._ask([ids[i] for i, _ in absent], forced)):
            out[i, column] = np.exp(answer.outputs[0].logprobs[0][tokens[column]].logprob)
        return out

    def _ask(self, sequences, options):
        from vllm import SamplingParams, TokensPrompt

        if not sequences:
            return []
        prompts = [TokensPrompt(prompt_token_ids=ids) for ids in sequences]
        requests = [SamplingParams(max_tokens=1, temperature=0.0, **o) for o in options]
        answers = self.llm.generate(prompts, requests, use_tqdm=False)
        self.computed += sum(len(ids) - (a.num_cached_tokens or 0) for ids, a in zip(sequences, answers))
        return answers
