"""Reward models: one number for a whole solution, or one for every step of it.

Two layouts of process reward model are read. ``extra_0``: the token ``<extra_0>`` follows every step and a
two-way head says at each whether the step is right (Qwen2.5-Math-PRM); the head is read from the weights, so no
code of the model is run. ``generic``: a causal model whose next token after the separator is a good or a bad mark
(Math-Shepherd and its kin).
"""

import re
from pathlib import Path

import numpy as np

from ..engines import models
from . import Verdict, missing, once, pairs

AGGREGATE = {
    "mean": np.mean,
    "min": np.min,
    "product": np.prod,
    "last": lambda p: p[-1],
}
SYSTEM = r"Please reason step by step, and put your final answer within \boxed{}."
_TITLES = ("Mr", "Mrs", "Ms", "Dr", "St", "vs", "etc", "e.g", "i.e", "approx")


def steps(text):
    r"""Split a solution into its steps: paragraphs if there are several, else lines, else sentences.

    A sentence ends with . ! or ? before white space, so decimals and prices stay whole, as do list numbers and
    common titles.

    Examples
    --------
    >>> steps("Each costs $3.50. Two cost 2 * 3.50 = 7. #### 7")
    ['Each costs $3.50.', 'Two cost 2 * 3.50 = 7.', '#### 7']
    >>> steps("1. Add 2 and 3.\n2. Mr. Lee has 5.")
    ['1. Add 2 and 3.', '2. Mr. Lee has 5.']
    """
    for pattern in (r"\n\s*\n", r"\n"):
        parts = [p.strip() for p in re.split(pattern, text) if p.strip()]
        if len(parts) > 1:
            return parts
    parts = [""]
    for piece in re.split(r"(?<=[.!?])\s+", text.strip()):
        parts[-1] = f"{parts[-1]} {piece}".strip()
        numbered = re.fullmatch(r"(Step\s+)?\d+\.", parts[-1])
        if not numbered and not piece.rstrip(".").endswith(_TITLES):
            parts.append("")
    return [p for p in parts if p] or [""]


def prm(
    engine, *, aggregate="mean", layout="extra_0", separator="", good="+", bad="-", system_prompt=SYSTEM, batch=8,
):  # fmt: skip
    """Process reward model; the score is an aggregate of step rewards in [0, 1] (the official scripts' is 10 times the mean).

    Parameters
    ----------
    engine : RewardModel or transformers engine
        A `RewardModel` for ``extra_0``, a causal model's engine for ``generic``.
    aggregate : {'mean', 'min', 'product', 'last'}
    layout : {'extra_0', 'generic'}
    separator : str
        Written after every step: one token. Default ``<extra_0>``, or " ки" in the generic layout.
    good, bad : str
        Marks of the generic layout, one token each.
    system_prompt : str
        System turn of the chat template (``extra_0``).
    batch : int
        Solutions a forward pass.
    """
    if aggregate not in AGGREGATE:
        raise ValueError(f"aggregate must be one of {', '.join(AGGREGATE)}, got {aggregate!r}")
    if layout not in ("extra_0", "generic"):
        raise ValueError(f"layout must be extra_0 or generic, got {layout!r}")
    tokenizer = engine.tokenizer
    separator = separator or ("<extra_0>" if layout == "extra_0" else " ки")
    mark = _one_token(tokenizer, separator, "separator")
    marks = [] if layout == "extra_0" else [_one_token(tokenizer, bad, "bad"), _one_token(tokenizer, good, "good")]
    limit = engine.model.config.get_text_config().max_position_embeddings

    def text(question, solution):
        body = "".join(step + separator for step in steps(solution.replace(separator, " ")))
        if layout == "generic":
            return f"{question.strip()} {body}"
        turns = [
            {"role": "system", "content": system_prompt},
            {"role": "user", "content": question.strip()},
            {"role": "assistant", "content": body},
        ]
        return tokenizer.apply_chat_template(turns, tokenize=False)

    def distinct(texts):
        ids = [tokenizer(text(*t), add_special_tokens=layout == "generic")["input_ids"] for t in texts]
        out = [missing("too long")] * len(ids)
        fits = [i for i, x in enumerate(ids) if len(x) <= limit]
        for at in range(0, len(fits), batch):
            part = fits[at : at + batch]
            for row, i in zip(_logits(engine, [ids[i] for i in part]), part):
                two = row[np.array(ids[i]) == mark]
                two = two[:, marks] if marks else two
                if two.shape[1] != 2:
                    raise ValueError(f"judge_model gives {two.shape[1]} numbers a token, a step needs 2 (bad, good)")
                out[i] = Verdict(float(AGGREGATE[aggregate](1 / (1 + np.exp(two[:, 0] - two[:, 1])))))
        return out

    return _both(distinct)


def _both(distinct):
    """A judge from a function of (question, solution) pairs."""

    def judge(items, samples):
        return once([(item.question, sample.text) for item, sample in pairs(items, samples)], distinct)

    return judge


def _one_token(tokenizer, text, name):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 and len(tokenizer(text.strip(), add_special_tokens=False)["input_ids"]) == 1:
        ids = tokenizer(text.strip(), add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ValueError(f"{name} must be one token of the judge model, got {text!r} ({len(ids)} tokens)")
    return ids[0]


def _logits(engine, sequences):
    """Outputs at every position of each token sequence: a list of float64 (length, outputs) arrays."""
    import torch

    width = max(map(len, sequences))
    ids = torch.tensor([x + [0] * (width - len(x)) for x in sequences], device=engine.model.device)
    mask = torch.tensor([[1] * len(x) + [0] * (width - len(x)) for x in sequences], device=engine.model.device)
    with torch.inference_mode():
        out = engine.outputs(ids, mask) if hasattr(engine, "outputs") else engine.model(ids, attention_mask=mask).logits
    return [row[: len(x)].double().cpu().numpy() for row, x in zip(out, sequences)]


def classifier(engine, *, label=-1, batch=8):
    """Sequence-classification reward model: its single output, or the log-odds of output `label`.

    The text is the chat of question and solution where the tokenizer has a chat template, else the two as a pair.

    Parameters
    ----------
    engine : RewardModel
    label : int
        Which output means good, for a model with several.
    batch : int
        Solutions a forward pass.
    """
    import torch

    tokenizer, model = engine.tokenizer, engine.model
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None) or tokenizer.model_max_length

    def encode(question, solution):
        if not tokenizer.chat_template:
            return tokenizer(question, solution)["input_ids"]
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": solution}]
        return tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), add_special_tokens=False)["input_ids"]

    def forward(sequences):
        # a padding token that occurs in no text: models look for the last token that is not padding
        pad = next(t for t in range(config.vocab_size) if all(t not in x for x in sequences))
        model.config.pad_token_id = config.pad_token_id = pad
        width = max(map(len, sequences))
        ids = torch.tensor([x + [pad] * (width - len(x)) for x in sequences], device=model.device)
        mask = torch.tensor([[1] * len(x) + [0] * (width - len(x)) for x in sequences], device=model.device)
        with torch.inference_mode():
            return model(ids, attention_mask=mask).logits.double().cpu().numpy()

    def distinct(texts):
        ids = [encode(question.strip(), solution.strip()) for question, solution in texts]
        out = [missing("too long")] * len(ids)
        fits = [i for i, x in enumerate(ids) if len(x) <= limit]
        for at in range(0, len(fits), batch):
            part = fits[at : at + batch]
            for i, z in zip(part, forward([ids[i] for i in part])):
                out[i] = Verdict(float(z[0] if len(z) == 1 else z[label] - _logsumexp(np.delete(z, label))))
        return out

    return _both(distinct)


def _logsumexp(z):
    return z.max() + np.log(np.exp(z - z.max()).sum())


class RewardModel:
    """A reward model and its tokenizer, loaded from a resolved `bestofk_runs.engines.models.Source`.

    Parameters
    ----------
    source
    kind : {'prm', 'classifier'}
    dtype : str
        ``auto`` is bfloat16 on a GPU and float32 on the CPU.
    trust_remote_code : bool
        Run Python code that comes with the model. Off unless asked for; neither layout needs it.
    """

    def __init__(self, source, kind, *, dtype="auto", trust_remote_code=False, device=None):
        import torch
        import transformers

        self.source = source
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = ("bfloat16" if self.device == "cuda" else "float32") if dtype == "auto" else dtype
        options = {"revision": source.revision, "trust_remote_code": trust_remote_code}
        auto = transformers.AutoModel if kind == "prm" else transformers.AutoModelForSequenceClassification
        with models.explained(source):
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(source.path, **options)
            options |= {"dtype": getattr(torch, self.dtype), "use_safetensors": True, "output_loading_info": True}
            loaded = auto.from_pretrained(source.path, **options)
        self.model = models.whole(loaded, source, "PRM" if kind == "prm" else "sequence-classification model")
        self.model.to(self.device).eval()
        self._head = None
        if kind == "prm":
            self._head = [w.to(self.device, getattr(torch, self.dtype)) for w in step_head(source)]

    def outputs(self, ids, mask):
        """Outputs of the step head at every position, (rows, positions, outputs) float32."""
        import torch

        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        for layer in range(0, len(self._head), 2):
            if layer:
                hidden = torch.relu(hidden)
            hidden = torch.nn.functional.linear(hidden, self._head[layer], self._head[layer + 1])
        return hidden.float()

    def describe(self):
        """Which model, which weights, which packages."""
        import importlib.metadata

        return {
            "engine": "transformers",
            "model": self.source.name,
            "id": self.source.id,
            "revision": self.source.revision,
            "sha256": self.source.sha256,
            "licence": self.source.licence,
            "dtype": self.dtype,
            "device": self.device,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "packages": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        }


def step_head(source):
    """Weights and biases of the step head, ``score.*`` in the model's safetensors, in order."""
    import torch
    from safetensors import safe_open

    folder = Path(source.path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(source.path, revision=source.revision, allow_patterns=["*.safetensors"]))
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            found.update({name: tensors.get_tensor(name) for name in tensors.keys() if name.startswith("score.")})
    head = []
    for name in sorted(n for n in found if n.endswith("weight")):
        weight = found[name]
        head += [weight, found.get(name.replace("weight", "bias"), torch.zeros(len(weight)))]
    if not head:
        raise ValueError(f"judge_model {source.name!r} has no step head (score.*) in its safetensors, so it is no PRM")
    return head
