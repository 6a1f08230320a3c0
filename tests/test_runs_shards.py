"""Shards: whole or not there, never twice, never mixed; killed at any moment, the same command finishes."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

pa = pytest.importorskip("pyarrow")
pytest.importorskip("filelock")

from bestofk_runs import shards  # noqa: E402

IDS = [f"p{i}" for i in range(10)]


def make(ids):
    return pa.table({"prompt_id": [i for i in ids for _ in range(2)], "sample_index": [0, 1] * len(ids)})


def work(folder, plan, maker=make, **options):
    return shards.work(folder, plan, maker, progress=False, **options)


@pytest.fixture
def folder(tmp_path):
    return shards.open_phase(tmp_path / "run", "generate", {"seed": 1, "model": {"id": "m"}})


def rows(folder, plan):
    table = shards.read(folder, plan)
    return list(zip(table["prompt_id"].to_pylist(), table["sample_index"].to_pylist()))


def leftovers(folder):
    return [f.name for f in folder.rglob("*") if f.name.endswith(".tmp")]


def test_work_makes_each_shard_once_and_resuming_makes_none(folder):
    plan = shards.plan(IDS, 4)
    assert [len(s.ids) for s in plan] == [4, 4, 2]
    assert work(folder, plan) == {"made": 3, "skipped": 0}
    assert work(folder, plan, maker=None) == {"made": 0, "skipped": 3}
    assert rows(folder, plan) == [(p, i) for p in IDS for i in (0, 1)]
    assert all(shards.seconds(folder, s) >= 0 for s in plan)


def test_parts_share_the_work(folder):
    plan = shards.plan(IDS, 2)
    assert work(folder, plan, part="0/3")["made"] == 2
    with pytest.raises(ValueError, match="3 of 5 shards are still missing.*00001.parquet"):
        shards.read(folder, plan)
    assert work(folder, plan, part="1/3")["made"] == 2
    assert work(folder, plan, part="2/3")["made"] == 1
    assert rows(folder, plan) == [(p, i) for p in IDS for i in (0, 1)]


def test_an_error_in_the_middle_keeps_what_was_finished(folder):
    plan = shards.plan(IDS, 2)

    def fails(ids):
        if "p4" in ids:
            raise RuntimeError("engine died")
        return make(ids)

    with pytest.raises(RuntimeError, match="engine died"):
        work(folder, plan, fails)
    assert len(shards.finished(folder, plan)) == 2
    assert work(folder, plan) == {"made": 3, "skipped": 2}


def test_settings_bind_with_the_first_shard(tmp_path, folder):
    other = {"seed": 2}
    assert shards.open_phase(tmp_path / "run", "generate", other) == folder
    with shards._lock(folder / "locks" / "00000"):  # a worker is at the first shard
        with pytest.raises(ValueError, match="seed was 2, now 3"):
            shards.open_phase(tmp_path / "run", "generate", {"seed": 3})
    shards.open_phase(tmp_path / "run", "generate", {"seed": 3})
    work(folder, shards.plan(IDS, 10))
    with pytest.raises(ValueError, match="seed was 3, now 2. Choose another run name, or restore these settings"):
        shards.open_phase(tmp_path / "run", "generate", other)


def test_the_same_name_with_other_settings_is_refused_and_lists_them(tmp_path, folder):
    work(folder, shards.plan(IDS, 10))
    assert shards.open_phase(tmp_path / "run", "generate", {"model": {"id": "m"}, "seed": 1}) == folder
    with pytest.raises(
        ValueError, match=r"'run' was begun with other settings \(generate\): model.id was m, now n; seed was 1, now 2"
    ):
        shards.open_phase(tmp_path / "run", "generate", {"seed": 2, "model": {"id": "n"}})
    with pytest.raises(ValueError, match="top_p was absent, now 1.0"):
        shards.open_phase(tmp_path / "run", "generate", {"seed": 1, "model": {"id": "m"}, "top_p": 1.0})


def test_a_damaged_identity_is_refused(tmp_path, folder):
    file = folder / "identity.json"
    record = json.loads(file.read_text())
    record["identity"]["seed"] = 2
    for text in (json.dumps(record), "", "{}"):
        file.write_text(text)
        with pytest.raises(ValueError, match="identity.json is damaged"):
            shards.open_phase(tmp_path / "run", "generate", {"seed": 1, "model": {"id": "m"}})


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_shard_is_named(folder, keep):
    plan = shards.plan(IDS, 4)
    work(folder, plan)
    path = folder / plan[1].file
    path.write_bytes(path.read_bytes()[:keep])
    for action in (lambda: shards.read(folder, plan), lambda: work(folder, plan)):
        with pytest.raises(ValueError, match="00001.parquet is damaged: delete it and run the same command again"):
            action()
    path.unlink()
    assert work(folder, plan)["made"] == 1


def test_a_flipped_byte_in_the_data_is_noticed(folder):
    plan = shards.plan(IDS, 10)
    work(folder, plan)
    path = folder / plan[0].file
    data = bytearray(path.read_bytes())
    data[40] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match="00000.parquet is damaged"):
        shards.read(folder, plan)


def test_a_shard_from_other_settings_is_refused(tmp_path, folder):
    plan = shards.plan(IDS, 4)
    work(folder, plan)
    other = shards.open_phase(tmp_path / "other", "generate", {"seed": 2})
    (other / plan[0].file).write_bytes((folder / plan[0].file).read_bytes())
    with pytest.raises(ValueError, match="00000.parquet comes from other settings"):
        work(other, plan)
    # and so is one cut differently
    with pytest.raises(ValueError, match="comes from other settings"):
        work(folder, shards.plan(IDS, 3))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder, monkeypatch):
    plan = shards.plan(IDS, 4)
    work(folder, plan[:1])

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match="writing shard .*00001.parquet failed: No space left on device; what was finished is kept"
    ):
        work(folder, plan)
    monkeypatch.undo()
    assert leftovers(folder) == [] and len(shards.finished(folder, plan)) == 1
    assert work(folder, plan)["made"] == 2


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="preparing .* failed: "):
        shards.open_phase(tmp_path / "file", "generate", {})


def test_ids_must_be_distinct():
    with pytest.raises(ValueError, match="distinct"):
        shards.plan(["a", "a"], 1)


WORKER_IDS = [f"p{i}" for i in range(15)]
WORKER = """
    import sys, time, pyarrow as pa
    from bestofk_runs import shards
    folder = shards.open_phase(sys.argv[1], "generate", {"seed": 1})
    plan = shards.plan([f"p{i}" for i in range(15)], 1)
    def make(ids):
        print("make", *ids, flush=True)
        time.sleep(0.02)
        return pa.table({"prompt_id": list(ids), "sample_index": [0]})
    shards.work(folder, plan, make, progress=False)
    print("done", flush=True)
"""


def start(tmp_path):
    code = textwrap.dedent(WORKER)
    return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)


def test_two_workers_never_make_the_same_shard(tmp_path):
    outputs = [worker.communicate(timeout=60)[0].split("\n") for worker in [start(tmp_path), start(tmp_path)]]
    made = [line for output in outputs for line in output if line.startswith("make")]
    assert len(made) == len(set(made)) == 15 and all("done" in output for output in outputs)


def test_killed_again_and_again_it_finishes_without_repeating_a_finished_shard(tmp_path):
    rng = random.Random(7)
    folder, plan = tmp_path / "run" / "work" / "generate", shards.plan(WORKER_IDS, 1)
    made, kills = [], 0
    while len(shards.finished(folder, plan)) < len(plan):
        worker = start(tmp_path)
        lines = [worker.stdout.readline() for _ in range(rng.randint(1, 5))]
        time.sleep(rng.uniform(0, 0.1))
        worker.send_signal(signal.SIGKILL)
        lines += worker.communicate(timeout=60)[0].split("\n")
        made += [line.strip() for line in lines if line.startswith("make")]
        kills += worker.returncode == -signal.SIGKILL
    assert kills >= 3
    assert start(tmp_path).communicate(timeout=60)[0].strip() == "done"
    assert [p for p, _ in rows(folder, plan)] == WORKER_IDS
    # a kill can only cost the one shard that was being made
    assert len(made) <= len(plan) + kills and len(set(made)) == len(plan)
    assert leftovers(folder) == []
