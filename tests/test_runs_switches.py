"""The table of the official scripts' switches and ours, in gpu_runs/README.md: whole, and true of the notebooks."""

import ast
import json
import re
from pathlib import Path

import pytest

GPU_RUNS = Path(__file__).resolve().parents[1] / "gpu_runs"
NOTEBOOKS = {name.split("_")[0]: name for name in ("generate", "judge", "sweep", "report", "import_completions")}
# every add_argument of compute_delta_vs_k.py and compute_delta_vs_T.py
OFFICIAL = (
    "T k_min k_max k_step k_values model_args tasks output_path limit yaml_path skip_lm_eval samples_pattern "
    "judge_model plot_output epsilon seed samples_jsonl generate_samples k T_values T_min T_max T_step reward reward_api judge_mode"
).split()


def parameters_of(notebook):
    cells = json.loads((GPU_RUNS / f"{NOTEBOOKS[notebook]}.ipynb").read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    return {node.target.id for node in ast.parse("".join(cell["source"])).body if isinstance(node, ast.AnnAssign)}


def rows():
    """(their switches, our parameters, notebooks named) for each row of the table."""
    text = (GPU_RUNS / "README.md").read_text().split("| theirs | ours |")[1].split("\n\n")[0]
    for line in text.splitlines()[2:]:
        theirs, ours, where, _ = [cell.strip() for cell in line.replace("\\|", "/").strip("|").split("|")]
        switches = re.findall(r"--(\w+)", theirs)
        said = re.sub(r"= `\w+`( or `\w+`)*", "", ours)  # values of a parameter
        names = switches if ours == "the same" else re.findall(r"`(\w+)`", said)
        yield switches, names, [name for name in NOTEBOOKS if re.search(rf"\b{name}\b", f"{ours} {where}")]


TABLE = list(rows())


def test_every_official_switch_is_in_the_table():
    assert {switch for switches, _, _ in TABLE for switch in switches} == set(OFFICIAL)


@pytest.mark.parametrize("switches, names, notebooks", TABLE, ids=["-".join(row[0]) for row in TABLE])
def test_our_equivalent_is_a_parameter_of_the_notebook_named(switches, names, notebooks):
    assert notebooks
    known = {notebook: parameters_of(notebook) for notebook in notebooks}
    for name in names:
        assert any(name in parameters for parameters in known.values()), f"{name} is no parameter of {notebooks}"
    assert switches == ["generate_samples"] or all(set(names) & parameters for parameters in known.values())
