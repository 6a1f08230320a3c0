"""Killed at any moment of any phase, the same command finishes the same run, and leaves nothing half-made.

``BESTOFK_KILLS=20`` kills the driver's own command (papermill and a kernel for each notebook) twenty times, sometimes
without its kernel, and prints what became of each (``-s``). By default one kill a phase of a process that executes the
notebooks' cells itself, which spares the kernels' starts.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("papermill")
psutil = pytest.importorskip("psutil")
yaml = pytest.importorskip("yaml")

from bestofk import artifacts  # noqa: E402
from bestofk_runs import publishing, shards  # noqa: E402
from test_artifacts import tables  # noqa: E402

KILLS = int(os.environ.get("BESTOFK_KILLS", 4))
FULL = KILLS > 4
PHASES = ("generate", "judge", "publish", "start")  # start: before the first step is announced


@pytest.fixture(scope="module")
def params(tmp_path_factory, tiny_llama):
    """Parameters of a run of a tiny random model, and of one judge."""
    folder = tmp_path_factory.mktemp("params")
    common = {"run": "killed", "progress": False, "shard_size": 1}
    size = {"limit": 8, "samples": 8, "max_tokens": 12} if FULL else {"limit": 4, "samples": 4, "max_tokens": 6}
    judge = {"judge": "loglik", "judge_model": str(tiny_llama)} if FULL else {"judge": "length"}
    (folder / "killed").mkdir()
    generate = common | {"model": str(tiny_llama), "dtype": "float32"} | size
    (folder / "killed" / "generate.yaml").write_text(yaml.safe_dump(generate))
    (folder / "killed" / "judge-it.yaml").write_text(yaml.safe_dump(common | judge | {"judge_name": "it"}))
    return folder


CELLS = """
import json, sys, yaml
from pathlib import Path
from bestofk_runs import publishing, run
params, root, to = sys.argv[1:]
for count, (name, notebook) in enumerate([("generate", "generate"), ("judge-it", "judge")], 1):
    print(f"[{count}/2] {name}")
    scope = {}
    for cell in json.loads((run.GPU_RUNS / f"{notebook}.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), scope)
        if "parameters" in cell["metadata"].get("tags", []):
            scope |= yaml.safe_load(Path(params, "killed", f"{name}.yaml").read_text()) | {"root": root}
print("publish")
print("published", publishing.copy("killed", root=root, destination=to))
"""


class Command:
    """The command, started; what it prints goes to a file, so that a kernel that outlives it holds no pipe."""

    def __init__(self, params, place):
        place.mkdir(exist_ok=True)
        command = [sys.executable, "-c", CELLS, params, place / "root", place / "to"]
        if FULL:
            command = [sys.executable, "-m", "bestofk_runs.run", "killed", "--params", params]
            command += ["--root", place / "root", "--to", place / "to"]
        self.log = place / "log.txt"
        with open(self.log, "wb") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen([str(c) for c in command], stdout=log, stderr=log, env=environment)

    def phases(self):
        """Phases begun so far, from ``start`` to ``published``."""
        words = [line.split() for line in self.log.read_text(errors="replace").splitlines()]
        steps = [w[1].split("-")[0] for w in words if len(w) == 2 and re.fullmatch(r"\[\d/\d\]", w[0])]
        return ["start"] + steps + [w[0] for w in words if w[:1] in (["publish"], ["published"])]

    def finish(self):
        """Let it run; return how many seconds each phase took."""
        begun = {}
        while self.process.poll() is None:
            for phase in self.phases():
                begun.setdefault(phase, time.monotonic())
            time.sleep(0.002)
        assert self.process.returncode == 0, self.log.read_text()[-3000:]
        times = [*begun.values(), time.monotonic()]
        return {phase: b - a for phase, a, b in zip(begun, times, times[1:])}

    def kill(self, phase, delay, kernel_too):
        """SIGKILL it and its descendants `delay` seconds into a phase; return the phase that it had reached."""
        while phase not in self.phases():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.001)
        time.sleep(delay)
        family = []
        if self.process.poll() is None:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for member in family:
            try:
                if kernel_too or "ipykernel_launcher" not in " ".join(member.cmdline()):
                    member.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        return self.phases()[-1] if self.process.wait() == -signal.SIGKILL else "a finished command"


def whole_files(place):
    """sha256 of every published table."""
    manifest = json.loads((place / "to" / "killed" / "manifest.json").read_text())
    return {name: entry["sha256"] for name, entry in manifest["files"].items()}


def shards_of(place):
    """When each finished shard was written."""
    return {str(f): f.stat().st_mtime_ns for f in place.glob("root/killed/work/*/[0-9]*.parquet")}


def test_killed_in_every_phase_the_same_command_publishes_the_same_tables(params, tmp_path):
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    print(f"\nkills drawn with seed {seed}")
    lasts = Command(params, tmp_path / "whole").finish()
    print("uninterrupted, seconds:", {name: round(seconds, 3) for name, seconds in lasts.items()})
    whole, hit = artifacts.load("killed", root=tmp_path / "whole" / "to"), []
    for count in range(KILLS):
        place, phase = tmp_path / f"round{count // len(PHASES)}", PHASES[count % len(PHASES)]
        delay, kernel_too = rng.uniform(0, lasts[phase]), rng.random() < 0.5
        before = shards_of(place)
        hit.append(Command(params, place).kill(phase, delay, kernel_too))
        # what was finished is neither lost nor made again
        assert before.items() <= shards_of(place).items()
        found = len(list(place.rglob(".*")))
        print(f"kill {count + 1}: {delay:.3f} s into {phase}{'' if kernel_too else ', kernel spared'};"
              f" hit {hit[-1]}; {found} temporary files", flush=True)  # fmt: skip
        if (count + 1) % len(PHASES) == 0 or count + 1 == KILLS:
            Command(params, place).finish()
            again = artifacts.load("killed", root=place / "to")
            assert whole_files(place) == whole_files(tmp_path / "whole")
            assert (again.prompt_id == whole.prompt_id).all() and (again.scores["it"] == whole.scores["it"]).all()
            assert list(place.rglob(".*")) == []
    # one kill a phase may come late, when the machine got faster meanwhile; six or seven do not
    assert not FULL or set(hit) >= set(PHASES)
