"""Tasks as what a run learns: the same seed gives the same run, interruptions inside an episode leave no trace."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from stand_in import TRAIN_IMAGES

from sgrnn import Step
from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.errors import InputError
from sgrnn.tasks import (
    Copy,
    CurriculumTask,
    Readout,
    RepeatCopy,
    SequentialMNIST,
    loss_per_target,
    read_idx,
)
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.diagnosis import spans_ahead
from sgrnn.training.problems.task_problem import TaskProblem, read_digits
from sgrnn.training.run import Run

from .tiny import Practice, same

RECIPE = """
task: {TASK}
model: {core: lstm, hidden_size: 8}
gradient: {kind: synthetic, window: 2,
  synthesizer: {kind: error, lookahead: 2, hidden_size: 8, rank: 4, projection: 3}}
optimizer: {kind: adam, learning_rate: 1e-2}
schedule: {kind: plateau, factor: 0.5}
training: {epochs: 100, max_updates: 13, batch_size: 4, log_every: 3, device: cpu}
"""
TASKS = {
    "copy": "kind: copy, bits: 2, vectors: 2, threshold: 10, episodes_per_epoch: 3",  # mastered every time
    "repeat-copy": "kind: repeat-copy, bits: 2, threshold: 10, episodes_per_epoch: 3",
    "adding": "kind: adding, lag: 3, episodes_per_epoch: 3",
    "recall": "kind: recall, lag: 5, tokens: 3, episodes_per_epoch: 3",
}
Begin = Callable[..., Practice]


def read(task: str, *overrides: str) -> Recipe:
    return parse_recipe(RECIPE.replace("TASK", TASKS.get(task, task)), "recipe.yaml", None, overrides)


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Create a run of the small recipe for a task: `begin("name", "copy", "--training.seed=1")`."""

    def create(name: str, task: str, *overrides: str, data: Path = tmp_path) -> Practice:
        return Practice(Run.create(tmp_path / name, read(task, *overrides), None), data)

    return create


@pytest.mark.parametrize(
    ("task", "span", "stop_after"),
    [("copy", "4", 5), ("repeat-copy", "null", 3), ("adding", "4", 9), ("recall", "4", 3)],
)
def test_thirteen_updates_equal_some_a_save_and_the_rest(begin: Begin, task: str, span: str, stop_after: int) -> None:
    overrides = (f"--training.span={span}", "--training.log_every=5")
    whole, parts = begin("whole", task, *overrides), begin("parts", task, *overrides)
    whole()
    parts(stop_after)
    assert parts.latest == stop_after
    torch.rand(7)  # whatever the caller does to the random generator
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)


def test_two_stops_inside_one_episode_leave_no_trace(begin: Begin) -> None:
    whole, parts = (begin(name, "recall", "--training.span=2", "--training.log_every=5") for name in ("whole", "parts"))
    whole()
    parts(4)
    parts(5)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)


@pytest.mark.parametrize("task", ["copy", "recall"])
def test_spans_that_are_looked_at_inside_an_episode_leave_the_problem_where_it_is(task: str) -> None:
    problem = TaskProblem(read(task, "--training.span=2"), Path())
    if isinstance(problem.task, CurriculumTask):
        problem.task.advance()
    for _ in range(5):
        problem.draw()
    before = problem.state_dict()
    spans_ahead(problem, 5, lookahead=0, horizon=3)
    assert same(problem.state_dict(), before)


def test_a_save_inside_an_episode_knows_how_far_it_was(begin: Begin) -> None:
    practice = begin("run", "recall", "--training.span=2")
    for updates, spans_done in ((1, 1), (2, 2), (3, 0), (7, 1)):
        practice(updates)
        assert practice.saved["state"]["spans_done"] == spans_done


def test_spans_are_the_tasks_episodes_in_order() -> None:
    for task in TASKS:
        for span in (None, 1, 3, 4, 100):
            assert_spans_make_the_episodes(task, span)


def assert_spans_make_the_episodes(task: str, span: int | None) -> None:
    problem = TaskProblem(read(task, f"--training.span={span or 'null'}"), Path())
    twin = TaskProblem(read(task), Path()).task
    problem.start(lookahead=2)
    for _ in range(4):
        expected = twin.draw()
        number = -(-expected.steps // (span or expected.steps))
        drawn = [problem.draw() for _ in range(number)]
        assert torch.equal(torch.cat([one.inputs for one in drawn]), expected.inputs)
        assert torch.equal(torch.cat([one.targets for one in drawn]), expected.targets)
        assert [one.is_first is not None for one in drawn] == [True] + [False] * (number - 1)
        assert [one.is_last is not None for one in drawn] == [False] * (number - 1) + [True]
        assert all(one.future is None or one.future.steps <= 2 for one in drawn)


def test_an_epoch_has_an_update_for_each_span_of_its_episodes() -> None:
    for span, updates in (("null", 3), ("4", 6), ("6", 3), ("1", 18)):
        for task in ("copy", "recall"):  # 6 steps; of copy to begin with
            assert TaskProblem(read(task, f"--training.span={span}"), Path()).updates_per_epoch == updates


def test_a_problem_that_is_started_again_begins_anew() -> None:
    problem = TaskProblem(read("copy", "--training.span=4"), Path())
    begun = []
    for lookahead in (0, 0, 1):
        problem.start(lookahead)
        begun.append(torch.cat([problem.draw().inputs for _ in range(3)]))
    assert torch.equal(begun[0], begun[1])
    assert torch.equal(begun[0], begun[2])


@pytest.mark.parametrize(("task", "span"), [("copy", "4"), ("adding", "null")])
def test_the_figures_of_an_episode_come_at_its_end_and_master_it(task: str, span: str) -> None:
    problem = TaskProblem(read(task, f"--training.span={span}"), Path())
    model = problem.build_model()
    for _ in range(3):
        length = problem.task.length if isinstance(problem.task, CurriculumTask) else None
        state, losses, targets, metrics = model.initial_state(4), [], [], {}
        for _ in range(-(-problem.task.steps // 4) if span == "4" else 1):
            assert metrics == {}, "before the end"
            drawn = problem.draw()
            outputs, state = model(drawn.inputs, state)
            losses.append(model.loss(outputs, drawn.targets).detach())
            targets.append(drawn.targets[..., -1])
            metrics = problem.observe(Step(losses[-1].mean(), state))
        expected = torch.cat(losses).sum() / torch.cat(targets).sum()
        assert float(metrics["loss_per_target"]) == pytest.approx(float(expected), rel=1e-5)
        assert metrics.keys() == ({"loss_per_target"} if length is None else {"loss_per_target", "length"})
        if length is not None and isinstance(problem.task, CurriculumTask):
            assert metrics["length"] == length
            assert problem.task.length > length


@pytest.mark.parametrize("task", ["copy", "adding"])
def test_a_score_is_that_of_fresh_episodes_always_the_same_at_the_length_that_was_reached(task: str) -> None:
    problem = TaskProblem(read(task), Path())
    if isinstance(problem.task, CurriculumTask):
        problem.task.advance()
    model = problem.build_model()
    before = problem.state_dict()
    metrics = problem.score(model, "valid")
    assert model.training
    assert same(problem.state_dict(), before)
    other_seed = TaskProblem(read(task, "--training.seed=5"), Path())
    other_seed.load_state_dict(problem.state_dict())
    assert other_seed.score(model, "valid") == metrics != problem.score(model, "test")
    assert ("accuracy" in metrics) == (task != "adding")
    assert metrics.get("length") == getattr(problem.task, "length", None)
    assert 0 <= metrics.get("accuracy", 0) <= 1


def test_a_score_is_the_mean_loss_of_the_targets_at_the_vectors_and_repeats_that_were_reached() -> None:
    problem = TaskProblem(read("repeat-copy"), Path())
    model = problem.build_model()
    assert isinstance(problem.task, RepeatCopy)
    problem.task.vectors, problem.task.repeats = 3, 2
    fresh = RepeatCopy(100, bits=2, vectors=3, repeats=2, seed=2**32 - 1)
    losses = []
    with torch.no_grad():
        for _ in range(10):
            episode = fresh.draw()
            outputs, _ = model(episode.inputs, model.initial_state(100))
            losses.append(loss_per_target(model.loss(outputs, episode.targets).mean(), episode))
    metrics = problem.score(model, "valid")
    assert metrics["loss"] == pytest.approx(sum(losses) / 10, rel=1e-5)
    assert metrics["length"] == 12


def test_a_score_counts_every_image_once(stand_ins: Path) -> None:
    problem = TaskProblem(read("kind: mnist, by: row"), stand_ins)
    model = problem.build_model()
    images, labels = read_digits(stand_ins)["test"]
    all_at_once = SequentialMNIST(images, labels, len(images), by="row", shuffle=False).draw()
    with torch.no_grad():
        predictions = model.predict(model(all_at_once.inputs, model.initial_state(len(images)))[0])
        right = predictions[-1].argmax(dim=-1) == torch.from_numpy(labels)
        loss = loss_per_target(problem.task.loss(predictions, all_at_once.targets).mean(), all_at_once)
    assert problem.score(model, "test") == {
        "loss": pytest.approx(loss, rel=1e-5), "accuracy": float(right.double().mean())
    }  # fmt: skip


def test_digits_are_split_at_the_end_of_the_published_train_files(mnist_folder: Path) -> None:
    digits = read_digits(mnist_folder)
    assert {split: len(images) for split, (images, _) in digits.items()} == {
        "train": 55_000, "valid": 5_000, "test": 10_000
    }  # fmt: skip
    published = read_idx(mnist_folder / "mnist" / "train-images-idx3-ubyte.gz")
    assert (digits["train"][0][-1] == published[-5001]).all()
    assert (digits["valid"][0][-1] == published[-1]).all()
    assert digits["test"][1][:5].tolist() == [7, 2, 1, 0, 4]


def test_digits_are_learned_and_resumed_like_any_task(begin: Begin, stand_ins: Path) -> None:
    task, options = "kind: mnist, by: row", ("--training.span=10", "--training.max_updates=6")
    whole, parts = (begin(name, task, *options, data=stand_ins) for name in ("whole", "parts"))
    assert whole.problem.updates_per_epoch == 3 * (TRAIN_IMAGES - 5_000) // 4
    whole()
    parts(2)
    parts()
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)
    assert whole.metrics[-1].keys() == {"update", "epoch", "valid_loss", "valid_accuracy"}


def test_what_a_task_cannot_have_is_refused(tmp_path: Path, stand_ins: Path) -> None:
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz is missing.*run `sgrnn data fetch mnist`"):
        TaskProblem(read("kind: mnist"), tmp_path)
    with pytest.raises(InputError, match=r"^training\.batch_size must be at most 200, the images there are, got 60"):
        TaskProblem(read("kind: mnist", "--training.batch_size=60000"), stand_ins)
    problem = TaskProblem(read("copy"), tmp_path)
    with pytest.raises(InputError, match=r"^copy has no split named 'dev'; expected one of train, valid, test$"):
        problem.score(problem.build_model(), "dev")


def test_a_longer_length_is_selected_whatever_the_loss(begin: Begin) -> None:
    practice = begin("run", "copy", "--training.max_updates=12")
    practice()
    scores = [record for record in practice.metrics if "valid_loss" in record]
    assert [record["valid_length"] for record in scores] == [5, 8, 11, 14]
    losses = [record["valid_loss"] for record in scores]
    assert losses != sorted(losses, reverse=True), "the test means the loss not to fall all the time"
    assert practice.saved["progress"]["best_update"] == 12


def test_without_a_length_the_lowest_loss_is_selected(begin: Begin) -> None:
    practice = begin("run", "recall", "--training.max_updates=30", "--optimizer.learning_rate=0.3")
    practice()
    losses = {record["update"]: record["valid_loss"] for record in practice.metrics if "valid_loss" in record}
    best = min(losses, key=lambda update: losses[update])
    assert best < 30, "the test means the best not to be the last"
    assert practice.saved["progress"]["best_update"] == best


def test_a_run_whose_task_was_edited_is_refused(begin: Begin) -> None:
    practice = begin("run", "copy")
    practice(4)
    for change in ("--task.bits=3", "--training.span=3"):
        edited = begin(change, "copy", change)
        named = change[2:].partition("=")[0]
        with pytest.raises(
            InputError, match=rf"recipe\.yaml: {named} must stay (2|null) in a run that goes on, got 3: "
        ):
            Practice(Run(practice.run.folder, edited.run.recipe, None), practice.data)()
    assert practice.latest == 4
    checkpoint = latest_checkpoint(practice.run.checkpoints)
    assert checkpoint is not None
    other = TaskProblem(read("recall"), Path())
    with pytest.raises(ValueError, match=r"^state must be that of DelayedRecall\(.*, got that of Copy\("):
        other.load_state_dict(checkpoint.load_state(torch.device("cpu")))


@pytest.mark.parametrize(
    ("core", "synthesizer"), [("lstm", "adjoint"), ("gru", "mlp"), ("rnn", "error"), ("lstm", "diagonal")]
)
def test_every_core_and_synthesizer_learns_a_task(begin: Begin, core: str, synthesizer: str) -> None:
    options = (f"--model.core={core}", "--model.num_layers=2")
    practice = begin("run", "copy", *options, f"--gradient.synthesizer={{kind: {synthesizer}}}", "--training.seed=2")
    practice()
    assert all("target_r2" in record for record in practice.metrics if "loss" in record)


def test_a_small_lstm_masters_the_first_lengths(begin: Begin) -> None:
    easy = "kind: copy, bits: 2, episodes_per_epoch: 150"
    learns = ("--training.epochs=1", "--training.max_updates=null", "--gradient.kind=bptt", "--model.hidden_size=32")
    practice = begin("run", easy, *learns, "--training.batch_size=32", "--optimizer.learning_rate=0.02")
    practice()
    lengths = [record["length"] for record in practice.metrics if "length" in record]
    assert lengths[0] == 1
    assert lengths == sorted(lengths)
    assert practice.metrics[-1]["valid_length"] >= 3


def test_task_and_model_are_built_with_what_the_recipe_says() -> None:
    model = TaskProblem(read("copy", "--model.initial_range=1e-3"), Path()).build_model()
    assert isinstance(model, Readout)
    assert max(float(parameter.detach().abs().max()) for parameter in model.parameters()) <= 1e-3
    built = TaskProblem(read("kind: copy, bits: 3, vectors: 5, threshold: 0.5", "--training.batch_size=7"), Path()).task
    assert isinstance(built, Copy)
    assert (built.bits, built.vectors, built.threshold, built.batch_size) == (3, 5, 0.5, 7)
    assert (
        repr(TaskProblem(read("kind: adding, lag: 5, steps: 8"), Path()).task) == "Adding(batch_size=4, lag=5, steps=8)"
    )
