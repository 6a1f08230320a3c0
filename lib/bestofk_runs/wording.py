"""What do the findings mean? The verdict, the advice, the numbers and the gaps, in plain sentences.

Every function takes the `Findings` of `bestofk_runs.analysing` and returns Markdown.
"""

import numpy as np

from bestofk import pool as estimators

from .analysing import AGREES, changed, expands_from, k_set, recommended, regime, turns


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
        said = f"**Do not select with {judge}: it does harm.** A random answer has {loss} {random}, "
        said += f"{_hard(choice)} {hard}."
    elif kind == "blind":
        on = f"these {len(pool.prompt)} prompts"
        head = f"No gain from {judge} was shown on {on}."
        head = f"Whether {judge} helps cannot be told from {on}." if unsure else head
        within = "" if unsure else ", within what other prompts could give"
        said = f"**{head}** A random answer has {loss} {random}, the best setting tried {chosen}{within}."
    elif kind == "finite":
        best_of_all = "" if T == choice.T.min() else f" ({_hard(choice)}: {hard})"
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
    gain, held = choice.over_one_sample, k_set(findings)
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
            f"{_hard(choice).capitalize()} is better than a random answer, the gain of a setting chosen on the other "
            f"half does not exclude zero ({number}): too few prompts."
        )
    return ""


def _more(findings, all_samples):
    """What more samples than the best k do, where they were not shown to be worse."""
    choice = findings.choice
    N, held, gain = choice.k.max(), k_set(findings), choice.over_most_samples
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
    held = k_set(findings)
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
        lines.append(f"- {_hard(choice).capitalize()} instead costs {_gain(findings, findings.harm)} ({over}).")
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
    for found, what in ((findings.unflagged, "flagged samples"), (findings.distinct, "repeated texts")):
        if changed(findings, found):
            lines.append(f"- Without the {what} the verdict changes: {SAYS[regime(found)]} (last section).")
    if findings.card.auroc_within.high < 0.5:
        lines.append("- Lower scores go with better answers here: is the sign of the score right?")
    return "\n".join(lines)


def numbers(findings):
    """The report card as a Markdown table."""
    rows = [*_losses(findings), *_order(findings), *_response(findings), *_cost(findings), *_power(findings)]
    head = f"| | value [{findings.choice.level:.0%}] | what it says |\n|:--|:--|:--|\n"
    return head + "\n".join(f"| {a} | {b} | {c} |" for a, b, c in rows)


def _losses(findings):
    card, choice, pool = findings.card, findings.choice, findings.pool
    k, T = recommended(findings)
    i, j = list(choice.k).index(k), list(choice.T).index(T)
    yield f"{_what(pool).capitalize()} of a random sample", _estimate(findings, findings.random), "no judge"
    if k > 1:
        best = estimators.Estimate(choice.mean[i, j], choice.low[i, j], choice.high[i, j])
        flattering = "best of the grid, so slightly flattering; the gain above is not"
        yield f"... at k = {k}, T = {T:g}", _estimate(findings, best), flattering
    scored = " among the scored samples" if card.unscored else ""
    yield (
        f"... best of all with a perfect judge{scored}",
        _estimate(findings, card.coverage_loss),
        "what is left needs other samples, not another judge",
    )


def _order(findings):
    card = findings.card
    some = "" if card.auroc_prompts == card.prompts else f", over the {card.auroc_prompts} prompts with both kinds"
    yield "Right order of two samples of a prompt", str(card.auroc_within), f"AUROC within prompts{some}; 0.5 is chance"
    yield (
        "... of two samples of the pool",
        f"{card.auroc_pooled:.3g}",
        "mixes in the prompts' difficulty; selection never compares prompts",
    )
    ties = " / ".join(_number(findings, card.tie_rules[rule]) for rule in ("first", "shared", "last"))
    said = f"loss of the top answer if the first / any / the last of them is taken: {ties}"
    yield "Prompts with a tie at the top", f"{card.top_tie:.0%}", said


def _response(findings):
    """The 1/T expansion: its two coefficients, where it holds, and what the scores' law says of large k."""
    card, N = findings.card, findings.choice.k.max()
    yield (
        "Covariance of loss and score",
        str(card.covariance),
        f"should be negative: higher scores, less loss; {_signs(card.covariance_signs)}",
    )
    curved = card.curvature
    says = (
        "outlying scores have more loss: small T comes out worse than the covariance alone says"
        if curved.low > 0
        else "outlying scores have less loss: small T comes out better than the covariance alone says"
        if curved.high < 0
        else "whether outlying scores have more or less loss is not shown"
    )
    yield "... of loss and (score - mean)²", str(curved), f"{says}; {_signs(card.curvature_signs)}"
    start = expands_from(card)
    at = len(card.T) - 1 if start is None else list(card.T).index(start)
    says = (
        f"further than {AGREES:.0%} of the change off up to T = {card.T[-1]:g}: the top scores decide at every T tried"
        if start is None
        else f"close from T = {start:g} up: there the covariances tell what selecting does, at smaller T the top scores"
    )
    yield (
        f"Loss predicted by these two, k = {card.k[0]}, T = {card.T[at]:g}",
        _number(findings, card.expansion[0, at]),
        f"measured {_number(findings, card.measured[0, at])}; {says}",
    )
    found = turns(findings)
    if not found:
        return
    held = "; ".join(
        f"{name} at T = {', '.join(f'{t:g}' for t in at)}"
        for name in ("rises", "falls", "open")
        if (at := [t for t, (predicted, _) in found.items() if predicted == name])
    )
    worse = ", ".join(f"{t:g}" for t, (_, excluded) in found.items() if excluded)
    seen = f"all {N} samples excluded as best at T = {worse}" if worse else f"all {N} samples excluded as best at no T"
    yield (
        "Loss on its way to k → ∞, by the scores' law",
        held,
        f"where it rises some finite k is best (sufficient, at large k; falling excludes nothing); in this pool {seen}",
    )


def _signs(shares):
    negative, zero, positive = shares
    return f"negative on {negative:.0%} of prompts, zero on {zero:.0%}, positive on {positive:.0%}"


def _cost(findings):
    pool = findings.pool
    k, _ = recommended(findings)
    if pool.tokens is None:
        yield "Tokens of a sample", "not known", "the pool does not say"
    else:
        prompt = f", and {pool.prompt_tokens:,.0f} of the prompt once" if pool.prompt_tokens else ""
        yield "Tokens of a sample", f"{pool.tokens:,.0f}", f"{pool.tokens * k:,.0f} a prompt at k = {k}{prompt}"
    label, judged = "... that the judge reads for it", pool.judge_tokens
    samples = sum(len(row) for row in pool.loss) / len(pool.prompt)
    if judged is None:
        yield label, "not known", "the judge's own cost is not in the pool"
    elif judged == 0:
        yield label, "0", "it asks no model"
    else:
        at = f"; at k = {k} between {judged * k / samples:,.0f} and {judged:,.0f}" if k < samples else ""
        at = "; at k = 1 none" if k == 1 else at
        said = f"{judged:,.0f} a prompt for all {samples:,.0f} samples, what they share read once{at}"
        yield label, f"{judged / samples:,.2g}" if judged < 10 * samples else f"{judged / samples:,.0f}", said


def _power(findings):
    power = findings.power
    if isinstance(power, str):
        yield "Power law in k", "none", power
    elif regime(findings) == "helpful" and k_set(findings)[-1]:
        ahead = max(power.wins, key=power.wins.get)
        sure = "clearly" if power.wins[ahead] >= power.level else f"not clearly, {power.wins[ahead]:.0%} of resamples"
        yield (
            "Loss falls as k to the minus",
            f"{power.exponent:.3g} [{power.exponent_low:.3g}, {power.exponent_high:.3g}]",
            f"at T = 0, k = {power.k.min()} to {power.k.max()}; looks ahead best: {ahead} ({sure})",
        )


SAYS = {
    "helpful": "it helps",
    "finite": "it helps, up to a point",
    "harmful": "it does harm",
    "blind": "no gain shown",
}
FLAGGED = "cut off, unreadable or unscored"
DISTINCT = "every text of a prompt kept once, which is another law: a frequent answer weighs no more than a rare one"


def gaps(findings):
    """What was missing, repeated or left out, and the verdict without it, as a Markdown list."""
    pool, card = findings.pool, findings.card
    lines = [f"- {note[0].upper()}{note[1:]}{'' if note.endswith('?') else '.'}" for note in pool.notes]
    if findings.unflagged is None:
        lines.append("- Every sample has an answer and a score.")
    lines += _without(findings, findings.unflagged, "flagged samples", FLAGGED)
    if findings.distinct is None:
        lines.append("- No text repeats within a prompt.")
    lines += _without(findings, findings.distinct, "repeated texts", DISTINCT)
    if card.left_out:
        least = max(3, card.k.max())
        few = f"- {card.left_out} prompts have fewer than {least} scores"
        lines.append(f"{few}: left out of the table, kept in the curves.")
    return "\n".join(lines)


def _without(findings, found, what, meaning):
    """The verdict without some samples, against the verdict with them on the same prompts."""
    if found is None:
        return
    if isinstance(found, str):
        yield f"- {what.capitalize()}: {found}."
        return
    pool, before, after = findings.pool, regime(found.whole), regime(found)
    same = found.prompts == len(pool.prompt) and found.choice.k.max() == findings.choice.k.max()
    prompts = "all" if found.prompts == len(pool.prompt) else "the"
    least = f"prompts that keep at least {found.N} samples, with k up to {found.N}"
    where = "" if same else f", on {prompts} {found.prompts} {least}"
    new = recommended(found)
    settings = _setting(*new) + (f" (with them {_setting(*found.at)})" if new != found.at else "")
    if changed(findings, found):
        said = f"**changes from “{SAYS[before]}” to “{SAYS[after]}”**"
    elif regime(findings) == before:
        said = f"stays, {SAYS[after]}"
    else:  # fewer prompts, fewer k: another verdict with them, too
        both = f"“{SAYS[after]}” with and without them"
        both = both if after == before else f"“{SAYS[before]}” with them, “{SAYS[after]}” without"
        said = f"is {both} (on all prompts and k “{SAYS[regime(findings)]}”)"
    without, whole = (_number(findings, value) for value in found.values)
    yield (
        f"- Without the {found.samples} {what} ({meaning}){where}, the verdict {said}: {settings}. "
        f"At {_setting(*found.at)} the {_what(pool)} is {without} without them and {whole} with them: "
        f"{_gain(findings, found.change)}."
    )


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
    change, whom = findings.harm, "a random scored sample" if card.unscored else "a random sample"
    if change.high < 0 and card.tail[0] < card.loss.value:
        return f"The judge's first choice is better than {whom}: {first} against {random}."
    if change.low > 0 and card.tail[0] > card.loss.value:
        return f"The judge's first choice is worse than {whom}: {first} against {random}."
    return f"The judge's first choice cannot be told from {whom}."


def _held(candidates, held):
    """The candidates that a set holds, in words: neighbours as a range, gaps as commas."""
    place = np.flatnonzero(held)
    runs = np.split(candidates[place], np.flatnonzero(np.diff(place) > 1) + 1)
    return ", ".join(f"{run[0]:g}" if len(run) == 1 else f"{run[0]:g} to {run[-1]:g}" for run in runs)


def _setting(k, T):
    return "k = 1" if k == 1 else f"k = {k}, T = {T:g}"


def _at_T(choice):
    return "" if choice.best[1] == choice.T.min() else f" at T = {choice.best[1]:g}"


def _hard(choice):
    """The hardest selection of the grid, in words."""
    N, T = choice.k.max(), choice.T.min()
    return f"best of {N}" if T == 0 else f"all {N} samples at T = {T:g}"


def _at(choice, k, T):
    return choice.mean[list(choice.k).index(k), list(choice.T).index(T)]


def is_error(pool):
    """True if every loss is 0 or 1: then its mean is an error rate."""
    return all(((row == 0) | (row == 1)).all() for row in pool.loss)


def _what(pool):
    return "error rate" if is_error(pool) else "mean loss"


def _number(findings, value):
    return f"{value:.1%}" if is_error(findings.pool) else f"{value:.3g}"


def _estimate(findings, estimate):
    return (
        f"{_number(findings, estimate.value)} [{_number(findings, estimate.low)}, {_number(findings, estimate.high)}]"
    )


def _gain(findings, estimate):
    if not is_error(findings.pool):
        return f"{estimate.value:+.3g} [{estimate.low:+.3g}, {estimate.high:+.3g}]"
    points = [100 * number for number in (estimate.value, estimate.low, estimate.high)]
    digits = 1 if max(map(abs, points)) >= 0.1 else 2
    value, low, high = (f"{round(number, digits) + 0.0:+.{digits}f}" for number in points)
    return f"{value} [{low}, {high}] points"
