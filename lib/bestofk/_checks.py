"""Argument checks shared by the public functions.

Every check raises ``ValueError`` with one sentence that names the argument,
the value and what is accepted.
"""

import numpy as np

SMALLEST, LARGEST = 1e-150, 1e150  # squares of magnitudes in between neither vanish nor overflow


def array(value, name, wanted):
    """Return `value` as an array; a list whose entries differ in length and masked entries are refused."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must be {wanted}, got {np.ma.count_masked(value)} masked entries: fill or drop them")
    try:
        return np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} must be {wanted}, got a list whose entries differ in length") from None


def together(**parameters):
    """Return the parameters broadcast to one shape."""
    try:
        return np.broadcast_arrays(*parameters.values())
    except ValueError:
        shapes = ", ".join(f"{name} {np.shape(value)}" for name, value in parameters.items())
        raise ValueError(f"{', '.join(parameters)} must broadcast together, got shapes {shapes}") from None


def moderate(values, name, smallest=SMALLEST):
    """Return `values`; refuse finite ones of a magnitude above `LARGEST`, or below `smallest` without being 0."""
    size = np.abs(values)
    bad = np.isfinite(size) & ((size > LARGEST) | ((size < smallest) & (size > 0)))
    if bad.any():
        rule = f"between {smallest:g} and {LARGEST:g}" if smallest else f"at most {LARGEST:g}"
        raise ValueError(f"{name} must be of a magnitude {rule}, got {values[bad].ravel()[0]}: choose another unit")
    return values


def generator(seed, name="seed"):
    """Return the random generator that `seed` stands for."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an integer >= 0 or a numpy.random.Generator, got {seed!r}") from None


def sample_count(k, name="k"):
    """Return `k` as an int64 array of dimension 0 or 1; every entry >= 1."""
    values = array(k, name, "integers >= 1, one or a list of them")
    if values.ndim > 1:
        raise ValueError(f"{name} must be a scalar or one-dimensional, got shape {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name} must hold at least one value, got an empty array")
    if values.dtype.kind == "O" and all(isinstance(entry, int) and entry >= 2**53 for entry in values.flat):
        raise ValueError(f"{name} must be below 2^53, got {k!r}")
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be integers >= 1, got {k!r}")
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 1) & (values == np.floor(values)) & (values < np.inf))
        large = values >= 2**53
    if not bad.any() and large.any():
        raise ValueError(f"{name} must be below 2^53, got {values[large].ravel()[0]}")
    if bad.any():
        raise ValueError(f"{name} must be integers >= 1, got {values[bad].ravel()[0]}")
    return values.astype(np.int64)


def temperature(T, name="T"):
    """Return `T` as a float array of dimension 0 or 1; every entry in [0, inf]."""
    values = real(T, name, finite=False)
    if values.ndim > 1:
        raise ValueError(f"{name} must be a scalar or one-dimensional, got shape {values.shape}")
    if values.size == 0:
        raise ValueError(f"{name} must hold at least one value, got an empty array")
    if (values < 0).any():
        raise ValueError(f"{name} must be >= 0 (0 is best-of-k, inf is no selection), got {values[values < 0].ravel()[0]}")
    return values


def real(value, name, finite=True):
    """Return `value` as a float array without nan, and without infinities if `finite`."""
    values = array(value, name, "real numbers in a rectangular array")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be real numbers, got {value!r}")
    values = values.astype(float)
    bad = ~np.isfinite(values) if finite else np.isnan(values)
    if bad.any():
        kind = "finite" if finite else "a number"
        raise ValueError(f"{name} must be {kind}, got {values[bad].ravel()[0]}")
    return values


def positive(value, name):
    """Return `value` as a float array, finite and > 0 everywhere."""
    values = real(value, name)
    if (values <= 0).any():
        raise ValueError(f"{name} must be > 0, got {values[values <= 0].ravel()[0]}")
    return values


def scalar(value, name, check=real):
    """Return `value` as a number that passes one of the checks above; an array is refused."""
    values = check(value, name)
    if values.ndim:
        raise ValueError(f"{name} must be a scalar, got shape {values.shape}")
    return values.item()


def finite_law(loss, reward, prob=None):
    """Return `loss`, `reward`, `prob` broadcast to one shape whose last axis runs over the law's atoms.

    `prob` (default: uniform) must be >= 0 and sum to 1 within 1e-9 along the last axis; it is renormalised.
    """
    loss, reward = moderate(real(loss, "loss"), "loss", smallest=0), real(reward, "reward")
    prob = None if prob is None else real(prob, "prob")
    given = {"loss": loss, "reward": reward} | ({} if prob is None else {"prob": prob})
    for name, values in given.items():
        if values.ndim == 0:
            raise ValueError(f"{name} must list one value for each atom of the law, got the scalar {values}")
        if values.size == 0:
            raise ValueError(f"{name} must hold at least one atom, got shape {values.shape}")
    shapes = {name: values.shape for name, values in given.items()}
    if len({shape[-1] for shape in shapes.values()}) > 1:
        raise ValueError(f"{', '.join(shapes)} must have last axes of one length (the atoms), got shapes {shapes}")
    try:
        shape = np.broadcast_shapes(*shapes.values())
    except ValueError:
        raise ValueError(f"{', '.join(shapes)} must have shapes that broadcast, got {shapes}") from None
    if prob is None:
        prob = np.full(shape[-1], 1 / shape[-1])
    else:
        if (prob < 0).any():
            raise ValueError(f"prob must be >= 0, got {prob[prob < 0].ravel()[0]}")
        total = prob.sum(axis=-1, keepdims=True)
        if (abs(total - 1) > 1e-9).any():
            worst = total.ravel()[abs(total - 1).ravel().argmax()]
            raise ValueError(f"prob must sum to 1 along the last axis, got a sum of {worst}; divide by it")
        prob = prob / total
    return tuple(np.broadcast_to(values, shape) for values in (loss, reward, prob))
