"""`sgrnn.train`: the run that the command makes, from Python."""

import os
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import sgrnn as library
from sgrnn.analysis.curves import LiveCurves, plot_curves
from sgrnn.config.files import load_recipe
from sgrnn.session import resume
from sgrnn.training.checkpoints import latest_update
from sgrnn.training.run import Run

from .commands import Commands, records_of


def models_of(folder: str) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in Path(folder).rglob("model.safetensors")}


def test_it_makes_the_run_that_the_command_makes(sgrnn: Commands, tiny: str) -> None:
    expected = sgrnn.well("train", "tiny.yaml", "--gradient.window=2", "--training.max_updates=3").splitlines()
    run = library.train("tiny.yaml", "mine", gradient={"window": 2}, training={"max_updates": 3})
    printed = sgrnn.well("recipes", "list").splitlines()  # and what the call has printed before
    assert printed[0] == expected[0].replace("runs/tiny-1", "mine")
    assert [line for line in printed if line in expected] == expected[2:-2], "but for speed and names of folders"
    assert "next: sgrnn generate mine --length 300" in printed
    assert models_of("mine") == models_of("runs/tiny-1") != {}
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in Path("runs/tiny-1").iterdir()}
    assert repr(run) == "Run('mine')"
    assert list(run.records()) == records_of("mine")
    model, tokenizer = library.load(run)
    score = library.score(model, tokenizer, Path("texts/valid.txt"))
    assert score.perplexity == pytest.approx(list(run.records())[-2]["valid_perplexity"])


def test_curves_are_drawn_while_it_trains_and_at_the_end(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def draw(runs: list[Run], path: Path) -> None:
        plot_curves(runs, path)
        drawn.append(list(runs[0].records())[-1]["update"])

    monkeypatch.setattr("sgrnn.analysis.curves.plot_curves", draw)
    monkeypatch.setattr("sgrnn.session.LiveCurves", partial(LiveCurves, seconds_between=0.0))
    resume(Path(tiny), None, ["--training.max_updates=14", "--training.evaluate_every=12"])
    assert drawn == [12, 14], "at evaluations, and no second time at the end"
    monkeypatch.setattr("sgrnn.session.LiveCurves", LiveCurves)
    resume(Path(tiny), None, ["--training.max_updates=15"])
    assert drawn == [12, 14, 15], "at the end, ten seconds not being over"


def test_a_figure_that_cannot_be_written_ends_training_once_all_is_saved(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copytree(tiny, "mine")
    monkeypatch.setattr("sgrnn.session.LiveCurves", partial(LiveCurves, seconds_between=0.0))
    resume(Path(tiny), None, longer := ["--training.max_updates=30", "--training.evaluate_every=12"])
    expected = models_of(tiny)["update-000000030"]
    figure = Path("mine", "curves.png")
    figure.unlink()
    figure.mkdir()  # in the way
    with pytest.raises(library.InputError, match=r"^cannot write mine/curves\.png: .* go on with `sgrnn resume mine`$"):
        resume(Path("mine"), None, longer)
    assert latest_update(Path("mine", "checkpoints")) == 13
    figure.rmdir()
    resume(Path("mine"), None)
    assert models_of("mine")["update-000000030"] == expected


def test_a_recipe_is_a_name_a_path_sections_or_checked_and_fields_have_other_values_in_any_form(folder: Path) -> None:
    plain: dict[str, Any] = {
        "data": {"corpus": "text", "train": Path("texts/train.txt"), "tokenizer": {"kind": "character"}},
        "model": {"hidden_size": 4},
        "gradient": {"kind": "synthetic", "window": 3, "synthesizer": {"kind": "error", "lookahead": 2}},
        "training": {"epochs": 1},
    }
    by_command = ["--gradient.kind=truncated", "--gradient.window=2", "--training.patience=3", "--sample.prompt=a"]
    by_sections = {"gradient": {"window": 2, "kind": "truncated"}, "training": {"patience": 3}, "sample.prompt": "a"}
    by_names = {"sample": {"prompt": "a"}, "training.patience": 3, "gradient.kind": "truncated", "gradient.window": 2}
    for recipe in (plain, load_recipe(plain), "tiny.yaml", Path("tiny.yaml"), "quickstart"):
        expected = load_recipe(recipe, by_command)
        assert load_recipe(recipe, by_sections) == load_recipe(recipe, by_names) == expected
        assert expected != load_recipe(recipe)
    assert load_recipe(plain).data == load_recipe("tiny.yaml", {"data.valid": None, "data.test": None}).data
    assert plain["gradient"]["kind"] == "synthetic", "what was given is left alone"
    short: dict[str, Any] = {"batch_size": 2, "span": 5, "max_updates": 1, "device": "cpu"}
    run = library.train(plain, training=short, data={"valid_fraction": 0.2, "test_fraction": 0.2})
    assert run.folder == Path("runs/text-1")
    assert library.load("runs/text-1")[1].vocabulary_size == 10


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training": {"epohs": 3}}, r"override: training\.epohs is not a field; did you mean training\.epochs\?"),
        ({"epochs": 3}, r"override: epochs is not a field; expected one of .*; did you mean training\.epochs\?"),
        ({"training.epochs": "many"}, r"override: training\.epochs must be a valid integer, .*, got 'many'"),
        ({"training.epochs": {"x": 1}}, r"override: training\.epochs\.x: epochs is no section but 100"),
        ({"training": 5}, r"override: training must be a section, like training: \{field: value\}, got 5"),
        (
            {"data": "texts"},
            r"data is a section of the recipe, such as .*, got 'texts'; name the folder .* data_folder",
        ),
        ({"data": {"train": "nowhere.txt"}}, r"nowhere\.txt does not exist; expected a UTF-8 text file"),
        ({"training": {"batch_size": 40}}, r"text train is too short: its 208 tokens make 40 rows"),
        ({"optimizer": {"kind": "sgd", "learning_rate": 1e30}}, r"training has diverged"),
    ],
)
def test_mistakes_are_input_errors_and_leave_no_folder(folder: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(library.InputError, match=message):
        library.train("tiny.yaml", "mine", **overrides)
    assert Path("mine").exists() == ("diverged" in message)


def test_a_recipe_or_a_folder_that_does_not_fit_is_an_input_error(folder: Path, mine: str) -> None:
    with pytest.raises(library.InputError, match=r"no recipe named 'tny'"):
        library.train("tny")
    with pytest.raises(library.InputError, match=r"^the recipe: gradient is missing$"):
        library.train({"data": {"corpus": "python-docs"}, "model": {"hidden_size": 4}, "training": {"epochs": 1}})
    with pytest.raises(library.InputError, match=r"^mine already holds a run: go on with `sgrnn resume mine`"):
        library.train("tiny.yaml", mine)
    with pytest.raises(library.InputError, match=r"sgrnn data fetch ptb"):
        library.train("ptb-word-small", data_folder="elsewhere")


def test_an_interruption_saves_says_how_to_go_on_and_leaves_no_trace(folder: Path, sgrnn: Commands) -> None:
    length: dict[str, Any] = {"training.max_updates": 120, "training.log_every": 1}
    library.train("tiny.yaml", "whole", **length)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    def interrupt() -> None:
        path = Path("mine/metrics.jsonl")
        while not path.exists() or path.read_bytes().count(b"\n") < 5:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt, match=r"^stopped and saved; go on with: sgrnn resume mine$"):
        library.train("tiny.yaml", "mine", **length)
    watcher.join()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert max(record["update"] for record in records_of("mine")) < 120
    resume(Path("mine"), None)
    assert models_of("mine")["update-000000120"] == models_of("whole")["update-000000120"]


def test_it_trains_in_a_thread_of_its_own_too(folder: Path, tiny: str) -> None:
    runs: list[Any] = []
    thread = threading.Thread(target=lambda: runs.append(library.train("tiny.yaml", "mine")))
    thread.start()
    thread.join()
    assert [run.folder for run in runs] == [Path("mine")]
    assert models_of("mine") == models_of(tiny)
    assert re.search("hidden_size: 12", Path("mine/recipe.yaml").read_text())
