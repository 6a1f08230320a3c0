"""What does the way through the notebook cost? Tokens a second: bare engine, our engine, generate.ipynb.

The same prompts and settings each time: worked examples in front, n samples a prompt, stop at a newline. Bare means
``model.generate`` of transformers (n sequences returned), and ``LLM.generate`` of vLLM. Rates are by wall time and by
processor time (CPU); for the notebook, the processor time of papermill and its kernel less that of the same command
for one token, so that start and loading are left out (nan where the difference is below a second). On a busy machine trust the processor time.

    python benchmarks/bench_engines.py [--engine transformers|vllm] [--model smollm2] [--prompts 1] [--samples 16]
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[1] / "gpu_runs" / "generate.ipynb"
STOP = "\n"


def timed(make):
    """What `make` returns (a number of tokens), with its wall and processor seconds."""
    wall, cpu = time.monotonic(), time.process_time()
    return make(), time.monotonic() - wall, time.process_time() - cpu


def through_notebook(options, prompts, samples, max_tokens):
    """Tokens, seconds of work and processor seconds of one papermill command."""
    given = {
        "run": "bench", "engine": options.engine, "model": options.model, "dtype": options.dtype, "limit": prompts,
        "samples": samples, "max_tokens": max_tokens, "shard_size": prompts, "progress": False,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as root:
        command = [sys.executable, "-m", "papermill", str(NOTEBOOK), f"{root}/out.ipynb", "--no-progress-bar"]
        for name, value in (given | {"root": root}).items():
            command += ["-p", name, str(value)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"the notebook failed: {done.stderr[-2000:]}")
        summary = json.loads(Path(root, "bench", "manifest.json").read_text())["summary"]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return summary["tokens_out"], summary["seconds_of_work"], cpu


def bare_transformers(engine, prompts, options):
    """``model.generate``, a prompt at a time, all its samples returned; number of tokens sampled."""
    import torch

    torch.manual_seed(0)
    words = engine.tokenizer.convert_ids_to_tokens(range(len(engine.tokenizer)))
    texts = enumerate(map(engine.tokenizer.convert_tokens_to_string, ([word] for word in words)))
    ends = {engine.tokenizer.eos_token_id} | {token for token, text in texts if STOP in text}
    count = 0
    for prompt in prompts:
        ids = torch.tensor([engine.encode(prompt)], device=engine.model.device)
        out = engine.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.7, top_k=0,
            num_return_sequences=options.samples, max_new_tokens=options.max_tokens, eos_token_id=sorted(ends),
            pad_token_id=engine.tokenizer.eos_token_id,
        )  # fmt: skip
        for row in out[:, ids.shape[1] :].tolist():
            count += next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
    return count


def bare_vllm(engine, prompts, options):
    """``LLM.generate``, all prompts at once, n samples each; number of tokens sampled."""
    from vllm import SamplingParams

    settings = SamplingParams(
        n=options.samples, temperature=0.7, max_tokens=options.max_tokens, stop=[STOP], seed=1, logprobs=0
    )
    outputs = engine.llm.generate(prompts, settings, use_tqdm=False)
    return sum(len(c.token_ids) for output in outputs for c in output.outputs)


def main():
    """Measure each engine that is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--engine", choices=["transformers", "vllm"], help="default: each that is installed")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--max-tokens", type=int, default=16)
    options = parser.parse_args()
    for engine in [options.engine] if options.engine else ["transformers", "vllm"]:
        missing = [name for name in (engine, "torch", "papermill") if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{engine}: skipped, {' and '.join(missing)} not installed in this environment")
            continue
        options.engine = engine
        bench(options)


def bench(options):
    """Print one line a way, its ratio to the bare engine last."""
    from bestofk_runs import engines, tasks
    from bestofk_runs.engines import models

    try:
        models.check(options.model)
    except ValueError as error:
        print(f"{options.engine}: skipped, {error}")
        return
    prompts = [problem.prompt for problem in tasks.load("boxes", limit=options.prompts).problems]
    print(f"{options.engine}, {options.model}, {options.dtype}: {options.prompts} prompts x {options.samples} samples, "
          f"at most {options.max_tokens} tokens; {os.environ.get('OMP_NUM_THREADS', 'all')} threads")  # fmt: skip
    engine = engines.load(options.engine, options.model, dtype=options.dtype)
    bare = bare_vllm if options.engine == "vllm" else bare_transformers
    bare(engine, prompts[:1], argparse.Namespace(samples=1, max_tokens=2))  # warm
    base = line("bare engine", timed(lambda: bare(engine, prompts, options)))

    def ours():
        seeds = [2**20 * i for i in range(len(prompts))]
        given = {"sampling_temperature": 0.7, "max_tokens": options.max_tokens, "stop": [STOP], "seeds": seeds}
        return sum(c.tokens for found in engine.generate(prompts, options.samples, **given) for c in found)

    line("our engine, called directly", timed(ours), base)
    tokens, wall, cpu = through_notebook(options, options.prompts, options.samples, options.max_tokens)
    cpu -= through_notebook(options, options.prompts, 1, 1)[2]
    line("generate.ipynb through papermill", (tokens, wall, cpu if cpu > 1 else float("nan")), base)


def line(name, measured, base=None):
    """Print the rates of one way, by wall and by processor time; return them."""
    tokens, wall, cpu = measured
    rates = tokens / wall, tokens / cpu
    base = base or rates
    print(
        f"  {name:34} {tokens:6} tokens, {wall:6.1f} s: {rates[0]:7.1f} tokens/s, {rates[1]:7.1f} tokens/CPU s;"
        f" {rates[0] / base[0]:5.2f} x and {rates[1] / base[1]:5.2f} x bare",
        flush=True,
    )
    return rates


if __name__ == "__main__":
    main()
