"""What do stored samples say about reranking?

From one pool of N scored samples a prompt: the unbiased reranked loss for every
k <= N and every selection temperature T at once, with intervals over prompts.
"""

from .curves import Curve, curve
from .subsets import reranked_loss

__all__ = ["Curve", "curve", "reranked_loss"]
