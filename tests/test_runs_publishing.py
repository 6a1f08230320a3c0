"""Publishing: all files or none, the manifest last, nothing of this machine in it."""

import json
import os
import shutil

import pytest

pa = pytest.importorskip("pyarrow")

from bestofk import artifacts  # noqa: E402
from bestofk_runs import publishing, shards  # noqa: E402
from test_artifacts import tables  # noqa: E402


@pytest.fixture
def root(tmp_path):
    (tmp_path / "made" / "toy").mkdir(parents=True)
    publishing.publish_generation(tmp_path / "made" / "toy", tables()[0], {"class": "synthetic"})
    return tmp_path / "made"


def names(folder):
    return sorted(f.name for f in folder.iterdir())


def test_copy_holds_the_files_of_the_manifest_and_nothing_else(root, tmp_path):
    (root / "toy" / "notes.txt").write_text("x")
    target = publishing.copy("toy", root=root, destination=tmp_path / "data")
    assert names(target) == ["completions.parquet", "manifest.json", "prompts.parquet", "texts.parquet"]
    assert names(tmp_path / "data") == ["toy"]
    assert (artifacts.load("toy", root=tmp_path / "data").correct == artifacts.load("toy", root=root).correct).all()


def test_publishing_again_replaces_the_copy_and_keeps_scores(root, tmp_path):
    publishing.copy("toy", root=root, destination=tmp_path / "data")
    publishing.add_scores(root / "toy", "index", tables()[1], {"judge": "stored"})
    publishing.publish_generation(root / "toy", tables()[0], {"class": "synthetic"})
    publishing.copy("toy", root=root, destination=tmp_path / "data")
    run = artifacts.load("toy", root=tmp_path / "data")
    assert list(run.scores) == ["index"] and run.manifest["judges"]["index"] == {"judge": "stored"}
    assert names(tmp_path / "data") == ["toy"]


def test_texts_that_may_not_be_published_stay(root, tmp_path):
    publishing.publish_generation(root / "toy", tables()[0], {"class": "synthetic"}, unpublished=["texts"])
    target = publishing.copy("toy", root=root, destination=tmp_path / "data")
    assert (root / "toy" / "texts.parquet").exists() and "texts.parquet" not in names(target)
    assert artifacts.load("toy", root=tmp_path / "data").texts is None


def test_an_incomplete_or_unknown_run_is_refused(root, tmp_path):
    with pytest.raises(ValueError, match="holds no manifest.json, so it is not a complete run"):
        publishing.copy("tox", root=root, destination=tmp_path / "data")
    path = root / "toy" / "prompts.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="prompts.parquet does not match its manifest"):
        publishing.copy("toy", root=root, destination=tmp_path / "data")
    assert names(tmp_path / "data") == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_full_disk_or_a_closed_folder_leaves_the_old_copy(root, tmp_path, monkeypatch, error):
    publishing.copy("toy", root=root, destination=tmp_path / "data")
    before = (tmp_path / "data" / "toy" / "manifest.json").read_bytes()
    publishing.add_scores(root / "toy", "index", tables()[1], {"judge": "stored"})
    real, calls = shutil.copyfile, []

    def fails(source, target):
        calls.append(source)
        if len(calls) == 3:
            raise error
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", fails)
    with pytest.raises(OSError, match=f"publishing toy to .* failed: {error.strerror}; what was finished is kept"):
        publishing.copy("toy", root=root, destination=tmp_path / "data")
    assert names(tmp_path / "data") == ["toy"]
    assert (tmp_path / "data" / "toy" / "manifest.json").read_bytes() == before


def test_a_full_disk_while_adding_scores_keeps_the_run(root, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="publishing .*toy failed: No space left on device"):
        publishing.add_scores(root / "toy", "index", tables()[1], {"judge": "stored"})
    monkeypatch.undo()
    assert artifacts.load("toy", root=root).scores == {}
    assert not [name for name in names(root / "toy") if name.endswith(".tmp")]


def test_a_kill_between_scores_and_manifest_changes_nothing(root, monkeypatch):
    monkeypatch.setattr(publishing, "_renew", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        publishing.add_scores(root / "toy", "index", tables()[1], {"judge": "stored"})
    monkeypatch.undo()
    assert artifacts.load("toy", root=root).scores == {}
    publishing.add_scores(root / "toy", "index", tables()[1], {"judge": "stored"})
    assert list(artifacts.load("toy", root=root).scores) == ["index"]


STEPS = {os: ("open", "fsync", "replace", "rename"), shutil: ("copyfile", "rmtree"), shards: ("write_table",)}


def killed_at(step, action):
    """Do `action` in a child that dies, as by SIGKILL, before its file operation number `step`; True if it died."""
    child = os.fork()
    if child == 0:
        count = [0]

        def dying(function):
            def wrapped(*given, **options):
                count[0] += 1
                if count[0] == step:
                    os._exit(9)
                return function(*given, **options)

            return wrapped

        for module, names in STEPS.items():
            for name in names:
                setattr(module, name, dying(getattr(module, name)))
        try:
            action()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("action", ["generation", "scores", "first copy", "second copy"])
def test_killed_before_any_file_operation_the_same_command_finishes(root, tmp_path, action):
    folder, data = root / "toy", tmp_path / "data"
    again = {
        "generation": lambda: publishing.publish_generation(folder, tables()[0], {"class": "synthetic"}),
        "scores": lambda: publishing.add_scores(folder, "index", tables()[1], {"judge": "stored"}),
        "first copy": lambda: publishing.copy("toy", root=root, destination=data),
        "second copy": lambda: publishing.copy("toy", root=root, destination=data),
    }[action]
    if action == "second copy":
        again()
    step = 1
    while killed_at(step, again):
        if action == "second copy":  # the old copy or the new one, and never half of either
            held = data / "toy" if (data / "toy").exists() else data / ".toy.old"
            assert artifacts.load(held.name, root=data).shape == (3, 4)
        if action == "scores":
            assert artifacts.load("toy", root=root).shape == (3, 4)
        again()
        assert artifacts.load("toy", root=data if "copy" in action else root).shape == (3, 4)
        assert [f for f in tmp_path.rglob("*") if f.name.startswith(".")] == []
        step += 1
    assert step > 8


def test_the_environment_record_names_no_machine_user_or_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted0123456789")
    text = json.dumps(publishing.environment())
    assert "hf_planted0123456789" not in text
    for private in (os.path.expanduser("~"), os.uname().nodename, os.getcwd()):
        assert f'"{private}' not in text


def test_a_path_that_the_user_gave_is_published_without_the_home_folder(root, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "someone"))
    parameters = {"model": str(tmp_path / "someone" / "models" / "x")}
    publishing.publish_generation(root / "toy", tables()[0], {"class": "synthetic", "parameters": parameters})
    assert publishing.manifest_of(root / "toy")["parameters"]["model"] == "~/models/x"


def test_the_command_line_explains_itself(root, tmp_path, capsys):
    publishing.main(["toy", "--root", str(root), "--to", str(tmp_path / "data")])
    assert "published" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="not a complete run"):
        publishing.main(["tox", "--root", str(root), "--to", str(tmp_path / "data")])
