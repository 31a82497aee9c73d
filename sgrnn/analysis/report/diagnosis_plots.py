"""The plots of a diagnosis, as `sgrnn.analysis.diagnosis` measures it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from sgrnn.analysis.curves import RunStyle
from sgrnn.analysis.palette import TRUNCATED, marker_of

_LINES = ("--", ":", "-.")
_ROUNDING = 1e-6  # of a sum in float32, relative to its largest term
_FAINT = 0.25
_LOWEST = -1.0  # that parts of a state stretch an axis to: a small one may be off by a hundred times its size


class Diagnosed(NamedTuple):
    """Style and diagnosis of a run."""

    style: RunStyle
    metrics: dict[str, Any]


class _Curve(NamedTuple):
    style: RunStyle
    lags: np.ndarray
    values: np.ndarray
    bars: np.ndarray
    known: np.ndarray


def _alignment(name: str, unit: str) -> Callable[[Axes, Sequence[Diagnosed]], None]:
    def draw(axes: Axes, runs: Sequence[Diagnosed]) -> None:
        for style, metrics in runs:
            alignment = metrics["alignment"]
            lags, parts, by_part = alignment["lags"], alignment["parts"], alignment["injected"][name]
            values, bars = _with_bars(by_part, 0)
            axes.plot(lags, values, color=style.color, marker=style.marker, label=style.label)
            axes.fill_between(lags, values - bars, values + bars, color=style.color, alpha=0.2, lw=0)
            if len(parts) == 2 or len(runs) > 2:
                continue  # nothing new, or too much
            whole = axes.get_ylim()
            for number, part in enumerate(parts[1:], start=1):
                values, _ = _with_bars(by_part, number)
                axes.plot(
                    lags, values, color=style.color, ls=_LINES[number % len(_LINES)], marker=marker_of(number), mfc="w",
                    lw=1, label=f"{style.label}, {part}",
                )  # fmt: skip
            if axes.get_ylim()[0] < (low := min(whole[0], _LOWEST)):
                axes.set_ylim(low, max(whole[1], 1.05 * max(np.nanmax(_numbers(row)) for row in by_part["value"])))
        if axes.lines:
            axes.axhline(0, color="0.4", lw=0.8)
        axes.set(xscale="log", xlabel="h: steps of true gradient", ylabel=unit)

    return draw


def _norms(axes: Axes, runs: Sequence[Diagnosed]) -> None:
    axes.set(xscale="log", yscale="log", xlabel="lag: steps ahead", ylabel="norm of the gradient from there")
    curves = []
    for style, metrics in runs:
        alignment = metrics["alignment"]
        values, bars = _with_bars(alignment["norms"], 0)
        if not (values > 0).any():  # nothing goes on beyond the boundaries there are
            continue
        known = values > np.maximum(np.nan_to_num(bars), _ROUNDING * np.nanmax(values))
        curves.append(_Curve(style, np.array(alignment["lags"]), values, bars, known))
        for horizon, line in ((alignment["true_horizon"], "-"), (alignment["injected"]["horizon"], ":")):
            if horizon["value"]:
                axes.axvline(horizon["value"], color=style.color, ls=line, lw=1)
    _by_lag(axes, curves)


def _share_by_lag(axes: Axes, runs: Sequence[Diagnosed]) -> None:
    axes.set(xscale="log", xlabel="lag: steps ahead", ylabel="share of the true gradient injected")
    curves = []
    for style, metrics in runs:
        lags = np.array(metrics["alignment"]["lags"])
        values, bars = _with_bars(metrics["alignment"]["injected"]["share_by_lag"], 0)
        if values.any():
            # Two standard errors either way that are wider than from nothing to all say nothing.
            curves.append(_Curve(style, lags, values, bars, 2 * np.nan_to_num(bars) < 1))
    _by_lag(axes, curves)
    if axes.lines:
        axes.axhline(0, color="0.4", lw=0.8)
        axes.axhline(1, color="0.4", lw=0.8, ls=":")


def _by_lag(axes: Axes, curves: Sequence[_Curve]) -> None:
    """Draw curves with bars where they are known; elsewhere marks alone, faint, which do not stretch the axis."""
    for style, lags, values, bars, known in curves:
        axes.errorbar(
            lags, np.where(known, values, np.nan), np.where(known, bars, np.nan),
            color=style.color, marker=style.marker, label=style.label,
        )  # fmt: skip
    limits = axes.get_ylim()
    for style, lags, values, _, known in curves:
        if not known.all():
            axes.plot(
                lags[~known], values[~known], style.marker, color=style.color, alpha=_FAINT, mfc="none"
            )  # fmt: skip
    if any(known.any() for *_, known in curves):
        axes.set_ylim(limits)


def _bias(axes: Axes, runs: Sequence[Diagnosed]) -> None:
    """Draw the estimator as a level line, and truncation over T: they cross at the equivalent window."""
    axes.set(xscale="log", xlabel="T of plain truncation", ylabel="relative error")
    for number, (style, metrics) in enumerate(runs):
        marker = marker_of(number)  # not that of the style: the truncations of all runs have one color
        bias = metrics["bias"]
        error = bias["relative_error"]
        values, errors = (_numbers([contender[0] for contender in error[key]]) for key in ("value", "error"))
        axes.errorbar(
            bias["windows"], values[1:], 2 * errors[1:], color=TRUNCATED, marker=marker, lw=1, ls="--",
            label=f"{style.label}: truncated",
        )  # fmt: skip
        axes.axhline(
            values[0], color=style.color, marker=marker,
            label=f"{style.label}: its estimator,\n{bias['equivalent_window']['text']}",
        )  # fmt: skip
        axes.axhspan(values[0] - 2 * errors[0], values[0] + 2 * errors[0], color=style.color, alpha=0.15, lw=0)
    axes.set_ylim(min(0, axes.get_ylim()[0]), None)


def _bias_by_parameter(axes: Axes, runs: Sequence[Diagnosed]) -> None:
    if not runs:
        return
    names = runs[0].metrics["bias"]["tensors"]
    shown = [each for each in runs if each.metrics["bias"]["tensors"] == names]
    for number, (style, metrics) in enumerate(shown):
        values, bars = _with_bars(metrics["bias"]["relative_error"], 0)
        places = np.arange(len(names)) + 0.2 * (number - (len(shown) - 1) / 2)
        axes.errorbar(values, places, xerr=bars, fmt=style.marker, color=style.color, label=style.label)
    axes.set(yticks=range(len(names)), xlabel="relative error of the mean gradient", ylabel="parameter")
    axes.set_xlim(min(0, axes.get_xlim()[0]), None)
    axes.set_yticklabels(names, fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _with_bars(estimate: dict[str, Any], row: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a row of an estimate, and two standard errors."""
    return _numbers(estimate["value"][row]), 2 * _numbers(estimate["error"][row])


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


DIAGNOSIS_PLOTS: dict[str, tuple[str, str, Callable[[Axes, Sequence[Diagnosed]], None]]] = {
    "cosine": (
        "Cosine with the true gradient of the next h steps",
        "Of what is injected at a boundary; 1 is the same direction. Bands are two standard errors.",
        _alignment("cosine", "cosine"),
    ),
    "r2": (
        "R² against the true gradient of the next h steps",
        "The share of the true gradient that is explained: 1 is exact, 0 is plain truncation, less is worse than it. "
        "Parts of the state far below are cut off.",
        _alignment("r2", "R²"),
    ),
    "norms": (
        "How far ahead the true gradient comes from",
        "Its norm by lag, per step. Upright lines: 90% of it lies nearer (full), and 90% of what is injected "
        "(dotted). Faint: below the noise.",
        _norms,
    ),
    "share-by-lag": (
        "How far ahead the synthetic gradient sees",
        "How much of the true gradient from each lag is in what is injected: 1 all of it, 0 none. Faint: below "
        "the noise, so that the lag tells nothing.",
        _share_by_lag,
    ),
    "bias": (
        "Error of the mean parameter gradient",
        "What is left when many updates are averaged, relative to a long window's gradient. Where the level line meets "
        "the curve of plain truncation is the window that the estimator is worth.",
        _bias,
    ),
    "bias-by-parameter": (
        "Error of the mean gradient, by parameter",
        "Relative to a long window's gradient. Bars are two standard errors.",
        _bias_by_parameter,
    ),
}
