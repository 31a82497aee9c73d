"""The plots of a report, read back: the lines are the numbers that were measured, within axes that show them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import make_diagnosis, make_records, make_run
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from sgrnn.analysis.palette import SYNTHETIC, TRUNCATED
from sgrnn.analysis.report import RunReport
from sgrnn.analysis.report.plots import Plot, draw_all

EPOCHS = [0.5, 1.0, 1.5, 2.0]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[RunReport]:
    """A synthetic and a truncated run, both diagnosed."""
    folder = tmp_path_factory.mktemp("runs")
    other = make_diagnosis()
    other["bias"]["relative_error"]["value"] = [[0.2, 0.21], [0.9, 0.91], [0.7, 0.71], [0.15, None]]
    runs = make_run(folder / "one", make_records()), make_run(folder / "two", [], "--gradient.kind=truncated")
    return [RunReport(runs[0], make_diagnosis(), None), RunReport(runs[1], other, None)]


@pytest.fixture(scope="module")
def plots(reports: list[RunReport]) -> dict[str, Plot]:
    """All plots of the first run alone."""
    return {plot.name: plot for plot in draw_all(reports[:1])}


def axes_of(plot: Plot) -> Axes:
    (axes,) = plot.figure.axes
    return axes


def y(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata(), dtype=float).tolist()


def x(line: Line2D) -> list[float]:
    return np.asarray(line.get_xdata(), dtype=float).tolist()


def errorbars(axes: Axes) -> list[Any]:
    """The curves with error bars."""
    return list(axes.containers)


def bars(axes: Axes, number: int = 0) -> list[tuple[float, float]]:
    """The ends of the error bars of a curve, those that are drawn."""
    (collection, *_) = errorbars(axes)[number].lines[2]
    upright = axes.get_title(loc="left") != "Error of the mean gradient, by parameter"
    return [tuple(np.asarray(part)[:, int(upright)]) for part in collection.get_segments() if len(part)]


def test_plots_of_training_hold_what_was_logged(plots: dict[str, Plot]) -> None:
    expected = {
        "losses": [[3.0, 2.5, 2.0, 1.5], [2.75, 2.25]],
        "synthesizer": [[-0.5, 0.0, 0.25, 0.3], [0.5] * 4],
        "cell-norm": [[1.0, 2.0, 3.0, 4.0]],
        "injected-share": [[0.1, 0.2, 0.1 * 3, 0.4]],
        "gradient-norm": [[3.0] * 4],
        "length": [[5.0, 6.0, 7.0, 8.0]],
        "while-training": [[0.2], [1.5]],
    }
    assert {name: [y(line) for line in axes_of(plots[name]).lines] for name in expected} == expected
    for name in expected:
        for line in axes_of(plots[name]).lines:
            assert x(line) == {4: EPOCHS, 2: [1.0, 2.0], 1: [2.0]}[len(y(line))]


def test_alignment_is_that_of_the_whole_state_and_its_parts(plots: dict[str, Plot]) -> None:
    for name in ("cosine", "r2"):
        estimate = make_diagnosis()["alignment"]["injected"][name]
        axes = axes_of(plots[name])
        *parts, zero = axes.lines
        assert [y(line) for line in parts] == estimate["value"]
        assert [x(line) for line in parts] == [[1, 2, 4]] * 3
        assert [str(line.get_label()).split(", ")[1:] for line in parts] == [[], ["hidden"], ["cell"]]
        assert y(zero) == [0, 0]
        band = np.asarray(axes.collections[0].get_paths()[0].vertices)
        for lag, value, error in zip([1, 2, 4], estimate["value"][0], estimate["error"][0], strict=True):
            ends = band[band[:, 0] == lag][:, 1]
            assert (ends.min(), ends.max()) == pytest.approx((value - 2 * error, value + 2 * error))


@pytest.mark.parametrize(
    ("name", "curve", "faint", "ends", "others"),
    [
        # of the norms the last is below its noise; of the shares its error is too large
        ("norms", [3.0, 2.0], 0.001, [(2.4, 3.6), (1.6, 2.4)], [[3.3, 3.3], [1.7, 1.7]]),
        ("share-by-lag", [0.9, 0.5], 7.0, [(0.7, 1.1), (0.1, 0.9)], [[0, 0], [1, 1]]),
    ],
)
def test_lags_below_the_noise_are_faint_marks(
    plots: dict[str, Plot],
    name: str,
    curve: list[float],
    faint: float,
    ends: list[tuple[float, float]],
    others: list[list[float]],
) -> None:
    axes = axes_of(plots[name])
    (drawn,) = [line for line in axes.lines if len(y(line)) == 3]
    assert x(drawn) == [1, 2, 4]
    assert y(drawn)[:2] == curve
    assert np.isnan(y(drawn)[2])
    (mark,) = [line for line in axes.lines if line.get_alpha() == 0.25]
    assert (x(mark), y(mark)) == ([4], [faint])
    assert axes.get_ylim()[1] < 7, "a mark that tells nothing does not stretch the axis"
    assert bars(axes) == [pytest.approx(each) for each in ends]
    straight = [line for line in axes.lines if len(y(line)) == 2]
    assert [x(line) if name == "norms" else y(line) for line in straight] == others
    assert [line.get_linestyle() for line in straight] == ["-", ":"], "what is injected, and all of it, are dotted"


def test_bias_stands_at_its_windows_beside_the_estimator(reports: list[RunReport]) -> None:
    (axes,) = [axes_of(plot) for plot in draw_all(reports) if plot.name == "bias"]
    lines = {str(line.get_label()).split(": ")[-1].split(",")[0] + str(line.get_marker()): line for line in axes.lines}
    for report, marker, color in zip(reports, "os", (SYNTHETIC, TRUNCATED), strict=True):
        assert report.diagnosis is not None
        error = report.diagnosis["bias"]["relative_error"]
        estimator, *truncated = [each[0] for each in error["value"]]
        level, curve = lines[f"its estimator{marker}"], errorbars(axes)["os".index(marker)].lines[0]
        assert y(level) == [estimator, estimator]
        assert str(level.get_label()).endswith("worth T=2.9 ± 0.1 (between 2 and 4)")
        assert (x(curve), y(curve)) == ([1, 2, 4], truncated)
        assert [to_hex(line.get_color()).upper() for line in (level, curve)] == [color, TRUNCATED]
        assert curve.get_marker() == marker
        expected = [(value - 2 * e, value + 2 * e) for value, (e, _) in zip(truncated, error["error"][1:], strict=True)]
        assert bars(axes, "os".index(marker)) == [pytest.approx(each) for each in expected]
    lowest, highest = (
        float(end) for end in axes.patches[0].get_extents().transformed(axes.transData.inverted()).intervaly
    )
    assert (lowest, highest) == pytest.approx((0.3 - 0.06, 0.3 + 0.06))


def test_parameters_have_their_errors_side_by_side(reports: list[RunReport]) -> None:
    (axes,) = [axes_of(plot) for plot in draw_all(reports) if plot.name == "bias-by-parameter"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "weight"]
    assert [x(container.lines[0]) for container in errorbars(axes)] == [[0.3, 0.31], [0.2, 0.21]]
    places = [y(container.lines[0]) for container in errorbars(axes)]
    assert places == [[-0.1, 0.9], [0.1, 1.1]]
    assert axes.yaxis_inverted(), "the whole stands above"
    assert bars(axes) == [pytest.approx((0.24, 0.36)), pytest.approx((0.248, 0.372))]


def test_many_parts_can_be_told_apart_and_a_small_one_does_not_stretch_the_axis(tmp_path: Path) -> None:
    metrics = make_diagnosis()
    alignment = metrics["alignment"]
    alignment["parts"] = ["all", *(f"part {number}" for number in range(10))]
    alignment["injected"]["r2"]["value"] = [[0.5, 0.4, 0.3], *([0.1 * number, 0.2, -80.0] for number in range(10))]
    alignment["injected"]["r2"]["error"] = [[0.01] * 3] * 11
    alignment["injected"]["cosine"] = alignment["injected"]["r2"]
    (plot,) = [each for each in draw_all([RunReport(make_run(tmp_path / "mine"), metrics, None)]) if each.name == "r2"]
    axes = axes_of(plot)
    parts = [line for line in axes.lines if len(y(line)) == 3]
    assert [y(line) for line in parts] == alignment["injected"]["r2"]["value"]
    looks = [(line.get_linestyle(), line.get_marker(), line.get_markerfacecolor() == "w") for line in parts]
    assert len(set(looks)) == 11
    assert axes.get_ylim() == pytest.approx((-1, 0.945))


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([20.0, 250.0], ["20", "50", "100", "200"]),
        ([0.21, 0.44], ["0.25", "0.3", "0.35", "0.4"]),
        ([0.5, 3e6], ["1", "10", "100", "1,000", "10,000", "100,000", "1,000,000"]),
        ([7.0, 7.2], ["7", "7.05", "7.1", "7.15", "7.2"]),
    ],
)
def test_logarithmic_axes_have_plain_numbers(tmp_path: Path, values: list[float], ticks: list[str]) -> None:
    rows = [{"update": at, "epoch": float(at), "seconds": 1.0, "cell_norm": value} for at, value in enumerate(values)]
    (plot,) = [
        each
        for each in draw_all([RunReport(make_run(tmp_path / "mine", rows), None, None)])
        if each.name == "cell-norm"
    ]
    axes = axes_of(plot)
    FigureCanvasAgg(plot.figure).draw()
    low, high = axes.get_ylim()
    shown = {label.get_text(): at for label, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)}
    assert list(shown) == ticks
    assert all(low <= at <= high and at == pytest.approx(float(text.replace(",", ""))) for text, at in shown.items())
    assert not [label.get_text() for label in axes.get_yticklabels(minor=True)]


def test_a_legend_stands_below_and_covers_nothing(reports: list[RunReport]) -> None:
    for plot in draw_all(reports):
        FigureCanvasAgg(plot.figure).draw()
        axes, legend = axes_of(plot), axes_of(plot).get_legend()
        assert legend is not None
        box = legend.get_window_extent()
        assert -1 <= box.y0 < box.y1 <= axes.xaxis.label.get_window_extent().y0
        assert axes.get_window_extent().height > 200, "nor does it leave too little"


def test_every_plot_has_a_title_within_its_figure_and_shows_all_of_its_curves(reports: list[RunReport]) -> None:
    seen = set()
    for plot in draw_all(reports):
        FigureCanvasAgg(plot.figure).draw()
        axes = axes_of(plot)
        assert axes.get_title(loc="left") == plot.title != ""
        assert plot.note
        frame = plot.figure.bbox
        for text in (axes._left_title, axes.xaxis.label, axes.yaxis.label):  # pyright: ignore[reportAttributeAccessIssue]
            box = text.get_window_extent()
            assert text.get_text()
            assert 0 <= box.x0 < box.x1 <= frame.width
            assert 0 <= box.y0 < box.y1 <= frame.height
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().width <= frame.width
        (left, right), (low, high) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
        for line in axes.lines:
            if line.get_alpha() == 0.25 or line.get_transform() != axes.transData:
                continue
            assert all(left <= value <= right for value in x(line) if np.isfinite(value)), plot.name
            assert all(low <= value <= high for value in y(line) if np.isfinite(value)), plot.name
        seen.add(plot.name)
    assert seen == {
        "losses", "synthesizer", "cell-norm", "injected-share", "gradient-norm", "length", "while-training",
        "cosine", "r2", "norms", "share-by-lag", "bias", "bias-by-parameter",
    }  # fmt: skip


def test_what_no_run_has_is_left_out_and_the_same_plot_is_the_same_file(tmp_path: Path) -> None:
    empty: dict[str, Any] = make_diagnosis()
    empty["alignment"]["norms"]["value"] = empty["alignment"]["injected"]["share_by_lag"]["value"] = [[0.0] * 3] * 3
    run = make_run(tmp_path / "mine", [row for row in make_records() if "valid_loss" in row])
    plots = list(draw_all([RunReport(run, empty, None)]))
    assert [plot.name for plot in plots] == ["losses", "cosine", "r2", "bias", "bias-by-parameter"]
    assert [plot.name for plot in draw_all([RunReport(run, None, None)])] == ["losses"]
    assert list(draw_all([RunReport(make_run(tmp_path / "new"), None, None)])) == []
    one, other = (next(draw_all([RunReport(run, None, None)])) for _ in range(2))
    assert one.image("svg") == other.image("svg") != plots[1].image("svg")
    assert one.image("png").startswith(b"\x89PNG\r\n\x1a\n")
    assert all(first != second for first, second in pairwise(plot.title for plot in plots))
