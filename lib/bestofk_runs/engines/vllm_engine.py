"""The vLLM engine: all samples of a prompt in one request, its beginning computed once.

Works with vLLM on GPUs and with its CPU build. One engine has one process: to
use many GPUs, either split the model (``tensor_parallel_size``) or start one
notebook a GPU with ``-p shard i/n``. The seeds come from the prompt, so two
workers never draw the same samples.
"""

import os

from .base import Completion, Engine, version

# on the CPU: in-process (repeatable, starts in seconds), eager (compiling takes minutes), no chunked
# prefill (it crashes with seeds a request), a modest cache
CPU_ENVIRONMENT = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2"}
CPU_OPTIONS = {"gpu_memory_utilization": 0.4, "enforce_eager": True, "enable_chunked_prefill": False}


class VllmEngine(Engine):
    """See `bestofk_runs.engines.load`."""

    name = "vllm"

    def __init__(self, source, *, dtype, trust_remote_code=False, max_model_len=None, **options):
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # what it tells else holds the home folder
        on_cpu = version("vllm-cpu") is not None
        if on_cpu:
            for name, value in CPU_ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            options = {**CPU_OPTIONS, **options}
            max_model_len = max_model_len or 2048
        from vllm import LLM

        options = {"load_format": "safetensors", **options}  # no pickled weights
        self.source = source
        self.device = "cpu" if on_cpu else "cuda"
        self.dtype = dtype
        self.llm = LLM(
            model=source.path,
            revision=source.revision,
            dtype=self.dtype,
            max_model_len=max_model_len,
            trust_remote_code=trust_remote_code,
            seed=0,
            enable_prefix_caching=True,
            disable_log_stats=True,
            **options,
        )
        self.tokenizer = self.llm.get_tokenizer()
        self.max_length = self.llm.llm_engine.model_config.max_model_len

    def generate(self, prompts, n, *, sampling_temperature=1.0, top_p=1.0, max_tokens=64, stop=(), seeds):
        """Sample `n` completions of every prompt; see `TransformersEngine.generate`.

        vLLM gives sample ``i`` of a request the seed ``seed + i``.
        """
        from vllm import SamplingParams, TokensPrompt

        requests = [
            SamplingParams(
                n=n,
                temperature=sampling_temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                stop=list(stop),
                seed=int(seed),
                logprobs=0,
            )
            for seed in seeds
        ]
        ids = [TokensPrompt(prompt_token_ids=self.encode(prompt)) for prompt in prompts]
        outputs = self.llm.generate(ids, requests, use_tqdm=False)
        return [
            [
                Completion(c.text, c.cumulative_logprob, len(c.token_ids), c.finish_reason, int(seed) + c.index)
                for c in sorted(output.outputs, key=lambda c: c.index)
            ]
            for output, seed in zip(outputs, seeds, strict=True)
        ]
