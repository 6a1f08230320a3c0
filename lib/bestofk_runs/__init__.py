"""What makes language-model data for the book: tasks, engines, judges, shards, publishing."""

from pathlib import Path

GPU_RUNS = Path(__file__).resolve().parents[2] / "gpu_runs"  # the checkout's notebooks, parameters and published runs
