"""environment.yml, the extras of pyproject.toml and constraints.txt agree."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
VLLM_REQUIREMENTS = ROOT / "tests" / "oracles" / "vllm_requirements.txt"
# the Python that environment.yml names, on a GPU node
GPU_NODE = {"python_version": "3.12", "python_full_version": "3.12.0", "implementation_name": "cpython",
            "platform_python_implementation": "CPython", "os_name": "posix", "sys_platform": "linux",
            "platform_system": "Linux", "platform_machine": "x86_64", "extra": ""}
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


def environment_lines():
    """Every pip requirement of environment.yml, options left out."""
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    lines = next(entry["pip"] for entry in packages if isinstance(entry, dict))
    return [Requirement(line) for line in lines if not line.startswith("-")]


def in_environment():
    """Every pip requirement of environment.yml, by name."""
    return {canonical(one.name): one for one in environment_lines()}


def requirements_of(file):
    """Every requirement of a requirements file, comments left out."""
    lines = [line.strip() for line in file.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned():
    """Every exact version of constraints.txt, by name."""
    return {canonical(one.name): one for one in requirements_of(ROOT / "constraints.txt")}


def test_environment_holds_what_the_owner_named():
    assert set(NAMED) <= set(in_environment())


def test_environment_names_nothing_twice():
    names = [canonical(one.name) for one in environment_lines()]
    assert len(names) == len(set(names))


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


def test_vllm_requirements_are_those_of_the_version_asked_for():
    (asked,) = in_environment()["vllm"].specifier
    assert f" vllm-{asked.version}-" in VLLM_REQUIREMENTS.read_text().splitlines()[0]


def test_every_pin_is_admitted_by_vllm():
    pins = pinned()
    shared = [one for one in requirements_of(VLLM_REQUIREMENTS)
              if canonical(one.name) in pins and (one.marker is None or one.marker.evaluate(GPU_NODE))]
    assert {"lark", "numpy", "torch", "transformers"} <= {canonical(one.name) for one in shared}
    refused = []
    for requirement in shared:
        pin = pins[canonical(requirement.name)]
        (only,) = pin.specifier
        if not requirement.specifier.contains(only.version, prereleases=True):
            refused.append(f"{pin}, where vllm wants {requirement}")
    assert not refused
