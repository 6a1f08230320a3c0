"""The book's figure style: one colour a meaning, labels beside the lines.

matplotlib is imported when a function is called, so that ``import bestofk``
stays light.
"""

from pathlib import Path

# Okabe-Ito colours, one meaning each, throughout the book.
COLORS = {
    "exact": "#0072B2",  # solid line
    "simulation": "#000000",  # open markers with error bars
    "asymptote": "#7F7F7F",  # dashed line
    "official": "#CC79A7",  # a formula of the official code or the poster
    "measured": "#009E73",  # language-model data: filled, with a band
    "monotone": "#009E73",  # regime: more samples always help
    "finite": "#E69F00",  # regime: there is a best k
    "harmful": "#D55E00",  # regime: more samples hurt
    "alternative": "#56B4E9",
}


def use_style():
    """Apply the book's matplotlib style to every figure drawn afterwards.

    Examples
    --------
    >>> from bestofk import plotting
    >>> plotting.use_style()
    """
    import matplotlib.pyplot as plt

    plt.style.use(Path(__file__).with_name("bestofk.mplstyle"))


def label(ax, x, y, text, color, **options):
    """Write `text` beside a line at data position (`x`, `y`), in the line's colour.

    A white edge around the letters keeps them readable where other lines pass below.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, y : float
        Data coordinates of the left middle of the text.
    text : str
    color : str
        A colour, or a key of `COLORS`.
    **options
        Passed to ``ax.annotate``; ``xytext`` (points) defaults to (4, 0).
    """
    from matplotlib.patheffects import withStroke

    edge = [withStroke(linewidth=2, foreground="white")]
    options = {"xytext": (4, 0), "va": "center", "fontsize": 9, "path_effects": edge} | options
    ax.annotate(text, (x, y), textcoords="offset points", color=COLORS.get(color, color), **options)


def band(ax, x, low, high, color):
    """Shade the interval [`low`, `high`] along `x` in the colour of its line."""
    ax.fill_between(x, low, high, color=COLORS.get(color, color), alpha=0.18, linewidth=0)


def points(ax, x, y, error, color="simulation", **options):
    """Draw open markers with error bars: simulated values and their uncertainty."""
    color = COLORS.get(color, color)
    options = {"fmt": "o", "markerfacecolor": "white", "capsize": 2, "linewidth": 1} | options
    ax.errorbar(x, y, yerr=error, color=color, **options)


def synthetic(ax):
    """Write "synthetic data" above axes whose data were not measured on a language model."""
    ax.text(1, 1.01, "synthetic data", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color="#7F7F7F")
