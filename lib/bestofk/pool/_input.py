"""Read a pool: equal or ragged prompts, checked before any work."""

from typing import NamedTuple

import numpy as np

from .._checks import array, moderate, sample_count, temperature


class Pool(NamedTuple):
    """A checked pool: float arrays (prompts, N), or lists of 1-D float arrays where N differs."""

    loss: np.ndarray | list
    reward: np.ndarray | list
    sizes: np.ndarray  # N of every prompt

    def take(self, prompts):
        """The pool of the prompts at these positions."""
        if isinstance(self.loss, np.ndarray):
            return Pool(self.loss[prompts], self.reward[prompts], self.sizes[prompts])
        return Pool([self.loss[i] for i in prompts], [self.reward[i] for i in prompts], self.sizes[prompts])

    def blocks(self):
        """Yield (positions, loss, reward) for prompts of equal N, the last two shaped (positions, N)."""
        if isinstance(self.loss, np.ndarray):
            yield np.arange(len(self.sizes)), self.loss, self.reward
            return
        for size in np.unique(self.sizes):
            prompts = np.flatnonzero(self.sizes == size)
            yield prompts, np.stack([self.loss[i] for i in prompts]), np.stack([self.reward[i] for i in prompts])


def read_pool(loss, reward, k=None):
    """Check `loss` and `reward`, and that no `k` exceeds a prompt's N."""
    loss, reward = _rows(loss, "loss"), _rows(reward, "reward")
    if len(loss) != len(reward):
        raise ValueError(f"loss has {len(loss)} prompts and reward has {len(reward)}: they must describe the same pool")
    sizes = np.array([len(row) for row in loss], dtype=np.int64)
    reward_sizes = np.array([len(row) for row in reward], dtype=np.int64)
    if (sizes != reward_sizes).any():
        prompt = int(np.argmax(sizes != reward_sizes))
        raise ValueError(
            f"loss has {sizes[prompt]} samples and reward has {reward_sizes[prompt]} at prompt {prompt}: "
            "every sample needs one of each"
        )
    if sizes.size == 0:
        raise ValueError("loss and reward must hold at least one prompt, got an empty pool")
    if sizes.min() == 0:
        raise ValueError(f"loss and reward must hold at least one sample a prompt, got none at prompt {sizes.argmin()}")
    if k is not None and np.max(k) > sizes.min():
        raise ValueError(
            f"k must be at most the number of samples of every prompt, got k={np.max(k)} but prompt {sizes.argmin()} "
            f"has {sizes.min()}: lower k or drop that prompt"
        )
    _check_values("loss", loss, np.isfinite, "finite")
    moderate(np.array([np.abs(row).max() for row in loss]), "loss", smallest=0)
    _check_values("reward", reward, lambda values: values < np.inf, "below +inf (-inf marks an unscored sample)")
    return Pool(loss, reward, sizes)


def counts_and_temperatures(k, T):
    """`k` and `T` checked and one-dimensional, and the shape that they add to a result."""
    k, T = sample_count(k), temperature(T)
    return np.atleast_1d(k), np.atleast_1d(T), k.shape + T.shape


def _rows(values, name):
    """A 2-D float array, or a list of 1-D float arrays when the prompts are ragged; no copy of what is that already."""
    if hasattr(values, "__array__"):  # a table of pandas or torch, say
        values = array(values, name, "shaped (prompts, samples)")
    else:
        rows = [array(row, name, "one-dimensional for each prompt") for row in prompt_rows(values, name)]
        ragged = len({row.shape for row in rows}) > 1
        values = rows if ragged or not rows else np.stack(rows)
    if isinstance(values, np.ndarray):
        if values.ndim != 2:
            raise ValueError(
                f"{name} must be shaped (prompts, samples) or be a list of one-dimensional arrays, got shape "
                f"{values.shape}: write {name}=[values] for a single prompt"
            )
        return _float(values, name)
    for prompt, row in enumerate(values):
        if row.ndim != 1:
            raise ValueError(f"{name} must be one-dimensional for each prompt, got {row.shape} at prompt {prompt}")
    return [_float(row, name) for row in values]


def prompt_rows(values, name):
    """Iterate over the prompts of `values`."""
    try:
        return iter(values)
    except TypeError:
        raise ValueError(
            f"{name} must be shaped (prompts, samples) or be a list of one-dimensional arrays, got {values!r}"
        ) from None


def _float(values, name):
    if values.dtype.kind not in "biuf" and values.size:
        raise ValueError(f"{name} must be real numbers, got an array of dtype {values.dtype}")
    return np.asarray(values, dtype=float)


def _check_values(name, rows, good, rule):
    for prompt, row in enumerate(rows):
        bad = ~good(row)
        if bad.any():
            sample = int(bad.argmax())
            raise ValueError(f"{name} must be {rule}, got {row[sample]} at prompt {prompt}, sample {sample}")
