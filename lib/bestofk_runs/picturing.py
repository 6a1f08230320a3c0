"""What do the findings look like? Loss against k and T, by the judge's rank, and beside the 1/T expansion."""

import numpy as np

from bestofk import plotting

from .analysing import recommended, regime
from .wording import is_error


def curves(findings, *, apart=False):
    """Draw the mean loss against k (best-of-k, the best T, a perfect judge) and against T.

    Returns one figure of two panels, or, if `apart`, a figure a panel, for pages that may be narrow.
    """
    figures, (left, right) = _panels(apart, 3.7)
    _against_k(left, findings)
    _against_T(right, findings)
    for axis in (left, right):
        axis.set_ylabel(("error rate" if is_error(findings.pool) else "mean loss") + "  (1 + δ)")
    return figures


def ranking(findings, *, apart=False):
    """Draw the mean loss of the sample that the judge ranks first, second, ...; and the 1/T expansion.

    Returns figures as `curves` does.
    """
    figures, (left, right) = _panels(apart, 3.2)
    _by_rank(left, findings.card)
    _response(right, findings.card)
    for axis in (left, right):
        axis.set_ylabel("error rate" if is_error(findings.pool) else "mean loss")
    if findings.pool.synthetic:
        plotting.synthetic(left)
    return figures


def _panels(apart, height):
    import matplotlib.pyplot as plt

    if not apart:
        return plt.subplots(1, 2, figsize=(9.4, height))
    return zip(*(plt.subplots(figsize=(4.7, height)) for _ in range(2)))


def _against_k(axis, findings):
    choice = findings.choice
    k, T = recommended(findings)
    i, j, hard = list(choice.k).index(k), list(choice.T).index(T), int(choice.T.argmin())
    colour = _colour(findings)
    end = choice.k[-1]
    axis.axhline(findings.random.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    axis.plot(choice.k, findings.perfect, color=plotting.COLORS["asymptote"], ls="--")
    labels = [(findings.random.value, "random", "asymptote"), (findings.perfect[-1], "perfect judge", "asymptote")]
    plotting.band(axis, choice.k, choice.low[:, j], choice.high[:, j], colour)
    axis.plot(choice.k, choice.mean[:, j], color=plotting.COLORS[colour], marker="o", ms=3.5)
    labels.append((choice.mean[-1, j], "best-of-k" if choice.T[j] == 0 else f"T = {T:g}", colour))
    if j != hard:
        axis.plot(choice.k, choice.mean[:, hard], color=plotting.COLORS["alternative"])
        labels.append((choice.mean[-1, hard], f"T = {choice.T[hard]:g}", "alternative"))
    axis.plot([k], [choice.mean[i, j]], marker="o", ms=9, mfc="none", color="black")
    end_labels(axis, end, labels)
    axis.set_xscale("log", base=2)
    axis.set_xticks(_powers(end), [str(n) for n in _powers(end)])
    axis.set_xlabel("samples used, k")
    if findings.pool.synthetic:
        plotting.synthetic(axis)


def _against_T(axis, findings):
    choice = findings.choice
    k, T = recommended(findings)
    i, j = list(choice.k).index(k), list(choice.T).index(T)
    shown = i if k > 1 else int(choice.k.argmax())
    colour = _colour(findings)
    place = np.where(np.isfinite(choice.T), choice.T, 2 * max(1.0, choice.T[np.isfinite(choice.T)].max(initial=0)))
    plotting.band(axis, place, choice.low[shown], choice.high[shown], colour)
    axis.plot(place, choice.mean[shown], color=plotting.COLORS[colour], marker="o", ms=3.5)
    axis.axhline(findings.random.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    if k > 1:
        axis.plot([place[j]], [choice.mean[i, j]], marker="o", ms=9, mfc="none", color="black")
    positive = place[place > 0]
    if len(positive) and place.min() == 0:
        axis.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
    axis.set_xticks(place, ["∞" if np.isinf(t) else f"{t:g}" for t in choice.T])
    axis.minorticks_off()
    ends = [(findings.random.value, "random", "asymptote"), (choice.mean[shown, -1], f"k = {choice.k[shown]}", colour)]
    end_labels(axis, place[-1], ends)
    axis.set_xlabel("selection temperature, T")


def _colour(findings):
    return {"helpful": "monotone", "finite": "finite", "harmful": "harmful", "blind": "asymptote"}[regime(findings)]


def _by_rank(axis, card):
    plotting.band(axis, card.tail_rank, card.tail_low, card.tail_high, "measured")
    marker = "o" if len(card.tail) <= 32 else None
    axis.plot(card.tail_rank, card.tail, color=plotting.COLORS["measured"], marker=marker, ms=3.5)
    axis.axhline(card.loss.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    plotting.label(axis, card.tail_rank[-1], card.loss.value, "random", "asymptote")
    axis.set_xscale("log", base=2)
    axis.set_xticks(_powers(card.tail_rank[-1]), [str(n) for n in _powers(card.tail_rank[-1])])
    axis.set_xlabel("rank by the judge's score (1 = highest)")


def _response(axis, card):
    """Mean loss at the card's k against T: measured, and to second order in 1/T."""
    k, measured, random = float(card.k[0]), card.measured[0], card.loss.value
    axis.axhline(random, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    axis.plot(card.T, measured, color=plotting.COLORS["measured"], marker="o", ms=3.5)
    low, high = min(measured.min(), random), max(measured.max(), random)
    room = 0.4 * (high - low) or 0.1
    axis.set_ylim(low - room, high + room)
    T = np.geomspace(card.T[0], card.T[-1], 400)
    bend = (k - 1) * (k - 2) / (2 * k**2) * card.curvature.value / T**2
    expansion = random + (k - 1) / k * card.covariance.value / T + bend
    axis.plot(T, expansion, color=plotting.COLORS["alternative"], ls="--")
    axis.set_xscale("log", base=2)
    ticks = card.T[:: max(1, -(-len(card.T) // 6))]
    axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axis.minorticks_off()
    labels = [(random, "random", "asymptote"), (measured[-1], f"measured, k = {card.k[0]}", "measured")]
    if low - room < expansion[-1] < high + room:
        labels.append((expansion[-1], "1/T expansion", "alternative"))
    end_labels(axis, card.T[-1], labels)
    axis.set_xlabel("selection temperature, T")


def _powers(end):
    return [2**n for n in range(int(np.log2(end)) + 1)]


def end_labels(axis, x, labels):
    """Write labels at the right end of lines, moved apart where they would overlap."""
    low, high = axis.get_ylim()
    least = 0.065 * (high - low)
    place = -np.inf
    for y, text, colour in sorted(labels):
        place = max(y, place + least)
        plotting.label(axis, x, place, text, colour)
