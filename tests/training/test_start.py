"""Runs that begin with the weights of another: which are taken over, and that the other is not needed afterwards."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest
import torch
from torch import Tensor

from sgrnn.config.files import dump_recipe, parse_recipe
from sgrnn.errors import InputError
from sgrnn.training.checkpoints import require_best
from sgrnn.training.distributed import ALONE
from sgrnn.training.learner import Learner
from sgrnn.training.loading import load
from sgrnn.training.run import Run
from sgrnn.training.start import keep_start, load_start

from .tiny import RECIPE, Training, same

Start = Callable[..., Training]

UNNAMED = RECIPE.replace(", tokenizer: {kind: character}", "")
"""A recipe that leaves the tokenizer out."""


@pytest.fixture
def old(trained: Training, folder: Path) -> Path:
    """A run to begin from, of which the test may do what it likes."""
    training = trained
    training()
    return Path(copytree(training.run.folder, folder / "old"))


@pytest.fixture
def begin(start: Start, old: Path) -> Start:
    """Create a run that begins from it, by its tokenizer unless one is named."""

    def begin(name: str, *overrides: str, tokenizer: bool = False) -> Training:
        return start(name, f"--model.start_from={old}", *overrides, recipe=RECIPE if tokenizer else UNNAMED)

    return begin


def beginning(training: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of the model and state of the estimator before the first update."""
    learner = Learner(training.run.recipe, training.problem, ALONE)
    load_start(training.run, learner.model, learner.estimator)
    return learner.model.state_dict(), learner.estimator.state_dict()


def best_of(old: Path) -> tuple[dict[str, Tensor], dict[str, Any], int]:
    """Weights, state of the estimator, and update of a run's best checkpoint."""
    run = Run.open(old)
    checkpoint = require_best(run.checkpoints)
    saved = checkpoint.load_state(torch.device("cpu"))["estimator"]
    return load(run)[0].state_dict(), saved, checkpoint.progress["update"]


def test_on_the_same_text_everything_is_taken_over(begin: Start, old: Path) -> None:
    training = begin("new", "--model.dropout=0.4", "--training.seed=3")
    told = keep_start(training.run)
    weights, estimator, update = best_of(old)
    assert told == f"starting from {old}, update {update}: 10 tokens kept, 0 new, 0 dropped; the synthesizer taken over"
    found = beginning(training)
    assert same(dict(found[0]), dict(weights))
    assert same(dict(found[1]), dict(estimator))
    assert keep_start(training.run) == told


def test_of_another_vocabulary_rows_of_common_tokens_are_taken_over(begin: Start, folder: Path, old: Path) -> None:
    text = (folder / "train.txt").read_text()
    for split in ("train", "valid", "test"):
        path = folder / f"{split}.txt"
        path.write_text(path.read_text().replace("a", "x").replace("b", "y").replace("c", "d"))
    with pytest.raises(InputError, match=r"the character '[xy]' .*; or give data\.tokenizer, for tokens of this text"):
        begin("refused")
    assert not (folder / "refused").exists()
    training = begin("new", tokenizer=True)
    theirs, fresh = best_of(old)[0], Learner(training.run.recipe, training.problem, ALONE).model.state_dict()
    assert keep_start(training.run).endswith(": 7 tokens kept, 2 new, 3 dropped; the synthesizer taken over")
    ours = beginning(training)[0]
    assert training.run.tokenizer is not None
    before = ["\n", *sorted(set(text) - {"\n"}, key=lambda each: (-text.count(each), each))]
    for number, token in enumerate(training.run.tokenizer.vocabulary):
        for name in ("embedding.weight", "output.weight", "output.bias"):
            expected = fresh[name][number] if token in "xy" else theirs[name][before.index(token)]
            assert torch.equal(ours[name][number], expected)
    for name in theirs:
        if name.startswith("core."):
            assert torch.equal(ours[name], theirs[name])
    assert not same(fresh, ours)


def test_with_its_tokenizer_texts_are_charged_by_the_train_text_of_the_run_itself(start: Start, folder: Path) -> None:
    old = start("old", "--data.tokenizer={kind: word, vocabulary_size: 8}", "--training.max_updates=1")
    old()
    here = (f"--model.start_from={old.run.folder}", f"--data.train={folder / 'valid.txt'}", "--training.batch_size=1")
    new = start("new", *here, recipe=UNNAMED)
    tokenizer = Run.open(new.run.folder).tokenizer
    assert tokenizer is not None
    test = (folder / "test.txt").read_text()
    assert tokenizer.counts(test) == new.files["test"].counts != old.files["test"].counts


@pytest.mark.parametrize(
    ("overrides", "taken"),
    [
        (("--gradient.window=2",), True),
        (("--gradient.learn_every=4",), True),
        (("--gradient.source={kind: ramp, start: 2, stop: 8, unit: updates}",), True),
        (("--gradient.synthesizer.rank=3",), False),
        (("--gradient.synthesizer.kind=adjoint",), False),
        (("--gradient.kind=truncated",), None),
    ],
)
def test_a_synthesizer_of_the_same_settings_is_taken_over(
    begin: Start, old: Path, overrides: tuple[str, ...], taken: bool | None
) -> None:
    training = begin("new", *overrides)
    told = keep_start(training.run).partition("; ")[2]
    assert told == {True: "the synthesizer taken over", False: "the synthesizer begins anew", None: ""}[taken]
    state = {name.removeprefix("synthetic."): value for name, value in beginning(training)[1].items()}
    theirs = best_of(old)[1]
    fit = [name for name in state.keys() & theirs.keys() if state[name].shape == theirs[name].shape]
    assert taken is None or all(torch.equal(state[name], theirs[name]) for name in fit) == taken
    assert state.get("_extra_state", {"update": 0})["update"] == 0, "the schedule begins at its beginning"


def test_the_updates_in_all_of_which_a_synthesizer_learns_are_those_of_the_run_itself(start: Start) -> None:
    rarely = ("--gradient.learn_every=4", "--training.max_updates=3")
    old = start("old", *rarely)
    old()
    new = start("new", *rarely, f"--model.start_from={old.run.folder}")
    assert keep_start(new.run).endswith("; the synthesizer taken over")
    assert best_of(old.run.folder)[1]["predictor.begun"] > 0
    assert beginning(new)[1]["predictor.begun"] == 0


def test_one_matrix_for_both_ends_and_interfaces_are_taken_over_too(start: Start, folder: Path) -> None:
    options = (
        "--model.tied=true", "--model.embedding_size=12",
        "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]", "--gradient.kind=truncated",
    )  # fmt: skip
    old = start("old", *options, "--training.max_updates=3")
    old()
    path = folder / "train.txt"
    path.write_text(path.read_text().replace("a", "x") + "a x\n")
    training = start("new", *options, f"--model.start_from={old.run.folder}")
    assert keep_start(training.run).endswith(": 10 tokens kept, 1 new, 0 dropped")
    theirs, estimator, _ = best_of(old.run.folder)
    weights, state = beginning(training)
    assert torch.equal(weights["output.weight"], weights["embedding.weight"])
    assert old.run.tokenizer is not None
    assert training.run.tokenizer is not None
    ours = list(training.run.tokenizer.vocabulary)
    for number, token in enumerate(old.run.tokenizer.vocabulary):
        assert torch.equal(weights["output.weight"][ours.index(token)], theirs["output.weight"][number])
    assert any(name.startswith("interfaces.0.") and value.any() for name, value in state.items())
    assert same(dict(state), estimator)


@pytest.mark.parametrize("stop_after", [0, 4])
def test_the_other_run_is_not_needed_once_training_has_begun(
    begin: Start, old: Path, trained: Training, stop_after: int
) -> None:
    whole, parts = begin("whole"), begin("parts")
    whole()
    if stop_after:
        parts(stop_after)
    else:  # killed before the first checkpoint
        keep_start(parts.run)
    rmtree(old)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)
    assert whole.metrics[0]["loss"] < trained.metrics[0]["loss"]


def test_what_does_not_fit_is_refused_by_name_before_a_folder_is_made(
    begin: Start, start: Start, old: Path, folder: Path
) -> None:
    of = f"that of model.start_from {old}, got"
    for overrides, expected in (
        (["--model.hidden_size=13"], f"model.hidden_size must be 12, {of} 13"),
        (["--model.core=gru"], f"model.core must be lstm, {of} gru"),
        (["--model.embedding_size=null"], f"model.embedding_size must be 6, {of} 12"),
        (["--model.num_layers=2"], f"model.num_layers must be 1, {of} 2"),
        (["--data.tokenizer.kind=word"], f"data.tokenizer.kind must be character, {of} word; with data.tokenizer null"),
        (["--model.start_from=nowhere"], "model.start_from: "),
        ([f"--model.start_from={folder}"], f"model.start_from: {folder} holds no run"),
    ):
        with pytest.raises(InputError) as refused:
            begin("new", *overrides, tokenizer=True)
        assert str(refused.value).startswith(expected)
        assert not (folder / "new").exists()
    empty = start("empty").run.folder
    with pytest.raises(InputError, match=r"^model\.start_from: .*empty has no checkpoint yet: go on with"):
        begin("new", f"--model.start_from={empty}")
    with pytest.raises(InputError, match=r"data\.tokenizer is null, which stands for that of model\.start_from"):
        start("new", "--data.tokenizer=null")


def test_a_damaged_beginning_is_named(begin: Start) -> None:
    training = begin("new")
    keep_start(training.run)
    (training.run.folder / "start.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match=r"start\.safetensors is damaged: .*; remove it, and as long as .*old is"):
        training()


def test_a_path_is_relative_to_the_recipe_and_the_tokenizer_left_out_in_writing(folder: Path) -> None:
    text = RECIPE.replace("core: lstm", "core: lstm, start_from: runs/old").replace(
        ", tokenizer: {kind: character}", ""
    )
    recipe = parse_recipe(text, "mine.yaml", folder)
    assert recipe.model.start_from == folder / "runs" / "old"
    assert recipe.data is not None
    assert recipe.data.tokenizer is None
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe
    over = parse_recipe(text, "mine.yaml", folder, ["--model.start_from=other"])
    assert over.model.start_from == Path("other").resolve()
    task = "task: {kind: copy}\nmodel: {hidden_size: 2, start_from: x}\ngradient: {kind: bptt}\ntraining: {epochs: 1}"
    with pytest.raises(InputError, match=r"model\.start_from is for a text, and says nothing of a task: remove it"):
        parse_recipe(task, "task.yaml")
