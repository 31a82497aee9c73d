"""One palette for every figure: a color stands for a kind of gradient, a marker for one run among several.

The colors are of those that Okabe & Ito chose, which nearly everyone can tell apart.
"""

TRUNCATED = "#0072B2"
"""Blue: plain truncated back-propagation."""

SYNTHETIC = "#009E73"
"""Green: synthetic gradients."""

CONTROL = "#D55E00"
"""Red: what must not help, such as predictions in the wrong rows, or zeros."""

EXACT = "#000000"
"""Black: full back-propagation, checkpointed or not, and exact gradients of the next steps."""

OTHER = "#CC79A7"
"""Purple: any other gradient estimator."""

_COLORS = {"truncated": TRUNCATED, "synthetic": SYNTHETIC, "bptt": EXACT, "checkpointed": EXACT, "exact": EXACT}
_MARKERS = "osD^vP*X"


def color_of(kind: str, *, control: bool = False) -> str:
    """Return the color of a kind of gradient estimator, named as in a recipe's `gradient.kind`.

    >>> color_of("synthetic"), color_of("synthetic", control=True)
    ('#009E73', '#D55E00')
    """
    return CONTROL if control else _COLORS.get(kind, OTHER)


def marker_of(place: int) -> str:
    """Return the marker of a run by its place among those that share a color."""
    return _MARKERS[place % len(_MARKERS)]
