"""What a person sees: lines and a bar."""

import re
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from time import sleep
from types import ModuleType
from typing import Any

import pytest
from made_up import make_run
from rich.console import Console

from sgrnn.training.display import Display

from .tiny import AnyTraining, Practice, Training

Start = Callable[..., Training]

FIGURES = {"learning_rate": 0.1, "loss": 2.0, "target_r2": 0.25, "shrinkage": 0.5, "updates_per_second": 100.0}


def shown(training: AnyTraining, records: list[dict[str, Any]], **options: Any) -> str:
    file = StringIO()
    console = Console(file=file, width=100, soft_wrap=True, **options)
    with Display(training.run, console, seconds_between_lines=0) as display:
        for record in records:
            display(record)
            sleep(0.02)
    return file.getvalue()


def record_at(update: int, **metrics: float) -> dict[str, Any]:
    return {"update": update, "epoch": update / 9, "seconds": 1.0, **(metrics or FIGURES)}


def test_without_a_terminal_it_prints_a_line_per_record_with_every_figure(start: Start) -> None:
    units = {"valid_bits_per_character": 2.164, "valid_bits_per_byte": 2.163, "valid_unknown_share": 0.0123}
    valid = record_at(9, valid_loss=1.5, valid_perplexity=4.4817, **units)
    output = shown(start("run"), [record_at(3), record_at(6, **FIGURES | {"loss": 1000.0}), valid])
    # 100 updates a second of 4 rows of 6 steps
    assert output.splitlines() == [
        "epoch 0.33/100  loss 2.000  perplexity 7.389  target R² 0.25  shrinkage 0.50  2,400 tokens/s",
        "epoch 0.67/100  loss 1000.000  perplexity 1.014e+304  target R² 0.25  shrinkage 0.50  2,400 tokens/s",
        "epoch 1: validation loss 1.5000, perplexity 4.48, 2.164 bits per character, 2.163 per byte, <unk> 1.23%",
    ]


def test_speed_is_in_updates_where_spans_vary(start: Start) -> None:
    varying = "--training.varying_span={deviation: 2, least: 2}"
    assert shown(start("run", varying), [record_at(3)]).endswith(" 100.0 updates/s\n")


def test_lines_come_no_more_often_than_asked_but_the_first_at_once(start: Start) -> None:
    file = StringIO()
    with Display(start("run").run, Console(file=file, width=100), seconds_between_lines=3600) as display:
        for update in range(1, 6):
            display(record_at(update))
    assert len(file.getvalue().splitlines()) == 1


def test_with_a_terminal_it_shows_the_figures_above_a_bar_with_the_time_left(start: Start) -> None:
    output = shown(start("run"), [record_at(update) for update in (2, 4, 5)], force_terminal=True)
    assert "loss 2.000  perplexity 7.389  target R² 0.25  shrinkage 0.50  2,400 tokens/s" in output
    assert " 50%" in output, "5 of max_updates=10"
    assert re.search(r"0:00:0\d\S* \S*left", output)


def test_in_a_notebook_one_cell_is_drawn_anew_and_scores_stand_below_it(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, str]] = []

    def text_of(shown: Any) -> str:
        return shown._repr_mimebundle_([], [])["text/plain"]

    class Handle:
        def update(self, shown: Any) -> None:
            drawn.append(("again", text_of(shown)))

    def display(shown: Any, *, display_id: bool = False) -> Handle | None:
        drawn.append(("new cell" if display_id else "line", text_of(shown)))
        return Handle() if display_id else None

    notebook = ModuleType("IPython.display")
    notebook.__dict__["display"] = display
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", notebook)
    valid = record_at(9, valid_loss=1.5, valid_perplexity=4.4817)
    shown(start("run"), [record_at(2), record_at(5), valid], force_jupyter=True)
    assert [kind for kind, _ in drawn] == ["new cell", "again", "again", "line"]
    texts = [text for _, text in drawn]
    assert "starting" in texts[0]
    assert "loss 2.000  perplexity 7.389  target R² 0.25" in texts[2]
    assert [re.search(r"(\d+)%", text)[1] for text in texts[:3]] == ["0", "20", "50"]  # pyright: ignore
    assert texts[3] == "epoch 1: validation loss 1.5000, perplexity 4.48\n"


def test_estimators_without_a_synthesizer_show_no_r2(start: Start) -> None:
    metrics = {"loss": 2.0, "updates_per_second": 100.0}
    assert "R²" not in shown(start("run", "--gradient.kind=bptt"), [record_at(3, **metrics)])


def test_a_task_shows_the_loss_of_its_targets_from_the_end_of_one_episode_to_the_next(tmp_path: Path) -> None:
    within, ended = {"loss": 0.0, "updates_per_second": 100.0}, {"loss": 0.1, "updates_per_second": 100.0}
    records = [
        record_at(3, **within),
        record_at(6, **ended, loss_per_target=2.0794),
        record_at(9, **within),
        record_at(12, **ended, loss_per_target=1.0),
    ]
    lines = shown(Practice(make_run(tmp_path / "mine"), tmp_path), records).splitlines()
    assert [line.split("  ")[1:-1] for line in lines] == [[], ["loss 2.079"], ["loss 2.079"], ["loss 1.000"]]
