"""Is this judge worth having, and with which k and T? A report on anybody's pool.

`analyse` does the work of ``report.ipynb``; `verdict`, `numbers`, `gaps` and the
two figures say it. `to_html` turns the executed notebook into one file that
needs nothing else.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from bestofk import plotting
from bestofk import pool as estimators

from .parameters import Parameters
from .pools import Pool


class Report(Parameters):
    """Parameters of ``report.ipynb``; what they mean is said there."""

    pool: str
    judge: str | None = None
    loss: str = "error"
    columns: dict = {}
    filter: str | None = None
    limit: Annotated[float, Field(gt=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None
    k_values: list[int] | None = None
    T_values: list[float] | None = None
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    resamples: Annotated[int, Field(ge=100)] = 1000
    progress: bool = True


@dataclass(frozen=True)
class Findings:
    """What `analyse` found.

    Attributes
    ----------
    pool : Pool
    unit : float
        Median over prompts of the standard deviation of a prompt's scores.
    choice : bestofk.pool.Optimum
    card : bestofk.pool.JudgeReport
    perfect : ndarray (len(choice.k),)
        Mean loss that a judge who knows the loss would reach.
    random : bestofk.pool.Estimate
        Mean loss of a random sample.
    harm : bestofk.pool.Estimate
        Mean loss of best-of-N minus that of a random sample, prompt by prompt.
    power : bestofk.pool.PowerLaw or str
        The fit at T = 0, or why there is none.
    clean : tuple (prompts, random, chosen, (k, T)) or None
        Mean losses on the prompts without any flagged sample, if there are some and not all: of a random sample,
        and at the recommended (k, T), or of best-of-N where one sample is recommended.
    """

    pool: Pool
    unit: float
    choice: Any
    card: Any
    perfect: np.ndarray
    random: Any
    harm: Any
    power: Any
    clean: tuple | None


def counts(N):
    """Candidates for k up to N, about evenly spaced in log k.

    >>> counts(24)
    [1, 2, 3, 4, 6, 8, 12, 16, 24]
    """
    steps = sorted({int(b * 2**n) for n in range(0, 40) for b in (1, 1.5)} | {N})
    return [k for k in steps if k <= N]


def spread(pool):
    """Median over prompts of the standard deviation of the prompt's scores: a unit for T (1 where all are equal)."""
    finite = [row[np.isfinite(row)] for row in pool.reward]
    unit = float(np.median([row.std() for row in finite if len(row)]))
    if unit == 0:  # most prompts have no spread at all
        spreads = [row.std() for row in finite if len(row) and row.std() > 0]
        unit = float(np.median(spreads)) if spreads else 1.0
    return float(f"{unit:.2g}")


def temperatures(unit):
    """Candidates for T: best-of-k, and multiples of the scores' spread."""
    return [0.0] + [float(f"{unit * factor:.3g}") for factor in (0.25, 0.5, 1.0, 2.0, 4.0)]


def analyse(pool, *, k=None, T=None, level=0.95, seed=0, resamples=1000, progress=False):
    """Find the best k and T of a pool, the judge's report card, and what a perfect judge would reach.

    Parameters
    ----------
    pool : bestofk_runs.pools.Pool
        At least four prompts with three samples each.
    k, T : list, optional
        Candidates; default `counts` and `temperatures`.
    level, seed, resamples, progress
        As for `bestofk.pool.optimum`.

    Returns
    -------
    Findings
    """
    if len(pool.prompt) < 4 or pool.N < 3:
        raise ValueError(
            f"pool {pool.name} has {len(pool.prompt)} prompts with {pool.N} samples each: a report resamples prompts "
            "and compares samples, so it needs at least 4 prompts with 3 samples"
        )
    _require_difference(pool)
    unit = spread(pool)
    k = counts(pool.N) if k is None else sorted({1, *k})
    T = temperatures(unit) if T is None else sorted(set(T))
    same = {"loss": pool.loss, "reward": pool.reward, "level": level, "seed": seed, "resamples": resamples}
    choice = estimators.optimum(k, T, **same, progress=progress)
    card = estimators.report(min(4, pool.N), unit, **same)
    opposite = [-row for row in pool.loss]
    perfect = estimators.reranked_loss(choice.k, 0, loss=pool.loss, reward=opposite).mean(axis=0)
    ends = estimators.curve([1, max(k)], min(T), **same)
    random = estimators.Estimate(*(float(v[0]) for v in (ends.mean, ends.low, ends.high)))
    change = np.quantile(ends.resampled[:, 1] - ends.resampled[:, 0], [(1 - level) / 2, (1 + level) / 2])
    harm = estimators.Estimate(float(ends.mean[1] - ends.mean[0]), *map(float, change))
    try:
        power = estimators.power_law([n for n in choice.k if n & (n - 1) == 0], **same)
    except ValueError as error:
        power = str(error)
    return Findings(pool, unit, choice, card, perfect, random, harm, power, _clean(pool, choice, same))


def _require_difference(pool):
    """Refuse a pool whose prompts' scored samples are all alike in loss: there is nothing to select."""
    scored = [loss[np.isfinite(reward)] for loss, reward in zip(pool.loss, pool.reward, strict=True)]
    count = sum(len(row) > 1 and row.min() < row.max() for row in scored)
    if count >= 2:
        return
    losses = np.concatenate(scored)
    if (losses == losses[0]).all() and losses[0] in (0, 1):
        reason = f"all scored answers count as {'wrong' if losses[0] else 'right'}"
    else:
        reason = "elsewhere all scored answers of a prompt have the same loss"
    cause = "its loss or correct column" if pool.source == "a table" else "how its answers are extracted"
    raise ValueError(
        f"{pool.name} has {count} prompts whose scored samples differ in loss and a judge needs 2 to be judged: "
        f"{reason}; check {cause}"
    )


def _clean(pool, choice, same):
    good = np.array([not row.any() for row in pool.flagged])
    if good.all() or good.sum() < 4:
        return None if good.all() else (int(good.sum()), None, None, None)
    part = pool.take(np.flatnonzero(good))
    k, T = choice.best if choice.over_one_sample.low > 0 else (choice.k.max(), choice.T.min())
    found = estimators.curve([1, k], T, **{**same, "loss": part.loss, "reward": part.reward})
    pair = [estimators.Estimate(*map(float, values)) for values in zip(found.mean, found.low, found.high, strict=True)]
    return int(good.sum()), *pair, (int(k), float(T))


# what it means


def regime(findings):
    """One of ``harmful``, ``finite``, ``helpful``, ``blind``.

    finite: selecting helps, N samples are outside the confidence set of k*, and the
    cross-fitted gain over N samples excludes zero. helpful: selecting helps, and N
    samples were not shown to be worse in both ways. harmful: no setting was shown to
    help, and best-of-N is worse than a random sample. blind: neither gain nor harm was
    shown.
    """
    choice = findings.choice
    if choice.over_one_sample.low > 0 and choice.best[0] > 1:
        worse = not _k_set(findings)[choice.k.argmax()] and choice.over_most_samples.low > 0
        return "finite" if worse else "helpful"
    return "harmful" if findings.harm.low > 0 else "blind"


def recommended(findings):
    """(k, T) to use: the best of the grid if selecting was shown to help, else one sample."""
    if regime(findings) in ("harmful", "blind"):
        return 1, float(findings.choice.T.min())
    return findings.choice.best


def verdict(findings):
    """The verdict in a sentence or two, as Markdown."""
    pool, choice = findings.pool, findings.choice
    k, T = choice.best
    N = choice.k.max()
    loss, judge = _what(pool), f"`{pool.judge}`"
    random, chosen, hard, all_samples = (
        _number(findings, value)
        for value in (findings.random.value, choice.mean.min(), _at(choice, N, choice.T.min()), _at(choice, N, T))
    )
    kind, unsure = regime(findings), disagreement(findings)
    if kind == "harmful":
        said = f"**Do not select with {judge}: it does harm.** A random answer has {loss} {random}, best of {N} {hard}."
    elif kind == "blind":
        on = f"these {len(pool.prompt)} prompts"
        head = f"No gain from {judge} was shown on {on}."
        head = f"Whether {judge} helps cannot be told from {on}." if unsure else head
        within = "" if unsure else ", within what other prompts could give"
        said = f"**{head}** A random answer has {loss} {random}, the best setting tried {chosen}{within}."
    elif kind == "finite":
        best_of_all = "" if T == choice.T.min() else f" (best of {N}: {hard})"
        said = (
            f"**{judge} helps, up to a point.** At k = {k} the {loss} falls from {random} to {chosen}; with all {N} "
            f"samples it is {all_samples}, worse with {choice.level:.0%} confidence{best_of_all}."
        )
    else:
        said = f"**{judge} helps.** The {loss} falls from {random} to {chosen} at k = {k}{_more(findings, all_samples)}"
    return f"{said} {unsure}".rstrip()


def disagreement(findings):
    """What to say where the set of k and the gain over one sample do not agree on k = 1; empty where they do."""
    choice = findings.choice
    gain, held = choice.over_one_sample, _k_set(findings)
    shown, one = gain.low > 0, held[choice.k.argmin()]
    number = _gain(findings, gain)
    if one and shown:
        return (
            f"The set still holds one sample (k = {_held(choice.k, held)}), the gain on the other half excludes zero "
            f"({number}): too few prompts for a narrower set."
        )
    if not one and not shown:
        zero = "does not exclude zero" if gain.high >= 0 else "is below zero"
        return (
            f"The set excludes one sample (it holds k = {_held(choice.k, held)}{_at_T(choice)}), the gain on the other "
            f"half {zero} ({number}): too few prompts."
        )
    if not shown and findings.harm.high < 0:
        return (
            f"Best of {choice.k.max()} is better than a random answer, the gain of a setting chosen on the other half "
            f"does not exclude zero ({number}): too few prompts."
        )
    return ""


def _more(findings, all_samples):
    """What more samples than the best k do, where they were not shown to be worse."""
    choice = findings.choice
    N, held, gain = choice.k.max(), _k_set(findings), choice.over_most_samples
    if choice.best[0] == N:
        return ", and more samples than this pool has may help further."
    if held[-1] and gain.low <= 0 <= gain.high:
        least = choice.k[held].min()
        if held[0] or not held[choice.k >= least].all():
            return f"; {_held(choice.k, held)} cannot be told from it."
        return f". From k = {least} on, more samples make no difference that these prompts can show."
    zero = "does not exclude zero" if gain.low <= 0 <= gain.high else "excludes zero"
    return (
        f"; with all {N} samples it is {all_samples}, and whether that differs cannot be told: the set of k "
        f"{'holds' if held[-1] else 'excludes'} {N}, the gain over all {N} samples {zero} ({_gain(findings, gain)})."
    )


def advice(findings):
    """Recommended k and T with their sets, and the gain, as a Markdown list."""
    choice, kind = findings.choice, regime(findings)
    k, T = recommended(findings)
    N = choice.k.max()
    held = _k_set(findings)
    low, range_of_k = choice.k[held].min(), _held(choice.k, held)
    over = f"{choice.level:.0%} interval over prompts"
    lines = []
    if kind in ("harmful", "blind"):
        undecided = " until more prompts decide" if disagreement(findings) else ""
        unsure = "" if low > 1 or held.sum() == 1 else f"{range_of_k} cannot be told from it{_at_T(choice)}"
        unsure = f"the set of k is {range_of_k}{_at_T(choice)}" if undecided else unsure
        unsure = f" ({unsure})" if unsure and (kind == "blind" or undecided) else ""
        lines.append(f"- **k = 1**{undecided}: take one answer and spend the judge's cost elsewhere{unsure}.")
    else:
        set_of_k = "" if held.sum() == 1 else f"; {range_of_k} cannot be told from it"
        cheapest = f" The cheapest of these is k = {low}." if 1 < low < k else ""
        allowed = choice.T_set[list(choice.k).index(k)]
        set_of_T = "" if allowed.sum() == 1 else f"; {_held(choice.T, allowed)} cannot be told from it"
        rule = "keep the highest score" if T == 0 else "draw one answer by exp(score / T)"
        lines.append(f"- **k = {k}** samples{set_of_k}.{cheapest}")
        lines.append(f"- **T = {T:g}**: {rule}{set_of_T}. (Scores of one prompt spread by about {findings.unit:g}.)")
    if kind == "harmful":
        lines.append(f"- Best of {N} instead costs {_gain(findings, findings.harm)} ({over}).")
    over_all = f", over all {N} samples {_gain(findings, choice.over_most_samples)}" if 1 < k < N else ""
    whose = "Gain" if k > 1 else "Gain of the best setting tried"
    lines.append(
        f"- {whose} over one sample, chosen on half the prompts and measured on the other half: "
        f"{_gain(findings, choice.over_one_sample)}{over_all} ({over})."
    )
    possible = findings.random.value - findings.perfect[list(choice.k).index(k)]
    if kind in ("finite", "helpful") and possible > 0:
        share = (findings.random.value - choice.mean.min()) / possible
        lines.append(f"- That is {share:.0%} of what a perfect judge would gain from the same {k} samples.")
    if findings.card.auroc_within.high < 0.5:
        lines.append("- Lower scores go with better answers here: is the sign of the score right?")
    return "\n".join(lines)


def numbers(findings):
    """The report card as a Markdown table."""
    card, choice, pool, power = findings.card, findings.choice, findings.pool, findings.power
    k, T = recommended(findings)
    i, j = list(choice.k).index(k), list(choice.T).index(T)
    best = estimators.Estimate(choice.mean[i, j], choice.low[i, j], choice.high[i, j])
    negative, zero, _ = card.covariance_signs
    ties = " / ".join(_number(findings, card.tie_rules[rule]) for rule in ("first", "shared", "last"))
    rows = [(f"{_what(pool).capitalize()} of a random sample", _estimate(findings, findings.random), "")]
    if k > 1:
        flattering = "best of the grid, so slightly flattering; the gain above is not"
        rows.append((f"... at k = {k}, T = {T:g}", _estimate(findings, best), flattering))
    rows += [
        (
            "... best of all with a perfect judge",
            _estimate(findings, card.coverage_loss),
            "what is left needs other samples, not another judge",
        ),
        ("Right order of two samples of a prompt", str(card.auroc_within), "AUROC within prompts; 0.5 is chance"),
        (
            "... of two samples of the pool",
            f"{card.auroc_pooled:.3g}",
            "mixes in the prompts' difficulty; selection never compares prompts",
        ),
        (
            "Covariance of loss and score",
            str(card.covariance),
            f"should be negative; it is on {negative:.0%} of prompts, zero on {zero:.0%}",
        ),
        ("Prompts with a tie at the top", f"{card.top_tie:.0%}", f"best-of-N by first / shared / last: {ties}"),
    ]
    if pool.tokens:
        cost = f"{pool.tokens * k:,.0f} a prompt at k = {k}, the judge's own not counted"
        rows.append(("Tokens of a sample", f"{pool.tokens:,.0f}", cost))
    if isinstance(power, str):
        rows.append(("Power law in k", "none", power))
    elif regime(findings) == "helpful" and _k_set(findings)[-1]:
        ahead = max(power.wins, key=power.wins.get)
        sure = "clearly" if power.wins[ahead] >= power.level else f"not clearly, {power.wins[ahead]:.0%} of resamples"
        rows.append(
            (
                "Loss falls as k to the minus",
                f"{power.exponent:.3g} [{power.exponent_low:.3g}, {power.exponent_high:.3g}]",
                f"at T = 0, k = {power.k.min()} to {power.k.max()}; looks ahead best: {ahead} ({sure})",
            )
        )
    head = f"| | value [{choice.level:.0%}] | |\n|:--|:--|:--|\n"
    return head + "\n".join(f"| {a} | {b} | {c} |" for a, b, c in rows)


def gaps(findings):
    """What was missing, repeated or left out, and the verdict without it, as a Markdown list."""
    pool = findings.pool
    lines = [f"- {note[0].upper()}{note[1:]}." for note in pool.notes]
    if findings.clean:
        count, random, chosen, at = findings.clean
        if random is None:
            lines.append(f"- Only {count} prompts have no flagged sample: too few for a verdict without the others.")
        else:
            lines.append(
                f"- On the {count} prompts without any flagged sample (cut off, unreadable or unscored): "
                f"{_estimate(findings, random)} at k = 1, {_estimate(findings, chosen)} at k = {at[0]}, T = {at[1]:g}."
            )
    if findings.card.left_out:
        lines.append(
            f"- {findings.card.left_out} prompts have fewer than 4 scores: left out of the table, kept in the curves."
        )
    return "\n".join(lines) or "- Nothing: every sample has an answer and a score."


def curves(findings):
    """Mean loss against k (best-of-k, the best T, a perfect judge) and against T."""
    import matplotlib.pyplot as plt

    choice, pool = findings.choice, findings.pool
    k, T = recommended(findings)
    i, j = list(choice.k).index(k), list(choice.T).index(T)
    hard = int(choice.T.argmin())
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.7), sharey=True)
    colour = {"helpful": "monotone", "finite": "finite", "harmful": "harmful", "blind": "asymptote"}[regime(findings)]
    end = choice.k[-1]
    left.axhline(findings.random.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    left.plot(choice.k, findings.perfect, color=plotting.COLORS["asymptote"], ls="--")
    labels = [(findings.random.value, "random", "asymptote"), (findings.perfect[-1], "perfect judge", "asymptote")]
    plotting.band(left, choice.k, choice.low[:, j], choice.high[:, j], colour)
    left.plot(choice.k, choice.mean[:, j], color=plotting.COLORS[colour], marker="o", ms=3.5)
    labels.append((choice.mean[-1, j], "best-of-k" if j == hard else f"T = {T:g}", colour))
    if j != hard:
        left.plot(choice.k, choice.mean[:, hard], color=plotting.COLORS["alternative"])
        labels.append((choice.mean[-1, hard], f"T = {choice.T[hard]:g}", "alternative"))
    end_labels(left, end, labels)
    left.plot([k], [choice.mean[i, j]], marker="o", ms=9, mfc="none", color="black")
    left.set_xscale("log", base=2)
    left.set_xticks(_powers(end), [str(n) for n in _powers(end)])
    left.set_xlabel("samples used, k")
    left.set_ylabel(("error rate" if _is_error(pool) else "mean loss") + "  (1 + δ)")
    shown = i if k > 1 else int(choice.k.argmax())
    shape = dict(color=plotting.COLORS[colour], marker="o", ms=3.5)
    plotting.band(right, choice.T, choice.low[shown], choice.high[shown], shape["color"])
    right.plot(choice.T, choice.mean[shown], **shape)
    right.axhline(findings.random.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    if k > 1:
        right.plot([T], [choice.mean[i, j]], marker="o", ms=9, mfc="none", color="black")
    positive = choice.T[choice.T > 0]
    if len(positive) and choice.T.min() == 0:
        right.set_xscale("symlog", linthresh=float(positive.min()), linscale=0.5)
    right.set_xticks(choice.T, [f"{t:g}" for t in choice.T])
    right.minorticks_off()
    end_labels(
        right,
        choice.T[-1],
        [(findings.random.value, "", "asymptote"), (choice.mean[shown, -1], f"k = {choice.k[shown]}", shape["color"])],
    )
    right.set_xlabel("selection temperature, T")
    if pool.synthetic:
        plotting.synthetic(left)
    return figure


def ranking(findings):
    """Mean loss of the sample that the judge ranks first, second, ...: is the top any good?"""
    import matplotlib.pyplot as plt

    card, pool = findings.card, findings.pool
    figure, axis = plt.subplots(figsize=(9.4, 3.0))
    plotting.band(axis, card.tail_rank, card.tail_low, card.tail_high, "measured")
    marker = "o" if len(card.tail) <= 32 else None
    axis.plot(card.tail_rank, card.tail, color=plotting.COLORS["measured"], marker=marker, ms=3.5)
    axis.axhline(card.loss.value, color=plotting.COLORS["asymptote"], ls=":", lw=1)
    plotting.label(axis, card.tail_rank[-1], card.loss.value, "random", "asymptote")
    axis.set_xscale("log", base=2)
    axis.set_xticks(_powers(card.tail_rank[-1]), [str(n) for n in _powers(card.tail_rank[-1])])
    axis.set_xlabel("rank by the judge's score (1 = highest)")
    axis.set_ylabel("error rate" if _is_error(pool) else "mean loss")
    if pool.synthetic:
        plotting.synthetic(axis)
    return figure


def reading(findings):
    """How the ranking figure is to be read, in a sentence."""
    card = findings.card
    best = int(card.tail.argmin())
    first, random = _number(findings, card.tail[0]), _number(findings, card.loss.value)
    if regime(findings) != "harmful" and card.tail_high[best] < card.tail_low[0]:
        return (
            f"The top is not the best: the sample at rank {card.tail_rank[best]} has "
            f"{_number(findings, card.tail[best])}, the one at rank 1 {first}. With many samples such a "
            "judge picks worse answers."
        )
    if findings.harm.high < 0:
        return f"The judge's first choice is better than a random sample: {first} against {random}."
    if findings.harm.low > 0:
        return f"The judge's first choice is worse than a random sample: {first} against {random}."
    return "The judge's first choice cannot be told from a random sample."


def _k_set(findings):
    """Which k are in the confidence set at the best T."""
    choice = findings.choice
    return choice.k_set[:, list(choice.T).index(choice.best[1])]


def _held(candidates, held):
    """The candidates that a set holds, in words: neighbours as a range, gaps as commas."""
    place = np.flatnonzero(held)
    runs = np.split(candidates[place], np.flatnonzero(np.diff(place) > 1) + 1)
    return ", ".join(f"{run[0]:g}" if len(run) == 1 else f"{run[0]:g} to {run[-1]:g}" for run in runs)


def _at_T(choice):
    return "" if choice.best[1] == choice.T.min() else f" at T = {choice.best[1]:g}"


def _at(choice, k, T):
    return choice.mean[list(choice.k).index(k), list(choice.T).index(T)]


def _is_error(pool):
    return all(((row == 0) | (row == 1)).all() for row in pool.loss)


def _what(pool):
    return "error rate" if _is_error(pool) else "mean loss"


def _number(findings, value):
    return f"{value:.1%}" if _is_error(findings.pool) else f"{value:.3g}"


def _estimate(findings, estimate):
    return (
        f"{_number(findings, estimate.value)} [{_number(findings, estimate.low)}, {_number(findings, estimate.high)}]"
    )


def _gain(findings, estimate):
    if not _is_error(findings.pool):
        return f"{estimate.value:+.3g} [{estimate.low:+.3g}, {estimate.high:+.3g}]"
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}] points"


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


def to_html(notebook, html=None):
    """Write an executed report as one HTML file without code; return its path.

    Parameters
    ----------
    notebook : path
        The executed notebook.
    html : path, optional
        Default: the notebook's name with ``.html``.
    """
    import nbformat
    from nbconvert import HTMLExporter

    path = Path(html) if html else Path(notebook).with_suffix(".html")
    content = nbformat.read(notebook, as_version=4)
    content.cells = [cell for cell in content.cells if "usage" not in cell.metadata.get("tags", [])]
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body = exporter.from_notebook_node(content)[0]
    path.write_text(PAGE.format(title=path.stem, body=body), encoding="utf-8")
    return path


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, sans-serif; color: #1b1b1b; max-width: 56rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem }}
h2 {{ font-weight: 600; line-height: 1.2; margin: 2.2rem 0 .6rem }}
img {{ max-width: 100%; height: auto; display: block; margin: 1.2rem 0 .4rem }}
table {{ border-collapse: collapse; font-size: .92rem; display: block; overflow-x: auto }}
td, th {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd; vertical-align: top }}
td:nth-child(2) {{ white-space: nowrap }}
code {{ background: #f2f2f2; padding: 0 .25em; border-radius: 3px }}
small {{ color: #555 }}
</style></head><body>
{body}
</body></html>
"""


def value_of(name, text):
    """A parameter's value from the command line: text for names, YAML (so JSON, too) for numbers, lists and mappings.

    >>> value_of("k_values", "[1,2,4]"), value_of("columns", '{"prompt": "q"}'), value_of("judge", "1")
    ([1, 2, 4], {'prompt': 'q'}, '1')
    """
    import yaml

    field = Report.model_fields.get(name)
    if field is not None and field.annotation in (str, str | None):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # refused by name when the notebook checks its parameters


def main(arguments=None):
    """Make the report and its HTML: ``python -m bestofk_runs.reporting POOL [--judge NAME] [--out report.html]``."""
    import argparse
    import sys

    import papermill

    parser = argparse.ArgumentParser(prog="python -m bestofk_runs.reporting", description=__doc__.split("\n\n")[0])
    parser.add_argument("pool")
    parser.add_argument("--judge")
    parser.add_argument("--out", default="report.html")
    parser.add_argument("--parameter", "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    options = parser.parse_args(arguments)
    source = Path(__file__).resolve().parents[2] / "gpu_runs" / "report.ipynb"
    notebook = Path(options.out).with_suffix(".ipynb")
    given = {"pool": options.pool} | ({"judge": options.judge} if options.judge else {})
    given |= {name: value_of(name, text) for name, text in options.parameter}
    try:
        papermill.execute_notebook(source, notebook, parameters=given, log_output=True, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        sys.exit(error.evalue)
    print(f"wrote {notebook} and {to_html(notebook, options.out)}")


if __name__ == "__main__":
    main()
