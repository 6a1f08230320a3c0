"""Judges that ask how probable an answer is under a model, which may be the generator itself.

One forward pass gives all three kinds: `measure` returns the sums that they share.
"""

import numpy as np

from . import Verdict, missing, once, pairs


def measure(engine, *, end="\n", chat=False, nodes=512):
    """Return a function ``(items, samples) -> list of (logprob, entropy, tokens)``, None where a text does not fit.

    Parameters
    ----------
    engine : any engine (vLLM for log-likelihoods only)
    end : str
        What ended a completion that stopped by itself: the generator's stop string, or "" for the model's
        end-of-text token. It is scored too: without it "#### 11" would always be at least as probable as "#### 112".
    chat : bool
        Put the generator's prompt through the model's chat template.
    nodes : int
        Most distinct token positions in one forward pass.
    """
    from ..scoring import scorer_of

    scorer = scorer_of(engine, nodes)
    end = end or engine.tokenizer.eos_token

    def judge(texts):
        prompts = [engine.chat(prompt) if chat else prompt for prompt, _ in texts]
        both = scorer.likelihood(prompts, [completion for _, completion in texts])
        return [None if b is None else (b[0].sum(), b[1].sum(), len(b[0])) for b in both]

    def measured(items, samples):
        return once([(item.prompt, _whole(sample, end)) for item, sample in pairs(items, samples)], judge)

    measured.scorer = scorer
    return measured


def _whole(sample, end):
    return sample.text + end if sample.finish_reason == "stop" or not sample.text else sample.text


def verdict(kind, sums):
    """The score of `kind` from the sums of `measure`.

    Examples
    --------
    >>> [verdict(kind, (-6.0, 3.0, 4)).score for kind in ("loglik", "loglik_mean", "entropy")]
    [-6.0, -1.5, -0.75]
    """
    if sums is None or np.isnan(sums[0]):
        return missing("too long")
    logprob, entropy, tokens = sums
    return Verdict({"loglik": logprob, "loglik_mean": logprob / tokens, "entropy": -entropy / tokens}[kind])


def _kind(name):
    def make(engine, **options):
        measured = measure(engine, **options)

        def judge(items, samples):
            return [verdict(name, sums) for sums in measured(items, samples)]

        judge.scorer = measured.scorer
        return judge

    make.__doc__ = f"The judge {name!r}; options as in `measure`."
    return make


loglik, loglik_mean, entropy = _kind("loglik"), _kind("loglik_mean"), _kind("entropy")
