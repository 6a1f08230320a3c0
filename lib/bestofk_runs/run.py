"""How is a published run remade? One command: generate, every judge, publish.

``python -m bestofk_runs.run NAME`` reads ``gpu_runs/params/NAME/generate.yaml``
and ``judge-*.yaml``, runs the two notebooks with papermill, and copies the
complete run to ``gpu_runs/data``. Killed? The same command goes on.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from . import publishing, shards

HOME = Path(__file__).resolve().parents[2] / "gpu_runs"


def steps(run, *, root, overrides=(), params=None):
    """The papermill commands that make `run`, as lists of arguments.

    Raises
    ------
    ValueError
        No parameters of that name; the known ones are listed.
    """
    params = Path(params or HOME / "params")
    folder = params / run
    if not (folder / "generate.yaml").is_file():
        known = sorted(file.parent.name for file in params.glob("*/generate.yaml"))
        raise ValueError(f"no parameters for run {run!r} in {params}; known: {', '.join(known)}")
    out = Path(root) / run
    commands = []
    for file in [folder / "generate.yaml", *sorted(folder.glob("judge-*.yaml"))]:
        notebook = "judge" if file.stem.startswith("judge-") else "generate"
        extra = [("root", str(root)), *(overrides if notebook == "generate" else ())]
        command = [sys.executable, "-m", "papermill", "-f", str(file), str(HOME / f"{notebook}.ipynb")]
        command += [str(out / f"{file.stem}.ipynb"), "--log-output", "--no-progress-bar"]
        for name, value in extra:
            command += ["-p", name, value]
        commands.append((file.stem, command))
    return commands


def main(arguments=None):
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m bestofk_runs.run", description=__doc__.split("\n\n")[0])
    parser.add_argument("run")
    parser.add_argument("--root", default="gpu_runs/scratch", help="where the run is made (default %(default)s)")
    parser.add_argument("--to", default=None, help="where it is published (default gpu_runs/data)")
    parser.add_argument("--engine", default=None, help="transformers, vllm, or auto: vllm where it is installed")
    parser.add_argument("--no-publish", action="store_true", help="stop before copying")
    options = parser.parse_args(arguments)
    overrides = []
    if options.engine:
        engine = options.engine
        if engine == "auto":
            engine = "vllm" if importlib.util.find_spec("vllm") else "transformers"
        overrides = [("engine", engine)]
    try:
        commands = steps(options.run, root=options.root, overrides=overrides)
        with shards.explained(f"preparing {options.root}"):
            (Path(options.root) / options.run).mkdir(parents=True, exist_ok=True)
        for count, (name, command) in enumerate(commands, 1):
            print(f"[{count}/{len(commands)}] {name}", flush=True)
            if subprocess.run(command).returncode:
                sys.exit(f"{name} failed: the last lines above say why; what was finished is kept")
        if not options.no_publish:
            print(f"published {publishing.copy(options.run, root=options.root, destination=options.to)}")
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
