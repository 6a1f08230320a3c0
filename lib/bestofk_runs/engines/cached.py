"""How are texts that begin alike computed once? One row of key-value cache, and a mask over it.

The cache holds a beginning. What may follow it, a tree of tokens, is appended in forward passes in which every
node sees the beginning and its own ancestors alone (tree attention), so the logits are those of a plain pass over
each whole text. Sampling (`transformers_engine`) and scoring (`bestofk_runs.scoring`) both read a model through this.
"""

import numpy as np

from .base import common

FULL, SLIDING = "full_attention", "sliding_attention"


class Cached:
    """A causal language model with one row of its key-value cache.

    Parameters
    ----------
    model : transformers model
        Layers in half precision stay so, but from here on the output layer computes in float32: bfloat16 would
        round logits to steps of about 0.1, which makes ties.

    Attributes
    ----------
    positions : int array
        Position in its text of every token in the cache.
    computed : int
        Tokens that have passed the model so far.

    Raises
    ------
    ValueError
        Layers that are neither full nor sliding-window attention: a mask cannot tell them what to see.
    """

    def __init__(self, model):
        config = model.config.get_text_config()
        kinds = set(getattr(config, "layer_types", None) or [])
        if others := kinds - {FULL, SLIDING}:
            raise ValueError(f"engine transformers cannot run layers of type {', '.join(sorted(others))}: use vllm")
        window = getattr(config, "sliding_window", None)
        self.window = window if SLIDING in kinds or not kinds else None
        self._a_mask_a_kind = SLIDING in kinds
        self.model = model
        self.computed = 0
        _float32_head(model)
        self.forget()

    def forget(self):
        """Empty the cache: the rounding of what comes next must not depend on what was asked before."""
        from transformers import DynamicCache

        self._cache, self._held, self.positions = DynamicCache(), [], np.empty(0, dtype=int)

    def hold(self, beginning):
        """Make the cache hold exactly the token ids `beginning`, reusing what it shares with the one held before."""
        shared = common([self._held, beginning])
        if shared == 0:
            self.forget()
        elif len(self.positions) > shared:
            self._cache.crop(shared - len(self.positions))
        self._held, self.positions = list(beginning[:shared]), self.positions[:shared]
        if new := len(beginning) - shared:
            sees = np.tri(new, len(beginning), shared, dtype=bool)
            self.extend(beginning[shared:], np.arange(shared, len(beginning)), sees, keep=[new - 1])
        self._held = list(beginning)

    def extend(self, tokens, positions, sees, keep=None):
        """Append nodes to the cache and return their logits.

        Parameters
        ----------
        tokens, positions : int array_like, shape (nodes,)
            Token ids, and their positions in their texts.
        sees : bool array, shape (nodes, cached + nodes)
            Which tokens of the cache and which nodes (itself included) belong to the text of a node up to it.
        keep : int array_like, optional
            Nodes whose logits are wanted. Default: all.

        Returns
        -------
        tensor, shape (nodes or kept, vocabulary)
            float32, on the model's device.
        """
        import torch

        def put(values):
            return torch.as_tensor(np.asarray(values), device=self.model.device)

        self.positions = np.append(self.positions, positions)
        sees = sees[None, None]
        near = sees
        if self.window is not None:
            near = sees & (np.asarray(positions)[:, None] - self.positions < self.window)
        with torch.inference_mode():
            out = self.model(
                put(tokens)[None],
                position_ids=put(positions)[None],
                attention_mask={FULL: put(sees), SLIDING: put(near)} if self._a_mask_a_kind else put(near),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=0 if keep is None else put(keep),
            )
        self.computed += len(tokens)
        return out.logits[0].float()


def _float32_head(model):
    """Let the output layer of a half-precision model compute in float32; an embedding that it shares weights with stays."""
    import torch

    head = model.get_output_embeddings()
    if head.weight.dtype != torch.float32:
        for name, value in list(head.named_parameters()):
            setattr(head, name, torch.nn.Parameter(value.detach().float(), requires_grad=False))
        head.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
