"""How is a language model asked for completions? Two engines behind one small interface.

An engine has ``generate``, ``chat`` and ``describe``; `load` makes one. Both
engines read the same weights, count tokens and log-probabilities in the same
way, and take one seed a prompt: sample ``i`` of a prompt uses ``seed + i``.
"""

from . import models
from .base import Completion, Engine, first_seed

__all__ = ["ENGINES", "Completion", "Engine", "check", "first_seed", "load", "resolve_dtype"]

ENGINES = ("transformers", "vllm")


def load(engine, model, *, dtype="auto", revision=None, trust_remote_code=False, **options):
    """Return the engine named `engine` with `model` loaded.

    Parameters
    ----------
    engine : {'transformers', 'vllm'}
    model : str
        ``smollm2`` (the embedded model), a directory, or a hub id.
    dtype : str
        ``auto`` (see `resolve_dtype`), ``float32``, ``bfloat16`` or ``float16``.
    revision : str, optional
        Commit of a hub model.
    trust_remote_code : bool
        Run Python code that comes with the model. Off unless asked for.
    options
        Passed to the engine: for vLLM, arguments of ``vllm.LLM`` such as ``tensor_parallel_size``.

    Raises
    ------
    ValueError
        Unknown engine, missing model directory or hub id, engine not installed.
    """
    check(engine, model, revision)
    source = models.resolve(model, revision=revision)
    if engine == "vllm":
        from .vllm_engine import VllmEngine as Chosen
    else:
        from .transformers_engine import TransformersEngine as Chosen
    with models.explained(source):
        return Chosen(source, dtype=resolve_dtype(engine, dtype), trust_remote_code=trust_remote_code, **options)


def check(engine, model, revision=None):
    """Raise ``ValueError`` if `engine` or `model` cannot be loaded; cheap, imports nothing heavy."""
    import importlib.util

    if engine not in ENGINES:
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}, got {engine!r}")
    if importlib.util.find_spec(engine) is None:
        raise ValueError(f"engine {engine!r} is not installed in this environment: pip install {engine}")
    models.check(model, revision)


def resolve_dtype(engine, dtype):
    """What ``auto`` means here: bfloat16 on vLLM and on GPUs, float32 with transformers on the CPU."""
    if dtype != "auto":
        return dtype
    if engine == "vllm":
        return "bfloat16"
    import torch

    return "bfloat16" if torch.cuda.is_available() else "float32"
