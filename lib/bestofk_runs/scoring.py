"""What does a language model think of given texts: log-probabilities, entropies, next tokens.

Completions of one prompt share their beginnings, often most of their tokens. They are therefore
arranged in a prefix tree and every distinct prefix passes the model once, with the prompt's own
key-value cache reused. The numbers are those of a plain forward pass over each whole text.
"""

from dataclasses import dataclass

import numpy as np

from .engines.base import common
from .vllm_scoring import VllmScorer

CACHED = 2**18  # logits treated at a time: a mebibyte


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
        A transformers engine of `bestofk_runs.engines`: gives ``model`` and ``encode(text)``. A model in half
        precision keeps its layers, but its output layer is computed in float32: bfloat16 would round
        log-probabilities to steps of about 0.1, which makes ties.
    nodes : int
        Most distinct token positions in one forward pass (memory grows with its square).

    Attributes
    ----------
    computed, naive : int
        Token positions computed so far, and those that one pass over each whole text would have computed.
    """

    def __init__(self, engine, nodes=512):
        self.model, self.encode, self.nodes = engine.model.eval(), engine.encode, nodes
        config = self.model.config.get_text_config()
        sliding = "sliding_attention" in (getattr(config, "layer_types", None) or [])
        self._window = config.sliding_window if sliding else None
        self.max_length = config.max_position_embeddings
        self.computed = self.naive = 0
        self._cache, self._cached = None, []
        _float32_head(self.model)

    def forget(self):
        """Drop the cached beginning: a shard's rounding must not depend on which one was judged before it."""
        self._cache, self._cached = None, []

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
        import torch

        prompts = [prompts] * len(completions) if isinstance(prompts, str) else prompts
        starts = {prompt: self.encode(prompt) for prompt in set(prompts)}
        texts = [self.encode(p + c) for p, c in zip(prompts, completions, strict=True)]
        begins = [common([starts[p], ids]) for p, ids in zip(prompts, texts)]
        fits = [i for i, ids in enumerate(texts) if len(ids) <= self.max_length]
        out = [None] * len(texts)
        if not fits:
            return out
        if min(begins[i] for i in fits) == 0:
            raise ValueError("every prompt must hold at least one whole token, but one holds none")
        ordered = sorted(texts[i] for i in fits)
        shared = min(common([ordered[0], ordered[-1]]), *(begins[i] for i in fits))
        for group, t, logits in self._passes(ordered[0][:shared], [texts[i][shared:] for i in fits], ends_only=False):
            token_logp, entropy = _read(logits, t)
            for j, path in zip(group, t.paths):
                path = path[begins[fits[j]] - shared :]
                out[fits[j]] = token_logp[path], entropy[t.parent[path] + 1]
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
        first, last = min(ids[i] for i in fits), max(ids[i] for i in fits)
        shared = min(common([first, last]), min(len(ids[i]) for i in fits) - 1)
        for group, _, logits in self._passes(first[:shared], [ids[i][shared:] for i in fits], ends_only=True):
            out[[fits[j] for j in group]] = logits.double().softmax(-1)[:, tokens].cpu().numpy()
        return out

    def _passes(self, prompt, sequences, ends_only):
        """Yield (indices, tree, logits): [logits after the prompt, after all nodes], or those after each sequence."""
        import torch

        self.naive += sum(len(prompt) + len(s) for s in sequences)
        with torch.inference_mode():
            head = self._prefill(prompt)
            for group in chunks(sequences, self.nodes):
                t = tree([sequences[i] for i in group])
                ends = torch.as_tensor(np.array([path[-1] for path in t.paths]), device=self.model.device)
                logits = self._forward(t, ends if ends_only else 0)
                self._cache.crop(-len(t.token))
                if not ends_only:  # the first row follows the prompt; without one, no token is read from it
                    logits = [logits[:1] if head is None else head, logits]
                yield group, t, logits

    def _prefill(self, prompt):
        """Bring `prompt` into the cache, reusing what it shares with the last one; logits after it."""
        from transformers import DynamicCache

        shared = min(common([self._cached, prompt]), len(prompt) - 1)
        if shared <= 0:
            self._cache = DynamicCache()
        elif shared < len(self._cached):
            self._cache.crop(shared - len(self._cached))
        self._cached = list(prompt)
        return self._forward(tree([prompt[max(shared, 0) :]]), 1) if prompt else None

    def _forward(self, t, keep):
        import torch

        length = self._cache.get_seq_length()
        self.computed += len(t.token)
        return self.model(
            input_ids=torch.as_tensor(t.token[None], device=self.model.device),
            attention_mask=self._mask(t, length),
            position_ids=torch.as_tensor(t.depth[None] + length, device=self.model.device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits[0]

    def _mask(self, t, length):
        """Additive attention mask (1, 1, nodes, length + nodes): a node sees the prompt and its ancestors."""
        import torch

        n = len(t.token)
        ancestors = np.zeros((n, n), dtype=bool)
        for i in range(n):
            if t.parent[i] >= 0:
                ancestors[i] = ancestors[t.parent[i]]
            ancestors[i, i] = True
        seen = np.concatenate([np.ones((n, length), dtype=bool), ancestors], axis=1)

        def additive(visible):
            mask = torch.zeros(visible.shape, dtype=self.model.dtype)
            mask.masked_fill_(~torch.from_numpy(visible), torch.finfo(self.model.dtype).min)
            return mask[None, None].to(self.model.device)

        if self._window is None:
            return additive(seen)
        position = np.concatenate([np.arange(length), length + t.depth])
        near = (length + t.depth)[:, None] - position[None, :] < self._window
        return {"full_attention": additive(seen), "sliding_attention": additive(seen & near)}


def _read(logits, t):
    """Log-probability of the token of every node of tree `t`, and entropies of all laws, that after the prompt first.

    A few rows at a time, so that the passes over a large vocabulary stay in the processor's cache.
    """
    token_logp, entropy = np.empty(len(t.token)), []
    children = [[] for _ in range(len(t.token) + 1)]  # the nodes that are drawn from each law
    for node, parent in enumerate(t.parent):
        children[parent + 1].append(node)
    for block in logits:
        for rows in block.split(max(1, CACHED // block.shape[-1])):
            log_p = rows.float().log_softmax(-1)
            drawn = children[len(entropy) : len(entropy) + len(rows)]
            entropy += (-(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1)).tolist()
            for law, nodes in zip(log_p, drawn):
                token_logp[nodes] = law[t.token[nodes]].cpu()
    return token_logp, np.array(entropy)


def _float32_head(model):
    """Compute the output layer of a half-precision model in float32, whatever scaling follows it."""
    import torch

    head = model.get_output_embeddings()
    if head.weight.dtype != torch.float32:
        head.weight = torch.nn.Parameter(head.weight.detach().float(), requires_grad=False)
        head.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
