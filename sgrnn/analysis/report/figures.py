"""The figures of a report: each says one thing, in colors that everyone can tell apart.

A figure is drawn where some run has what it shows, and left out elsewhere. Colors are those of Okabe & Ito; runs differ
in their markers too.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrnn.analysis.curves import draw_logged, draw_losses, label
from sgrnn.analysis.report.run_report import RunReport

_COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
_MARKERS = "osD^vP*"
_LINES = ("--", ":", "-.")
_ROUNDING = 1e-6  # of a sum in float32, relative to its largest term
STYLE: Any = {  # as matplotlib's rc_context takes it
    "axes.prop_cycle": cycler(color=_COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "font.size": 10,
    "legend.fontsize": 8.5,
    "legend.framealpha": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "sgrnn",  # the same file for the same run
}


@dataclass(frozen=True)
class Plot:
    """A figure of a report.

    Args:
        name: of its files.
        title: what one sees.
        figure: drawn.
        note: how to read it.
    """

    name: str
    title: str
    figure: Figure
    note: str


def draw_all(subjects: Sequence[RunReport]) -> Iterator[Plot]:
    """All figures that the runs have something for."""
    for name, (title, note, draw) in _FIGURES.items():
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(5.4, 3.7), layout="constrained")
            axes = figure.subplots()
            if draw(axes, subjects):
                axes.grid(alpha=0.25)
                if axes.get_legend_handles_labels()[0] and axes.get_legend() is None:
                    axes.legend()
                yield Plot(name, title, figure, note)


def _losses(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    draw_losses(axes, [subject.run for subject in subjects])
    return any(True for subject in subjects for _ in subject.run.records())


def _logged(name: str, unit: str, **limits: Any) -> Callable[[Axes, Sequence[RunReport]], bool]:
    def draw(axes: Axes, subjects: Sequence[RunReport]) -> bool:
        draw_logged(axes, [subject.run for subject in subjects], name)
        axes.set(xlabel="epoch", ylabel=unit, **limits)
        return bool(axes.lines)

    return draw


def _gate(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    runs = [subject.run for subject in subjects]
    draw_logged(axes, runs, "target_r2", " target R²")
    draw_logged(axes, runs, "shrinkage", " shrinkage", "--")
    axes.set(xlabel="epoch", ylabel="target R², shrinkage", ylim=(-0.25, 1.05))
    return bool(axes.lines)


def _passing(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    runs = [subject.run for subject in subjects]
    draw_logged(axes, runs, "true_r2", " R² at boundaries")
    draw_logged(axes, runs, "bias", " error of the mean gradient", "--")
    axes.set(xlabel="epoch", ylabel="R², relative error")
    return bool(axes.lines)


def _alignment(figure: str, unit: str) -> Callable[[Axes, Sequence[RunReport]], bool]:
    def draw(axes: Axes, subjects: Sequence[RunReport]) -> bool:
        for index, run, diagnosis in _diagnosed(subjects):
            found = diagnosis["alignment"]
            curves, lags = found["injected"][figure], found["lags"]
            for number, part in enumerate(found["parts"]):
                whole = number == 0
                if not whole and (len(found["parts"]) == 2 or len(subjects) > 2):
                    continue  # nothing new, or too much
                values, errors = _column(curves["value"][number]), _column(curves["error"][number])
                style: Any = {"marker": _marker(index)} if whole else {"linestyle": _LINES[number % 3], "lw": 1}
                axes.plot(lags, values, color=f"C{index}", label=run if whole else f"{run}, {part}", **style)
                if whole:
                    axes.fill_between(
                        lags, values - 2 * errors, values + 2 * errors, color=f"C{index}", alpha=0.2, lw=0
                    )
        axes.axhline(0, color="0.4", lw=0.8)
        axes.set(xscale="log", xlabel="h: steps of true gradient", ylabel=unit)
        _plain_ticks(axes)
        return len(axes.lines) > 1

    return draw


def _reach(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    for index, run, diagnosis in _diagnosed(subjects):
        found = diagnosis["alignment"]
        values, errors = _column(found["norms"]["value"][0]), _column(found["norms"]["error"][0])
        if not (values > 0).any():  # nothing goes on beyond the boundaries there are
            continue
        known = values > np.maximum(2 * np.nan_to_num(errors), _ROUNDING * np.nanmax(values))
        _by_lag(axes, found["lags"], values, errors, known, index, run)
        for horizon, style in ((found["true_horizon"], "-"), (found["injected"]["horizon"], ":")):
            if horizon["value"]:
                axes.axvline(horizon["value"], color=f"C{index}", ls=style, lw=1)
    axes.set(xscale="log", yscale="log", xlabel="lag: steps ahead", ylabel="norm of the gradient from there")
    _plain_ticks(axes)
    return bool(axes.lines)


def _carried(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    for index, run, diagnosis in _diagnosed(subjects):
        found = diagnosis["alignment"]
        values, errors = (_column(found["injected"]["carried"][key][0]) for key in ("value", "error"))
        if values.any():
            # Two standard errors either way that are wider than from nothing to all say nothing.
            _by_lag(axes, found["lags"], values, errors, 4 * np.nan_to_num(errors) < 1, index, run)
    found = bool(axes.lines)
    axes.axhline(0, color="0.4", lw=0.8)
    axes.axhline(1, color="0.4", lw=0.8, ls=":")
    axes.set(xscale="log", xlabel="lag: steps ahead", ylabel="share of the true gradient carried")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1), min(high, 2))
    _plain_ticks(axes)
    return found


def _by_lag(
    axes: Axes, lags: Sequence[int], values: np.ndarray, errors: np.ndarray, known: np.ndarray, index: int, name: str
) -> None:
    """A curve with bars of two standard errors; where a value is below the noise a faint mark alone."""
    places = np.array(lags)
    shown, bars = np.where(known, values, np.nan), np.where(known, 2 * errors, np.nan)
    axes.errorbar(places, shown, bars, color=f"C{index}", marker=_marker(index), label=name)
    if not known.all():
        axes.plot(places[~known], values[~known], _marker(index), color=f"C{index}", alpha=0.25, mfc="none")


def _bias(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    """The estimator as a level line, and truncation over T: where they cross is what the estimator is worth."""
    for index, run, diagnosis in _diagnosed(subjects):
        found = diagnosis["bias"]
        values = _column([row[0] for row in found["relative_error"]["value"]])
        errors = _column([row[0] for row in found["relative_error"]["error"]])
        axes.errorbar(
            found["windows"], values[1:], 2 * errors[1:], color=f"C{index}", marker=_marker(index), lw=1, ls="--",
            label=f"{run}: truncated",
        )  # fmt: skip
        axes.axhline(values[0], color=f"C{index}", label=f"{run}: its estimator, {found['worth']['text']}")
        axes.axhspan(values[0] - 2 * errors[0], values[0] + 2 * errors[0], color=f"C{index}", alpha=0.15, lw=0)
    axes.set(xscale="log", xlabel="T of plain truncation", ylabel="relative error", ylim=(0, None))
    _plain_ticks(axes)
    return bool(axes.lines)


def _tensors(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    shown = list(_diagnosed(subjects))
    if not shown:
        return False
    names = shown[0][2]["bias"]["tensors"]
    for offset, (index, run, diagnosis) in enumerate(shown):
        found = diagnosis["bias"]
        if found["tensors"] != names:
            continue
        values, errors = (_column(found["relative_error"][key][0]) for key in ("value", "error"))
        places = np.arange(len(names)) + 0.2 * (offset - (len(shown) - 1) / 2)
        axes.errorbar(values, places, xerr=2 * errors, fmt=_marker(index), color=f"C{index}", label=run)
    axes.set(yticks=range(len(names)), xlabel="relative error of the mean gradient", xlim=(0, None))
    axes.set_yticklabels(names, fontsize=7.5)
    axes.invert_yaxis()
    return True


def _gates(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    shown = [each for each in _diagnosed(subjects) if each[2]["health"]["gates"]]
    labels: list[str] = []
    for index, run, diagnosis in shown:
        for name, gate in diagnosis["health"]["gates"].items():
            place = len(labels)
            labels.append(name if len(shown) == 1 else f"{name}, {run}")
            between = 1 - gate["closed"] - gate["open"]
            left = 0.0
            for share, shade, meaning in (
                (gate["closed"], "0.25", "below 0.1"),
                (between, "0.85", "between"),
                (gate["open"], "white", "above 0.9"),
            ):
                axes.barh(
                    place, share, left=left, color=shade, edgecolor=f"C{index}", lw=0.8,
                    label=meaning if place == 0 else None,
                )  # fmt: skip
                left += share
            axes.plot(gate["mean"], place, "|", color=f"C{index}", ms=14, mew=2.5, label="mean" if place == 0 else None)
    axes.set(yticks=range(len(labels)), xlabel="share of steps and units; mean activation", xlim=(0, 1))
    axes.set_yticklabels(labels, fontsize=8)
    axes.invert_yaxis()
    if labels:
        axes.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.18), frameon=False)
    return bool(labels)


def _memory(axes: Axes, subjects: Sequence[RunReport]) -> bool:
    for index, run, diagnosis in _diagnosed(subjects):
        found = diagnosis.get("probes")
        if found is not None:
            errors = 2 * _column(found["error"])
            axes.errorbar(
                found["lags"], found["accuracy"], errors, color=f"C{index}", marker=_marker(index), label=run
            )  # fmt: skip
            axes.plot(found["lags"], found["baseline"], ":", color=f"C{index}", lw=1)
    axes.set(xlabel="tokens ago", ylabel="accuracy of a linear probe", ylim=(0, 1.02))
    return bool(axes.lines)


def _against(by: str, meaning: str) -> Callable[[Axes, Sequence[RunReport]], bool]:
    def draw(axes: Axes, subjects: Sequence[RunReport]) -> bool:
        shown = [each for each in _diagnosed(subjects) if "against" in each[2]]
        groups: list[str] = []
        for _, _, diagnosis in shown:
            groups += [group for group in diagnosis["against"][by]["groups"] if group not in groups]
        for index, run, diagnosis in shown:
            found = diagnosis["against"][by]
            values, errors = (_column(found["difference"][key]) for key in ("value", "error"))
            places = [groups.index(group) for group in found["groups"]]
            name = f"{run} against {Path(diagnosis['against']['run']).name}"
            axes.errorbar(places, values, 2 * errors, color=f"C{index}", marker=_marker(index), label=name)
        axes.axhline(0, color="0.4", lw=0.8)
        axes.set(xticks=range(len(groups)), xlabel=meaning, ylabel="nats per token saved")
        axes.set_xticklabels(groups, rotation=30, ha="right", fontsize=8)
        return bool(shown)

    return draw


def _diagnosed(subjects: Sequence[RunReport]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, name and figures of the runs that were diagnosed."""
    for index, subject in enumerate(subjects):
        if subject.diagnosis is not None:
            yield index, label(subject.run), subject.diagnosis


def _column(values: Sequence[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _plain_ticks(axes: Axes) -> None:
    """1, 2, 5, 10, ... on a logarithmic axis of steps."""
    low, high = axes.get_xlim()
    ticks = [each for each in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= each <= high]
    axes.set_xticks(ticks, [str(each) for each in ticks])
    axes.minorticks_off()


_FIGURES: dict[str, tuple[str, str, Callable[[Axes, Sequence[RunReport]], bool]]] = {
    "losses": ("Loss over training", "Train loss is faint; dots are the validation split.", _losses),
    "synthesizer": (
        "How well predictions match their targets, and how much is let through",
        "R² of predictions with their targets, before they were trained on them (0: they say nothing), and the gate "
        "that multiplies them (0: shut). The targets contain predictions themselves, so that 1 proves nothing: R² "
        "against the true gradient is what `sgrnn diagnose` adds below.",
        _gate,
    ),
    "cell-norm": (
        "Mean norm of the cell",
        "A norm that grows without bound is drift: the synthetic gradients feed on themselves.",
        _logged("cell_norm", "norm", yscale="log"),
    ),
    "injected-share": (
        "How much of what goes backwards is synthetic",
        "The norm of what is injected over the norm of all that enters the core backwards.",
        _logged("injected_share", "share of the norm", ylim=(0, 1)),
    ),
    "gradient-norm": (
        "Norm of the gradient",
        "Of all parameters, before it is clipped.",
        _logged("gradient_norm", "norm", yscale="log"),
    ),
    "length": ("Length of the episodes that were learned", "", _logged("length", "length")),
    "while-training": (
        "Against the truth, while training",
        "R² of what was injected against the true gradient, and the relative error of the mean parameter gradient.",
        _passing,
    ),
    "cosine": (
        "Direction: cosine with the true gradient of the next h steps",
        "Of what is injected at a boundary; 1 is the same direction. Bands are two standard errors.",
        _alignment("cosine", "cosine"),
    ),
    "r2": (
        "R² against the true gradient of the next h steps",
        "The share of the true gradient that is explained: 1 is exact, 0 is plain truncation, less is worse than it.",
        _alignment("r2", "R²"),
    ),
    "norms": (
        "How far ahead the true gradient comes from",
        "Its norm by lag, per step. Upright lines: 90% of it lies nearer (full), and 90% of what is injected "
        "(dotted). Faint: below the noise.",
        _reach,
    ),
    "carried": (
        "How far ahead the synthetic gradient sees",
        "How much of the true gradient from each lag is in what is injected: 1 all of it, 0 none. Faint: below "
        "the noise, so that the lag tells nothing.",
        _carried,
    ),
    "bias": (
        "Error of the mean parameter gradient, beside plain truncation",
        "What is left when many updates are averaged, relative to a long window's gradient. Where the level line meets "
        "the curve is the window that the estimator is worth.",
        _bias,
    ),
    "bias-by-parameter": ("Error of the mean gradient, by parameter", "Bars are two standard errors.", _tensors),
    "gates": ("Saturation of the gates", "How often each gate is nearly closed, or nearly open.", _gates),
    "memory": (
        "What the state knows of the tokens before",
        "Accuracy of a linear probe on states it has not seen; dotted: always answering the most frequent token.",
        _memory,
    ),
    "frequency": (
        "Where it pays, by how frequent a token is",
        "Loss of the other run less that of this one, on the validation split; above 0 this one is better.",
        _against("frequency", "times in the train text"),
    ),
    "place": (
        "Where it pays, by the place in the line",
        "The same by how many tokens of its line come before.",
        _against("place", "tokens before it in its line"),
    ),
}
