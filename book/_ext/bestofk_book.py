"""Keep the built book true to the library, the data and the other chapters.

jupyter-cache looks at code cells alone, so it would serve yesterday's results
after a change in ``lib`` or ``gpu_runs/data``. This Sphinx extension keys the
execution cache on a digest of both, and has a page that shows a number of
another chapter built again when a chapter changes.
"""

import hashlib
import os
import re
import shutil
from pathlib import Path

# The chapters multiply many small matrices: a second thread would only be waited for. Kernels inherit this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[2]
WATCHED = ("lib/bestofk", "gpu_runs/data", "book/simulations")
GLUED_FROM_ELSEWHERE = re.compile(r"\{glue:\w*\}`[^`]*\.ipynb::")


def digest(root=ROOT):
    """Return a sha256 over names and contents of everything that chapters compute from."""
    total = hashlib.sha256()
    for folder in WATCHED:
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(root)}\0".encode())
                total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def use_keyed_cache(app, config):
    """Point the execution cache to a folder named by the digest, and drop the others."""
    config.bestofk_digest = digest()
    caches = Path(app.outdir).parent / ".jupyter_cache"
    folder = caches / config.bestofk_digest[:16]
    if caches.is_dir():
        for old in caches.iterdir():
            if old != folder:
                shutil.rmtree(old) if old.is_dir() else old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    config.nb_execution_cache_path = str(folder)


def outdated_by_glue(app, env, added, changed, removed):
    """Return the pages that show another page's numbers, if any page is new or changed."""
    if not (added or changed or removed):
        return []
    return [
        name for name in env.found_docs
        if GLUED_FROM_ELSEWHERE.search(Path(env.doc2path(name)).read_text(encoding="utf-8"))
    ]


def keep_bars(app, what, name, obj, options, lines):
    """Show |x| in a docstring as it is written; reStructuredText would look for a substitution."""
    for number, line in enumerate(lines):
        pieces = re.split(r"(``.*?``|:math:`.*?`)", line)
        lines[number] = "".join(p if i % 2 else p.replace("|", r"\|") for i, p in enumerate(pieces))


def setup(app):
    app.add_config_value("bestofk_digest", "", "env")
    app.connect("config-inited", use_keyed_cache, priority=900)
    app.connect("env-get-outdated", outdated_by_glue)
    if "sphinx.ext.autodoc" in app.config.extensions:
        app.connect("autodoc-process-docstring", keep_bars)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
