"""How is a language model asked for completions? Two engines behind one small interface.

An engine has ``generate``, ``chat`` and ``describe``; `load` makes one. Both
engines read the same weights, count tokens and log-probabilities in the same
way, and take one seed a prompt: sample ``i`` of a prompt uses ``seed + i``.
"""

from dataclasses import dataclass

from . import models

ENGINES = ("transformers", "vllm")


@dataclass(frozen=True)
class Completion:
    """One sampled completion.

    Attributes
    ----------
    text : str
        What follows the prompt, up to the stop string (left out).
    logprob : float
        Log-probability (natural logarithm, temperature 1) of all sampled tokens,
        the one that ended the completion included.
    tokens : int
        Number of sampled tokens, the last one included.
    finish_reason : str
        ``stop`` (stop string or end of text) or ``length`` (cut off at `max_tokens`).
    seed : int
        Seed of this sample.
    """

    text: str
    logprob: float
    tokens: int
    finish_reason: str
    seed: int


def load(engine, model, *, dtype="auto", revision=None, trust_remote_code=False, **options):
    """Return the engine named `engine` with `model` loaded.

    Parameters
    ----------
    engine : {'transformers', 'vllm'}
    model : str
        ``smollm2`` (the embedded model), a directory, or a hub id.
    dtype : str
        ``auto`` (bfloat16 on vLLM and on GPUs, float32 on the CPU), ``float32``, ``bfloat16`` or ``float16``.
    revision : str, optional
        Commit of a hub model.
    trust_remote_code : bool
        Run Python code that comes with the model. Off unless asked for.
    options
        Passed to the engine: for vLLM, arguments of ``vllm.LLM`` such as ``tensor_parallel_size``.

    Raises
    ------
    ValueError
        Unknown engine, missing model directory, engine not installed.
    """
    check(engine, model)
    source = models.resolve(model, revision=revision)
    if engine == "vllm":
        from .vllm_engine import VllmEngine as Engine
    else:
        from .transformers_engine import TransformersEngine as Engine
    return Engine(source, dtype=dtype, trust_remote_code=trust_remote_code, **options)


def check(engine, model):
    """Raise ``ValueError`` if `engine` or `model` cannot be loaded; cheap, imports nothing heavy."""
    import importlib.util

    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if importlib.util.find_spec(engine) is None:
        raise ValueError(f"engine {engine!r} is not installed in this environment: pip install {engine}")
    models.check(model)
