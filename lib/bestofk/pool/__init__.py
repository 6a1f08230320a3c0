"""What do stored samples say about reranking?

From one pool of N scored samples a prompt: the unbiased reranked loss for every
k <= N and every selection temperature T at once, with intervals over prompts; the
best k and T; the power law and its rivals; and a report card of the judge.
"""

from .choice import Optimum, optimum, table_optimum
from .curves import Curve, Estimate, curve
from .judging import JudgeReport, report
from .piloting import Pilot, pilot
from .scaling import PowerLaw, power_law
from .subsets import reranked_loss
from .turning import Regimes, confusion, regimes
from .voting import majority_vote

__all__ = [
    "Curve",
    "Estimate",
    "JudgeReport",
    "Optimum",
    "Pilot",
    "PowerLaw",
    "Regimes",
    "confusion",
    "curve",
    "majority_vote",
    "optimum",
    "pilot",
    "power_law",
    "regimes",
    "report",
    "reranked_loss",
    "table_optimum",
]
