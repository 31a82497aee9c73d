"""Learning curves: the lines hold the numbers that were logged, and colors and markers mean what the palette says."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from made_up import make_records, make_run
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from training.tiny import Training

from sgrnn.analysis.curves import LiveCurves, curves, plot_curves, run_styles
from sgrnn.analysis.palette import CONTROL, EXACT, SYNTHETIC, TRUNCATED
from sgrnn.training import loop


def lines(axes: Axes) -> list[tuple[list[float], list[float], str, Any]]:
    """The curves of an axes: x, y, color and label."""
    return [
        (
            np.asarray(line.get_xdata()).tolist(),
            np.asarray(line.get_ydata()).tolist(),
            to_hex(line.get_color()).upper(),
            line.get_label(),
        )
        for line in axes.lines
    ]


def test_curves_hold_what_was_logged(tmp_path: Path) -> None:
    plain = [{name: row[name] for name in row if name not in ("target_r2", "shrinkage")} for row in make_records(2.0)]
    runs = [make_run(tmp_path / "one", make_records()), make_run(tmp_path / "two", plain, "--gradient.kind=truncated")]
    losses, synthesizer, length = curves(runs).axes
    names = [run.name if len(run.name) <= 28 else f"…{run.name[-27:]}" for run in runs]
    drawn = lines(losses)
    assert [(x, y, color) for x, y, color, _ in drawn] == [
        ([0.5, 1.0, 1.5, 2.0], [3.0, 2.5, 2.0, 1.5], SYNTHETIC),
        ([1.0, 2.0], [2.75, 2.25], SYNTHETIC),
        ([0.5, 1.0, 1.5, 2.0], [6.0, 5.0, 4.0, 3.0], TRUNCATED),
        ([1.0, 2.0], [5.5, 4.5], TRUNCATED),
    ]
    assert [drawn[1][3], drawn[3][3]] == names
    assert [line.get_alpha() for line in losses.lines] == [0.35, None, 0.35, None]
    assert lines(synthesizer) == [
        ([0.5, 1.0, 1.5, 2.0], [-0.5, 0.0, 0.25, 0.3], SYNTHETIC, f"{names[0]}, target R²"),
        ([0.5, 1.0, 1.5, 2.0], [0.5] * 4, SYNTHETIC, f"{names[0]}, shrinkage"),
    ]
    assert [line.get_linestyle() for line in synthesizer.lines] == ["-", "--"]
    assert synthesizer.get_ylim()[0] < -0.5 < 1 < synthesizer.get_ylim()[1], "all of it is in sight, and up to 1"
    assert [y for _, y, _, _ in lines(length)] == [[5.0, 6.0, 7.0, 8.0]] * 2
    forms = {
        "curves.png": b"\x89PNG\r\n\x1a\n",
        "curves": b"\x89PNG\r\n\x1a\n",
        "curves.SVG": b"<?xml",
        "curves.pdf": b"%PDF",
    }
    for name, begins in forms.items():
        plot_curves(runs, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins), name


def test_the_loss_of_a_task_is_that_of_its_targets_and_a_run_without_record_has_no_curve(tmp_path: Path) -> None:
    rows = [
        {"update": 1, "epoch": 0.5, "loss": 0.0},  # in the midst of an episode
        {"update": 2, "epoch": 1.0, "loss": 0.5, "loss_per_target": 4.0},
        {"update": 3, "epoch": 1.5, "loss": 0.0},
    ]
    (losses,) = curves([make_run(tmp_path / "one", rows), make_run(tmp_path / "never-trained")]).axes
    assert [y for _, y, _, _ in lines(losses)] == [[4.0], [], [], []]
    assert losses.get_ylabel() == "loss per target"


def test_a_color_is_a_kind_and_a_marker_a_run(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / f"run-{number}", [], *overrides)
        for number, overrides in enumerate(
            [["--gradient.kind=bptt"], ["--gradient.kind=exact"], [], ["--gradient.shuffle=true"], []]
        )
    ]
    assert [(style.color, style.marker) for style in run_styles(runs)] == [
        (EXACT, "o"), (EXACT, "s"), (SYNTHETIC, "o"), (CONTROL, "o"), (SYNTHETIC, "s")
    ]  # fmt: skip


@mpl.rc_context({"svg.fonttype": "none"})
def test_any_name_of_a_run_stands_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"q$_$": "q$_$", "$": "$", r"\$x$": r"\$x$", "_mine": "./_mine", f"_{'x' * 27}": f"…{'x' * 27}"}
    file = StringIO()
    curves([make_run(Path(name), make_records()) for name in names]).savefig(file, format="svg")
    for shown in names.values():
        assert f">{shown}</text>" in file.getvalue()


def test_curves_are_drawn_anew_at_evaluations_but_not_too_often(tmp_path: Path) -> None:
    run, path = make_run(tmp_path / "mine", make_records()), tmp_path / "mine" / "curves.png"
    for between, drawn in ((3600.0, [False] * 3), (0.0, [False, True, True])):
        live = LiveCurves(run, between)
        for record, expected in zip([{"loss": 1.0}, {"valid_loss": 2.0}, {"valid_loss": 1.0}], drawn, strict=True):
            path.unlink(missing_ok=True)
            live(record)
            assert path.exists() == expected
    path.unlink()
    live.draw()
    assert not path.exists(), "nothing was logged since"
    live({"loss": 1.0})
    live.draw()
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sorted(each.name for each in run.folder.iterdir()) == ["curves.png", "metrics.jsonl"], "nothing beside it"


def test_the_clock_of_a_run_stands_still_while_curves_are_drawn(start: Callable[..., Training]) -> None:
    training, began = start("run"), perf_counter()

    def slow(record: dict[str, Any]) -> None:
        if "valid_loss" in record:
            sleep(0.5)

    loop.train(training.run, training.problem, slow)
    *_, last = training.run.records()
    assert perf_counter() - began - last["seconds"] > 2 * 0.5
