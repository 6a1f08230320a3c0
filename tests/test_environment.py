"""environment.yml, the extras of pyproject.toml and constraints.txt agree."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
NAMED = ["jupyter-book", "jupyter", "numpy", "scipy", "sympy", "matplotlib", "vllm", "transformers", "torch",
         "papermill", "nbval"]
# on a GPU node vllm chooses these itself, and nothing else of ours needs them
NOT_CONSTRAINED = {"vllm"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    """Every requirement of pyproject.toml, by name, the project's own extras resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        lines += extra
    requirements = [Requirement(line) for line in lines]
    return {canonical(one.name): one for one in requirements if one.name != "bestofk"}


def in_environment():
    """Every pip requirement of environment.yml, by name."""
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    return {canonical(Requirement(line).name): Requirement(line) for line in lines if not line.startswith("-")}


def pinned():
    """Every exact version of constraints.txt, by name."""
    lines = [line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonical(one.name): one for one in found}


def test_environment_holds_what_the_owner_named():
    assert set(NAMED) <= set(in_environment())


def test_environment_equals_the_extras():
    assert {name: str(one.specifier) for name, one in in_environment().items()} == {
        name: str(one.specifier) for name, one in declared().items()}


def test_every_requirement_is_pinned_within_its_range():
    pins = pinned()
    for name, requirement in declared().items():
        if name in NOT_CONSTRAINED:
            continue
        assert name in pins, f"{name} has no pin in constraints.txt"
        (only,) = pins[name].specifier
        assert only.operator == "==", f"{name} is not pinned exactly: {pins[name]}"
        assert requirement.specifier.contains(only.version, prereleases=True), f"{pins[name]} is outside {requirement}"
