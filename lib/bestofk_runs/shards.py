"""How does a long run survive being killed? Shards, written once and never again.

A run lives in ``root/NAME``. Each phase of work on it (``generate``,
``scores-<judge>``) has its own folder ``root/NAME/work/PHASE`` with

- ``identity.json``: everything that determines the result, and its hash; the
  same run with anything changed is refused, listing what differs;
- ``00000.parquet``, ...: one shard a group of prompts, written under a temporary
  name, synced, then renamed, so that a shard is there whole or not at all;
- ``locks/``: a file lock a shard, so that two workers never work the same one.

Resuming is calling `work` again: finished shards are skipped.
"""

import hashlib
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

FORMAT = "bestofk-shard-1"


@dataclass(frozen=True)
class Shard:
    """Shard number `index`: the units (prompt ids, say) `ids`."""

    index: int
    ids: tuple

    @property
    def file(self):
        """File name of the shard."""
        return f"{self.index:05d}.parquet"


def identity_hash(identity):
    """Hex digest of a JSON-able identity; key order does not matter."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def plan(ids, size):
    """Cut `ids` into `Shard` objects of `size` units each (the last may be smaller).

    >>> [shard.ids for shard in plan("abcde", 2)]
    [('a', 'b'), ('c', 'd'), ('e',)]
    """
    ids = tuple(ids)
    if len(set(ids)) < len(ids):
        raise ValueError("ids must be distinct, but some occur twice")
    return [Shard(i, ids[start : start + size]) for i, start in enumerate(range(0, len(ids), size))]


def parse_part(text):
    """Read ``"i/n"`` (part i of n, counted from 0).

    >>> parse_part("2/4")
    (2, 4)
    """
    try:
        i, n = (int(piece) for piece in str(text).split("/"))
    except ValueError:
        i, n = -1, -1
    if not 0 <= i < n:
        raise ValueError(f"shard must be i/n with 0 <= i < n, such as 0/4, got {text!r}")
    return i, n


def open_phase(directory, phase, identity, *, unused=None, advice="Choose another run name"):
    """Create or reopen the folder of a phase; return it.

    Settings bind as soon as a first shard is made or being made: until then they can be changed.

    Parameters
    ----------
    directory : path
        The run, ``root/NAME``.
    phase : str
    identity : dict
        Everything that determines the result: resolved parameters, prompt template, model and data revisions.
    unused : callable, optional
        ``unused(stored identity) -> bool``: nothing was made under it. Default: this folder holds no shard and no
        worker is at one.
    advice : str
        What to do where other settings are wanted.

    Raises
    ------
    ValueError
        The phase exists with another identity; the sentence lists what differs.
    """
    folder = Path(directory) / "work" / phase
    file = folder / "identity.json"
    identity = json.loads(json.dumps(identity))
    with explained(f"preparing {folder}"):
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        with _lock(folder / "locks" / "identity"):
            stored = _read_identity(file) if file.exists() else None
            if stored is None or stored != identity and (unused(stored) if unused else idle(folder)):
                record = {"format": FORMAT, "sha256": identity_hash(identity), "identity": identity}
                write_file(file, json.dumps(record, indent=1, ensure_ascii=False).encode())
                return folder
    if stored != identity:
        raise ValueError(
            f"run {Path(directory).name!r} was begun with other settings ({phase}): "
            f"{'; '.join(differences(stored, identity))}. {advice}, or restore these settings"
        )
    return folder


def idle(folder):
    """True if a phase's folder holds no shard, and no worker is making one."""
    from filelock import Timeout

    if any(Path(folder).glob("[0-9]*.parquet")):
        return False
    for lock in Path(folder, "locks").glob("[0-9]*.lock"):
        try:
            with _lock(lock.with_suffix(""), timeout=0):
                pass
        except Timeout:
            return False
    return True


def _read_identity(file):
    try:
        record = json.loads(file.read_text())
        if record["sha256"] == identity_hash(record["identity"]):
            return record["identity"]
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{file} is damaged, so the run cannot be resumed safely: use another run name")


def differences(stored, wanted, prefix=""):
    """Sentences naming each leaf in which two identities differ.

    >>> differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}})
    ['b.c was 2, now 3']
    """
    out = []
    for key in sorted(stored.keys() | wanted.keys()):
        old, new = stored.get(key, "absent"), wanted.get(key, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            out += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            out.append(f"{prefix}{key} was {_short(old)}, now {_short(new)}")
    return out


def _short(value):
    text = str(value) if isinstance(value, (str, int, float, bool)) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def finished(folder, shards):
    """The shards that are already there."""
    return [shard for shard in shards if (Path(folder) / shard.file).exists()]


def work(folder, shards, make, *, part="0/1", progress=True, unit="prompt", weight=1):
    """Make every missing shard of this worker's part.

    Parameters
    ----------
    folder : path
        From `open_phase`.
    shards : list of Shard
        From `plan`.
    make : callable
        ``make(ids) -> pyarrow.Table`` with one or more rows a unit; called once a missing shard.
    part : str
        ``"i/n"``: this worker takes shards i, i + n, i + 2n, ...
    progress : bool
        Show a bar with rate and estimate.
    unit : str
        What the bar counts.
    weight : int
        Units of the bar per id.

    Returns
    -------
    dict
        ``made`` and ``skipped`` (shards).
    """
    from filelock import Timeout
    from tqdm import tqdm

    folder = Path(folder)
    i, n = parse_part(part)
    mine = shards[i::n]
    key = _read_identity(folder / "identity.json")
    ready = finished(folder, mine)
    for shard in ready:
        check(folder, shard, key)
    count = {"total": weight * sum(len(s.ids) for s in mine), "initial": weight * sum(len(s.ids) for s in ready)}
    made = 0
    with tqdm(**count, unit=unit, disable=not progress, mininterval=1, smoothing=0.1) as bar:
        waiting = [shard for shard in mine if shard not in ready]
        while waiting:
            busy = []
            for shard in waiting:
                path = folder / shard.file
                if not path.exists():
                    try:
                        with _lock(folder / "locks" / f"{shard.index:05d}", timeout=0):
                            if not path.exists():
                                start = time.monotonic()
                                table = make(shard.ids)
                                took = time.monotonic() - start
                                with explained(f"writing shard {path}"):
                                    write_table(path, table, {**_stamp(key, shard), b"seconds": f"{took:.3f}".encode()})
                                made += 1
                    except Timeout:
                        busy.append(shard)
                        continue
                bar.update(len(shard.ids) * weight)
            if busy and busy != waiting:
                bar.write(f"waiting for another worker: shard {busy[0].file} and {len(busy) - 1} more are in its hands")
            waiting = busy
            if busy:
                time.sleep(0.5)
    return {"made": made, "skipped": len(mine) - made}


def seconds(folder, shard):
    """Seconds that making a shard took, or None if it does not say."""
    import pyarrow.parquet as pq

    value = (pq.read_schema(Path(folder) / shard.file).metadata or {}).get(b"seconds")
    return float(value) if value else None


def _stamp(identity, shard):
    return {b"bestofk": json.dumps({"identity": identity_hash(identity), "ids": list(shard.ids)}).encode()}


def check(folder, shard, identity=None):
    """Raise ``ValueError`` if a shard is damaged or from other settings."""
    import pyarrow.parquet as pq

    folder = Path(folder)
    path = folder / shard.file
    identity = identity or _read_identity(folder / "identity.json")
    try:
        metadata = pq.read_schema(path).metadata or {}
    except Exception:
        raise ValueError(f"shard {path} is damaged: delete it and run the same command again") from None
    if metadata.get(b"bestofk") != _stamp(identity, shard)[b"bestofk"]:
        raise ValueError(f"shard {path} comes from other settings: delete it and run the same command again")


def read(folder, shards, columns=None):
    """All shards as one table (or some `columns` of it), in order; every one is checked.

    Raises
    ------
    ValueError
        A shard is missing, damaged, or from other settings.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(folder)
    missing = [shard for shard in shards if not (folder / shard.file).exists()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(shards)} shards are still missing in {folder}, first {missing[0].file}"
        )
    identity = _read_identity(folder / "identity.json")
    tables = []
    for shard in shards:
        check(folder, shard, identity)
        try:
            table = pq.read_table(folder / shard.file, columns=columns, page_checksum_verification=True)
        except Exception:
            raise ValueError(
                f"shard {folder / shard.file} is damaged: delete it and run the same command again"
            ) from None
        tables.append(table.replace_schema_metadata(None))
    return pa.concat_tables(tables)


def write_description(folder, description):
    """Write ``model.json`` of a phase: what the worker that loaded the model says of it."""
    with explained(f"writing {folder / 'model.json'}"), _lock(folder / "locks" / "model"):
        write_file(folder / "model.json", json.dumps(description).encode())


def read_description(folder):
    """What `write_description` wrote; None where it is not there, or damaged."""
    try:
        return json.loads((folder / "model.json").read_text()) or None
    except (OSError, ValueError):
        return None


def write_table(path, table, metadata=None):
    """Write a parquet file whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if metadata:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    write_file(path, sink.getvalue())


def write_file(path, data):
    """Write bytes whole or not at all: temporary name, sync, rename, sync the folder.

    The caller holds the lock that goes with `path`; so a temporary file of that name was left by a killed worker.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    for stale in path.parent.glob(f".{path.name}.*.tmp"):
        stale.unlink()
    try:
        with open(temporary, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Failed(OSError):
    """An operating-system error that says its sentence alone, without the number."""

    def __str__(self):
        return self.strerror


@contextmanager
def explained(doing):
    """Turn an operating-system error into one sentence that says what was being done."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise Failed(error.errno, f"{doing} failed: {reason}; what was finished is kept") from None


def _lock(path, timeout=-1):
    from filelock import FileLock

    return FileLock(f"{path}.lock", timeout=timeout)
