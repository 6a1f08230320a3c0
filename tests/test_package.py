"""The package imports with numpy and scipy alone."""

import subprocess
import sys

import pytest

BLOCK = """
import importlib.abc, sys

class OnlyNumpyAndScipy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {"numpy", "scipy", "bestofk", "_distutils_hack"}:
            return None
        # numpy and scipy themselves probe for optional packages
        frame, callers = sys._getframe(1), set()
        while frame:
            callers.add(frame.f_globals.get("__name__", "").partition(".")[0])
            frame = frame.f_back
        if callers & {"numpy", "scipy"} and top not in {"sympy", "matplotlib", "pyarrow", "pandas", "torch"}:
            return None
        raise ModuleNotFoundError(f"{name} imported though only numpy and scipy are allowed", name=name)

sys.meta_path.insert(0, OnlyNumpyAndScipy())
"""
MODULES = ["reranking", "expansion", "regression", "gaussian", "optimum", "extremes", "allocation", "pool", "particles",
           "steps", "artifacts", "frozen", "plotting"]


@pytest.mark.parametrize("module", MODULES)
def test_import_needs_numpy_and_scipy_alone(module):
    done = subprocess.run([sys.executable, "-c", f"{BLOCK}\nimport bestofk, bestofk.{module}"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_block_itself_works():
    done = subprocess.run([sys.executable, "-c", f"{BLOCK}\nimport matplotlib"], capture_output=True, text=True)
    assert "only numpy and scipy are allowed" in done.stderr
