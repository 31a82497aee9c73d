"""`sgrnn sweep`: trials that are ordinary runs, shared by processes, and there again after a kill."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.run import Run

from .commands import Commands, Running, table_in
from .test_stopping import logged, wait_until

SPACE = """
optimizer.learning_rate: {low: 1e-3, high: 1e-1, log: true}
gradient.window: [1, 2, 3]
"""


SAVEFIG = Figure.savefig


@pytest.fixture(autouse=True)
def space(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A space file; and figures are drawn but not made into files, which takes most of the time."""
    (folder / "space.yaml").write_text(SPACE)
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)


def command(*arguments: object) -> tuple[object, ...]:
    return ("sweep", "tiny.yaml", "--space", "space.yaml", "--study", "mine", *arguments)


def states(output: str) -> dict[int, str]:
    """The trials of the table, of which a narrow screen has a second part."""
    return {int(number): state for number, state in re.findall(r"^│ (\d+) +│ ([a-z]+)", output, re.MULTILINE)}


def points(axes: Axes) -> list[tuple[float, float]]:
    """The points of a scatter plot."""
    return [(float(x), float(y)) for x, y in np.asarray(axes.collections[0].get_offsets())]


def test_trials_are_runs_with_a_table_figures_and_the_best(sgrnn: Commands) -> None:
    drawn: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyplot, "close", drawn.append)
        patch.setattr(Figure, "savefig", SAVEFIG)
        output = sgrnn.well(*command("--trials", 3, "--training.max_updates=18"))
    runs = [Run.open(path) for path in sorted(Path("mine/trials").glob("[0-9]*"))]
    assert [run.folder.name for run in runs] == ["0000", "0001", "0002"]
    rates = [run.recipe.optimizer.learning_rate for run in runs]
    assert len(set(rates)) == 3
    for run, rate in zip(runs, rates, strict=True):
        assert 1e-3 <= rate <= 1e-1
        assert run.recipe.training.max_updates == 18
        assert (run.folder / "curves.png").exists()
        assert (run.folder / "tensorboard").is_dir()
    scores = [min(row["valid_bits_per_character"] for row in run.records() if "valid_loss" in row) for run in runs]
    order = sorted(range(3), key=scores.__getitem__)
    table = table_in(output)
    assert [int(number) for number in table if number.isdigit()] == order, "the best comes first"
    for number, score in enumerate(scores):
        assert table[str(number)]["state"] == "complete"
        assert table[str(number)]["bits/char"] == f"{score:.3f}"
        assert table[str(number)]["optimizer.learning_rate"] == f"{rates[number]:.4g}"
    best = runs[order[0]].folder
    assert f"best: {best}; next: sgrnn evaluate {best}\n" in output

    assert "figures: mine/history.png, mine/fields.png\n" in output
    history, fields = drawn[-2:]
    np.testing.assert_allclose(points(history.axes[0]), list(enumerate(scores)))
    best_so_far = np.asarray(history.axes[0].lines[0].get_ydata()).tolist()
    assert best_so_far == [min(scores[: number + 1]) for number in range(3)]
    assert (history.axes[0].get_ylabel(), fields.axes[0].get_ylabel()) == ("bits per character",) * 2
    assert [axes.get_xlabel() for axes in fields.axes[:2]] == ["gradient.window", "optimizer.learning_rate"]
    assert fields.axes[1].get_xscale() == "log"
    np.testing.assert_allclose(sorted(points(fields.axes[1])), sorted(zip(rates, scores, strict=True)))
    pyplot.close("all")
    for name in ("history", "fields"):
        assert Path(f"mine/{name}.png").read_bytes().startswith(b"\x89PNG")
    assert sgrnn.well("evaluate", best, "--split", "valid")


def test_it_goes_on_to_more_trials_and_not_with_another_recipe_or_space(sgrnn: Commands, folder: Path) -> None:
    short = "--training.max_updates=1"
    sgrnn.well(*command("--trials", 1, short))
    assert len(states(sgrnn.well(*command("--trials", 2, short)))) == 2
    other = r"mine holds a sweep of another {}, see mine/{}: restore it, or name another folder with --study"
    assert sgrnn.refused(*command("--training.max_updates=2")) == other.format("recipe", "recipe.yaml")
    (folder / "space.yaml").write_text("gradient.window: [1, 2]\n")
    assert sgrnn.refused(*command(short)) == other.format("space", "space.json")
    assert len(list(Path("mine/trials").glob("[0-9]*"))) == 2


def test_values_that_diverge_or_do_not_go_together_are_results_too(sgrnn: Commands, folder: Path) -> None:
    (folder / "space.yaml").write_text("optimizer.learning_rate: [1e30, 1e-2, 2e30]\n")
    output = sgrnn.well(*command("--trials", 3, "--optimizer.kind=sgd", "--training.max_updates=20"))
    assert list(states(output).values()) == ["complete", "diverged", "diverged"], "what has no score comes last"
    (folder / "space.yaml").write_text("training.batch_size: [20]\ntraining.span: [30]\n")
    output = sgrnn.well(*command("--study", "other", "--trials", 1))
    assert states(output) == {0: "refused"}
    assert "best:" not in output
    assert "trial 0: refused: text train is too short" in output


def test_a_hopeless_trial_is_pruned_when_others_have_shown_what_can_be_had(sgrnn: Commands, folder: Path) -> None:
    (folder / "space.yaml").write_text("optimizer.learning_rate: [1e-2, 1e-9]\n")
    sgrnn.well(*command("--trials", 1, "--training.max_updates=27"))
    study = optuna.load_study(
        study_name="sweep", storage=JournalStorage(JournalFileBackend(str(folder / "mine" / "journal.log")))
    )
    for rate in ("0.01", "0.01", "0.01", "0.01", "0.01", "1e-09"):
        study.enqueue_trial({"optimizer.learning_rate": rate})
    output = sgrnn.well(*command("--trials", 7, "--training.max_updates=27"))
    assert states(output) == {**dict.fromkeys(range(6), "complete"), 6: "pruned"}
    latest = latest_checkpoint(Path("mine/trials/0006/checkpoints"))
    assert latest is not None
    assert latest.progress["update"] == 10, "after an epoch of 9, and the update in which it was found out"
    assert sgrnn("sweep", *command("--no-prune")[1:], "--trials", 7, "--training.max_updates=27").status == 0


def begin(sgrnn: Commands, trial: int) -> Running:
    """A process that is in the midst of a trial."""
    running = sgrnn.process(*command("--trials", 2, "--training.max_updates=400", "--training.checkpoint_every=5"))
    wait_until(running, lambda: logged(Path(f"mine/trials/{trial:04d}")) > 10)
    return running


def leave(sgrnn: Commands, *options: object) -> None:
    """A process that ends in the midst of a trial, after two lines of its record: in this process, as that is cheap."""

    def killed(console: object) -> Callable[[dict[str, Any]], None]:
        records: list[dict[str, Any]] = []

        def report(record: dict[str, Any]) -> None:
            records.append(record)
            if len(records) == 2:
                raise KeyboardInterrupt

        return report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgrnn.cli.sweep._printed", killed)
        assert sgrnn(*command(*options)).status != 0


def test_processes_share_a_sweep_and_what_a_killed_one_leaves_is_gone_on_with(sgrnn: Commands) -> None:
    one = begin(sgrnn, 0)
    two = begin(sgrnn, 1)
    one.send(signal.SIGKILL)
    assert one.wait().status == -signal.SIGKILL
    ended = two.wait()
    assert (ended.status, ended.err) == (0, "")
    assert states(ended.out) == {0: "complete", 1: "complete"}, "the other took it up"
    updates = [record["update"] for record in Run.open(Path("mine/trials/0000")).records() if "loss" in record]
    assert updates[-1] == 400
    assert updates == sorted(set(updates)), "from where it stood"


def test_a_trial_that_fails_is_a_result_and_the_next_one_begins(sgrnn: Commands, folder: Path) -> None:
    (folder / "space.yaml").write_text("model.hidden_size: [3000000, 3000001]\n")
    for trials in (1, 2):
        output = sgrnn.well(*command("--trials", trials, "--training.max_updates=1"))
        assert states(output) == dict.fromkeys(range(trials), "failed")
        last = trials - 1
        assert f"\ntrial {last}: failed: RuntimeError: " in output
        assert re.search(
            rf"\ntrial {last} failed: .*memory.*; to see how: sgrnn resume mine/trials/000{last}\n", output
        )
        assert "best:" not in output


def test_a_trial_that_kills_three_processes_is_given_up(sgrnn: Commands, folder: Path) -> None:
    text = folder / "texts" / "train.txt"
    text.write_text(text.read_text() * 100)  # an epoch, after which it would be saved, is longer than the trial
    options = ("--trials", 2, "--training.max_updates=20")
    for _ in range(3):
        leave(sgrnn, *options)
    output = sgrnn.well(*command(*options))
    assert states(output) == {0: "failed", 1: "complete"}
    assert "\ntrial 0 failed: 3 processes that trained it were killed without a checkpoint; to see" in output


def test_a_trial_whose_values_were_not_all_chosen_is_given_up(sgrnn: Commands) -> None:
    sgrnn.well(*command("--trials", 1, "--training.max_updates=1"))
    left = JournalStorage(JournalFileBackend(str(Path("mine/journal.log").resolve())))
    optuna.load_study(study_name="sweep", storage=left).ask()  # and then the process was killed
    output = sgrnn.well(*command("--trials", 3, "--training.max_updates=1"))
    assert states(output) == {0: "complete", 1: "failed", 2: "complete"}
    assert "\ntrial 1 failed: the process that began it was killed while its values were chosen\n" in output
    assert not Path("mine/trials/0001").exists()


def test_an_unfinished_line_of_the_journal_is_cut_and_a_damaged_one_named(sgrnn: Commands) -> None:
    sgrnn.well(*command("--trials", 1, "--training.max_updates=1"))
    journal = Path("mine/journal.log")
    with journal.open("a") as file:
        file.write('{"op_code": 5, "wor')  # a disk was full
    assert states(sgrnn.well(*command("--trials", 2, "--training.max_updates=1"))) == {0: "complete", 1: "complete"}
    assert '"wor{' not in journal.read_text()
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0], "{\n", *lines[1:]]))
    message = "mine/journal.log is damaged: name another folder with --study"
    assert sgrnn.refused(*command("--training.max_updates=1")) == message


def test_a_kept_file_that_is_no_text_is_another_sweeps(sgrnn: Commands) -> None:
    sgrnn.well(*command("--trials", 1, "--training.max_updates=1"))
    Path("mine/space.json").write_bytes(b"\xff")
    assert sgrnn.refused(*command("--training.max_updates=1")).startswith("mine holds a sweep of another space, see ")


def test_ctrl_c_stops_and_says_how_to_go_on(sgrnn: Commands) -> None:
    running = begin(sgrnn, 0)
    running.send(signal.SIGINT)
    ended = running.wait()
    assert (ended.status, ended.err) == (130, "")
    assert states(ended.out) == {0: "running"}
    again = ended.out.splitlines()[-1].removeprefix("stopped; go on with: ")
    assert again == (
        "sgrnn sweep tiny.yaml --space space.yaml --study mine --trials 2 --training.max_updates=400 "
        "--training.checkpoint_every=5"
    )
    assert states(sgrnn.well(*again.split()[1:])) == {0: "complete", 1: "complete"}


def test_no_combination_is_tried_twice_and_it_ends_with_the_last(sgrnn: Commands, folder: Path) -> None:
    (folder / "space.yaml").write_text("model.hidden_size: {low: 4, high: 7, step: 3}\ngradient.window: [1, 2, 2]\n")
    short = "--training.max_updates=1"
    message = "all 4 combinations of the space have been tried\n"
    assert message not in sgrnn.well(*command("--trials", 2, short))
    output = sgrnn.well(*command("--trials", 20, short))
    assert message in output
    assert states(output) == dict.fromkeys(range(4), "complete")
    recipes = [Run.open(path).recipe for path in Path("mine/trials").glob("[0-9]*")]
    tried = [(recipe.model.hidden_size, recipe.model_dump()["gradient"]["window"]) for recipe in recipes]
    assert sorted(tried) == [(4, 1), (4, 2), (7, 1), (7, 2)]
    assert message in sgrnn.well(*command("--trials", 20, short)), "nor does the same command again"


@pytest.mark.parametrize("name", ["checkpoints/*/model.safetensors", "recipe.yaml", "tokenizer/tokenizer.json"])
def test_a_trial_that_was_left_behind_and_is_damaged_begins_anew(sgrnn: Commands, name: str) -> None:
    options = ("--trials", 2, "--training.max_updates=30", "--training.checkpoint_every=5")
    leave(sgrnn, *options)
    (path,) = list(Path("mine/trials/0000").glob(name))[:1]
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    output = sgrnn.well(*command(*options))
    assert states(output) == {0: "complete", 1: "complete"}
    assert "; it was moved to mine/trials/damaged-0000-1, and trial 0 begins anew\n" in output
    updates = [record["update"] for record in Run.open(Path("mine/trials/0000")).records() if "loss" in record]
    assert updates == list(range(3, 31, 3))
    assert Path("mine/trials/damaged-0000-1", name.partition("/")[0]).exists() or "*" in name


def test_a_trial_that_is_damaged_after_its_end_does_not_stop_the_sweep(sgrnn: Commands) -> None:
    sgrnn.well(*command("--trials", 1, "--training.max_updates=2"))
    (path,) = Path("mine/trials/0000/checkpoints").glob("*/progress.json")
    path.write_text("{}")
    output = sgrnn.well(*command("--trials", 2, "--training.max_updates=2"))
    assert states(output) == {0: "damaged", 1: "complete"}
    assert re.search(
        r"\ntrial 0 damaged: mine/trials/0000/checkpoints/update-000000002 is no checkpoint of this version", output
    )
    assert "best: mine/trials/0001;" in output


def test_without_optuna_it_says_what_to_install(sgrnn: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("sgrnn.sweep.")]:
        monkeypatch.delitem(sys.modules, name)
    hidden: Any = None
    monkeypatch.setitem(sys.modules, "optuna", hidden)
    assert sgrnn.refused(*command()) == (
        "sgrnn sweep needs Optuna: python -m pip install -c constraints.txt '.[sweep]' where sgrnn's source is"
    )
    assert not Path("mine").exists()
