"""What does a language model think of given texts: log-probabilities, entropies, next tokens.

Completions of one prompt share their beginnings, often most of their tokens. They are therefore
arranged in a prefix tree and every distinct prefix passes the model once, with the prompt's own
key-value cache reused. The numbers are those of a plain forward pass over each whole text.
"""

from dataclasses import dataclass

import numpy as np

from .engines.base import common
from .engines.cached import Cached
from .vllm_scoring import VllmScorer

IN_CACHE = 2**18  # logits read at a time: a mebibyte, which a processor's cache holds


@dataclass(frozen=True)
class Tree:
    """Token sequences as a prefix tree; a node's parent always comes before the node.

    Attributes
    ----------
    token, parent, depth : (nodes,) int arrays
        Token of a node; index of its parent, -1 for a child of the prompt; its depth, from 0.
    paths : list of int arrays
        For every sequence, the nodes it runs through.
    """

    token: np.ndarray
    parent: np.ndarray
    depth: np.ndarray
    paths: list


def tree(sequences):
    """Arrange token sequences in a prefix tree.

    Parameters
    ----------
    sequences : list of lists of int
        Token ids, possibly empty.

    Returns
    -------
    Tree

    Examples
    --------
    >>> t = tree([[5, 6], [5, 7], [5, 6]])
    >>> t.token.tolist(), t.parent.tolist(), [p.tolist() for p in t.paths]
    ([5, 6, 7], [-1, 0, 0], [[0, 1], [0, 2], [0, 1]])
    """
    index, token, parent, depth, paths = {}, [], [], [], []
    for sequence in sequences:
        node, path = -1, []
        for d, t in enumerate(sequence):
            if (node, t) not in index:
                index[node, t] = len(token)
                token.append(t)
                parent.append(node)
                depth.append(d)
            node = index[node, t]
            path.append(node)
        paths.append(np.array(path, dtype=np.int64))
    return Tree(*(np.array(x, dtype=np.int64) for x in (token, parent, depth)), paths)


def ancestors(t):
    """Bool array (nodes, nodes): which nodes of a `Tree` lie on the way to each node, itself included.

    Examples
    --------
    >>> ancestors(tree([[5, 6], [5, 7]])).astype(int).tolist()
    [[1, 0, 0], [1, 1, 0], [1, 0, 1]]
    """
    found = np.eye(len(t.token), dtype=bool)
    for node, parent in enumerate(t.parent):
        if parent >= 0:
            found[node] |= found[parent]
    return found


def chunks(sequences, limit):
    """Split sequence indices, in lexicographic order, into groups whose tree has at most `limit` nodes.

    A sequence longer than `limit` makes a group of its own.

    Examples
    --------
    >>> chunks([[1, 2, 3], [9], [1, 2, 4]], 4)
    [[0, 2], [1]]
    """
    groups, nodes, last = [], limit + 1, []
    for i in sorted(range(len(sequences)), key=lambda i: sequences[i]):
        shared = common([last, sequences[i]])
        fresh = len(sequences[i]) - shared
        if nodes + fresh > limit:
            groups.append([])
            nodes, fresh = 0, len(sequences[i])
        groups[-1].append(i)
        nodes += fresh
        last = sequences[i]
    return groups


def scorer_of(engine, nodes=512):
    """The scorer that goes with `engine`: a `Scorer`, or a `VllmScorer` for vLLM."""
    return VllmScorer(engine) if hasattr(engine, "llm") else Scorer(engine, nodes)


class Scorer:
    """Reads probabilities of given texts from a causal language model.

    Parameters
    ----------
    engine
        A transformers engine of `bestofk_runs.engines`: gives ``model``, ``max_length`` and ``encode(text)``.
    nodes : int
        Most distinct token positions in one forward pass (memory grows with its square).
    """

    def __init__(self, engine, nodes=512):
        self.encode, self.max_length, self.nodes = engine.encode, engine.max_length, nodes
        self.cached = Cached(engine.model)

    @property
    def computed(self):
        """Token positions computed so far."""
        return self.cached.computed

    def forget(self):
        """Drop the cached beginning: a shard's rounding must not depend on which one was judged before it."""
        self.cached.forget()

    def likelihood(self, prompts, completions):
        """Log-probabilities and entropies along completions.

        Parameters
        ----------
        prompts : str or list of str
            One for all, or one a completion; what prompts share is computed once too.
        completions : list of str
            What follows the prompt, none empty.

        Returns
        -------
        list of (logp, entropy)
            Two float64 arrays a completion, in nats: the log-probability of each of its tokens given all
            before it, and the entropy of the distribution that the token stands in. ``None`` for a text
            longer than the model's context. Texts are tokenised whole; a token that straddles the end
            of the prompt counts to the completion.
        """
        prompts = [prompts] * len(completions) if isinstance(prompts, str) else prompts
        starts = {prompt: self.encode(prompt) for prompt in set(prompts)}
        texts = [self.encode(p + c) for p, c in zip(prompts, completions, strict=True)]
        begins = [common([starts[p], ids]) for p, ids in zip(prompts, texts)]
        fits = [i for i, ids in enumerate(texts) if len(ids) <= self.max_length]
        out = [None] * len(texts)
        if not fits:
            return out
        first = min(begins[i] for i in fits)
        if first == 0:
            raise ValueError("every prompt must hold at least one whole token, but one holds none")
        # the trees begin with the last token that all prompts share, so that the law after it is among those read
        shared = max(min(common([texts[i] for i in fits]), first) - 1, 0)
        for group, t, logits in self._passes(texts[fits[0]][:shared], [texts[i][shared:] for i in fits]):
            logp, entropy = _read(logits, t)
            for i, path in ((fits[j], path) for j, path in zip(group, t.paths)):
                path = path[begins[i] - shared :]
                out[i] = logp[path], entropy[t.parent[path]]
        return out

    def next_token(self, texts, tokens):
        """Probabilities of chosen next tokens after each text; texts with a common beginning cost little.

        Parameters
        ----------
        texts : list of str
        tokens : list of int
            The token ids asked for.

        Returns
        -------
        (texts, tokens) float64 array
            Probabilities in the full distribution; a row of nan where the text does not fit.
        """
        ids = [self.encode(text) for text in texts]
        out = np.full((len(texts), len(tokens)), np.nan)
        fits = [i for i, x in enumerate(ids) if len(x) <= self.max_length]
        if not fits:
            return out
        shared = min(common([ids[i] for i in fits]), min(len(ids[i]) for i in fits) - 1)
        for group, _, logits in self._passes(ids[fits[0]][:shared], [ids[i][shared:] for i in fits], ends_only=True):
            out[[fits[j] for j in group]] = logits.double().softmax(-1)[:, tokens].cpu().numpy()
        return out

    def _passes(self, beginning, endings, ends_only=False):
        """Yield (indices of endings, their tree, logits after each of its nodes, or after each ending alone)."""
        for group in chunks(endings, self.nodes):
            t = tree([endings[i] for i in group])
            sees = np.hstack([np.ones((len(t.token), len(beginning)), dtype=bool), ancestors(t)])
            keep = [path[-1] for path in t.paths] if ends_only else None
            self.cached.hold(beginning)
            yield group, t, self.cached.extend(t.token, len(beginning) + t.depth, sees, keep)


def _read(logits, t):
    """Of every node of tree `t`: the log-probability of its token (nan for a root), and the entropy of the law after it.

    `logits`, shape (nodes, vocabulary), are read a few rows at a time, so that the passes over a large vocabulary stay
    in the processor's cache. An accelerator reads more at a time, and hands the results over together.
    """
    import torch

    order = np.argsort(t.parent, kind="stable")
    order = order[t.parent[order] >= 0]  # the nodes that are drawn from a law that was read, by that law
    law, token = (torch.as_tensor(values[order], device=logits.device) for values in (t.parent, t.token))
    step = max(1, (IN_CACHE if logits.device.type == "cpu" else 64 * IN_CACHE) // logits.shape[-1])
    logp, entropy = [], []
    for start in range(0, len(logits), step):
        log_p = logits[start : start + step].log_softmax(-1)
        drawn = slice(*np.searchsorted(t.parent[order], [start, start + step]))
        logp.append(log_p[law[drawn] - start, token[drawn]])
        entropy.append(-(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1))
    found = np.full(len(t.token), np.nan)
    found[order] = torch.cat(logp).double().cpu().numpy()
    return found, torch.cat(entropy).double().cpu().numpy()
