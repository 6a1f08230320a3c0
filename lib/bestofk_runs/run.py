"""How is a published run remade? One command: generate (or import), every judge, publish.

``python -m bestofk_runs.run NAME`` reads ``gpu_runs/params/NAME/generate.yaml``
(or ``import.yaml``) and ``judge-*.yaml``, runs the notebooks with papermill, and
copies the complete run to ``gpu_runs/data``. Killed? The same command goes on.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import yaml

from . import GPU_RUNS, publishing, shards
from .engines import models

NOTEBOOKS = {"generate": "generate", "import": "import_completions", "judge": "judge"}


def steps(run, *, root, overrides=(), params=None):
    """The papermill commands that make `run`: a list of (name of the step, arguments).

    `overrides` are (parameter, value) pairs for the first step.

    Raises
    ------
    ValueError
        No parameters of that name (the known ones are listed), `overrides` change the run's name or place, or a step
        needs a model that is not there.
    """
    if moved := [name for name, _ in overrides if name in ("run", "root")]:
        raise ValueError(f"-p {moved[0]} would reach the first step only: name the run, and its place with --root DIR")
    params = Path(params or GPU_RUNS / "params")
    folder = params / run
    first = [file for file in (folder / "generate.yaml", folder / "import.yaml") if file.is_file()]
    if not first:
        known = {file.parent.name for kind in ("generate", "import") for file in params.glob(f"*/{kind}.yaml")}
        raise ValueError(f"no parameters for run {run!r} in {params}; known: {', '.join(sorted(known))}")
    commands = []
    for file in [first[0], *sorted(folder.glob("judge-*.yaml"))]:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        if model := settings.get("judge_model") or settings.get("model"):
            try:
                models.check(model, settings.get("revision"))
            except ValueError as error:
                raise ValueError(f"{file.name} of run {run!r}: {error}") from None
        # relative: papermill writes the notebook's path into what it executes
        notebook = os.path.relpath(GPU_RUNS / f"{NOTEBOOKS[file.stem.split('-')[0]]}.ipynb")
        command = [sys.executable, "-m", "papermill", "-f", str(file), notebook]
        command += [str(Path(root) / run / f"{file.stem}.ipynb"), "--log-output", "--no-progress-bar"]
        for name, value in [("root", str(root)), *(overrides if file == first[0] else ())]:
            command += ["-p", name, value]
        commands.append((file.stem, command))
    return commands


def main(arguments=None):
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m bestofk_runs.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("run")
    parser.add_argument("--root", default="gpu_runs/scratch", help="where the run is made (default %(default)s)")
    parser.add_argument("--params", default=None, help="folder of parameters (default gpu_runs/params)")
    parser.add_argument("--to", default=None, help="where it is published (default gpu_runs/data)")
    parser.add_argument("--engine", default=None, help="transformers, vllm, or auto: vllm where it is installed")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="overrides",
                        help="another parameter of the first step")  # fmt: skip
    parser.add_argument("--no-publish", action="store_true", help="stop before copying")
    options = parser.parse_args(arguments)
    overrides = [tuple(pair) for pair in options.overrides]
    if options.engine:
        installed = "vllm" if importlib.util.find_spec("vllm") else "transformers"
        overrides.append(("engine", installed if options.engine == "auto" else options.engine))
    try:
        commands = steps(options.run, root=options.root, overrides=overrides, params=options.params)
        with shards.explained(f"preparing {options.root}"):
            (Path(options.root) / options.run).mkdir(parents=True, exist_ok=True)
        for count, (name, command) in enumerate(commands, 1):
            print(f"[{count}/{len(commands)}] {name}", flush=True)
            if subprocess.run(command).returncode:
                sys.exit(f"{name} failed: the last lines above say why; what was finished is kept")
        if not options.no_publish:
            print("publish", flush=True)
            print(f"published {publishing.copy(options.run, root=options.root, destination=options.to)}")
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
