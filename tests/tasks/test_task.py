"""What holds for all tasks: episodes from a seed, resumed to the bit, cut without loss."""

import io
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from models import gradients, train_on
from tolerances import assert_close, assert_identical

from sgrnn import BPTT, LSTM, Span, SyntheticGradients, TruncatedBPTT
from sgrnn.tasks import (
    Adding,
    Copy,
    CurriculumTask,
    DelayedRecall,
    Readout,
    RepeatCopy,
    SequentialMNIST,
    Task,
    loss_per_target,
)

ROWS = 3


def digits(rows: int = ROWS, **options: Any) -> SequentialMNIST:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (10, 28, 28), dtype=np.uint8)
    return SequentialMNIST(images, np.arange(10), rows, by="row", **options)


TASKS: dict[str, Callable[..., Task]] = {
    "copy": lambda rows=ROWS, **options: Copy(rows, bits=2, vectors=3, **options),
    "repeat copy": lambda rows=ROWS, **options: RepeatCopy(rows, bits=2, vectors=3, repeats=2, **options),
    "adding": lambda rows=ROWS, **options: Adding(4, rows, **options),
    "recall": lambda rows=ROWS, **options: DelayedRecall(5, rows, **options),
    "digits": digits,
}
every_task = pytest.mark.parametrize("make", TASKS.values(), ids=TASKS.keys())


def same(one: Span, other: Span) -> bool:
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets)


def make_model(task: Task, seed: int = 0) -> Readout:
    torch.manual_seed(seed)
    return Readout(LSTM(task.input_size, 6), 6, task.output_size, task.loss)


def test_an_episode_has_the_announced_sizes_and_starts_and_ends_all_rows() -> None:
    for make in TASKS.values():
        task = make()
        episode = task.draw()
        assert episode.batch_size == task.batch_size == ROWS
        assert episode.inputs.shape[2:] == (task.input_size,)
        assert episode.targets.shape[2:] == (task.output_size + 1,)
        for tensor in (episode.inputs, episode.targets):
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
        assert episode.is_first is not None
        assert episode.is_first.tolist() == [[True] * ROWS] + [[False] * ROWS] * (episode.steps - 1)
        assert episode.is_last is not None
        assert episode.is_last.tolist() == [True] * ROWS
        assert episode.future is None
        assert set(episode.targets[..., -1].unique().tolist()) == {0.0, 1.0}


def test_outputs_where_there_is_no_target_neither_cost_nor_teach() -> None:
    for make in TASKS.values():
        task = make()
        episode = task.draw()
        outputs = torch.randn(*episode.targets.shape[:2], task.output_size, requires_grad=True)
        losses = task.loss(outputs, episode.targets)
        losses.sum().backward()
        assert outputs.grad is not None
        mask = episode.targets[..., -1].bool()
        anything = episode.targets.clone()
        anything[..., :-1][~mask] = 7.0
        assert torch.equal(task.loss(outputs, anything), losses)
        assert losses.shape == mask.shape
        assert (losses[mask] > 0).all()
        assert (losses[~mask] == 0).all()
        assert (outputs.grad[mask] != 0).any(dim=-1).all()
        assert (outputs.grad[~mask] == 0).all()


def test_perfect_outputs_are_correct_wherever_there_is_a_target_and_spoilt_ones_are_not() -> None:
    for make in TASKS.values():
        task = make()
        episode = task.draw()
        mask = episode.targets[..., -1].bool()
        outputs = 2 * episode.targets[..., :-1] - 1  # the right ones, as log-odds or unnormalized log-probabilities
        correct = task.correct(outputs, episode.targets)
        assert (correct is None) == isinstance(task, Adding)
        if correct is None:
            continue
        assert torch.equal(correct, mask)
        step, row = mask.nonzero()[0]
        outputs[step, row] = -outputs[step, row]
        spoilt = task.correct(outputs, episode.targets)
        assert spoilt is not None
        assert (correct ^ spoilt).nonzero().tolist() == [[step, row]]


def test_the_loss_per_target_is_the_mean_of_the_losses_that_count() -> None:
    for make in TASKS.values():
        task = make()
        episode = task.draw()
        losses = task.loss(torch.randn(*episode.targets.shape[:2], task.output_size), episode.targets)
        expected = losses[episode.targets[..., -1].bool()].mean()
        assert loss_per_target(losses.mean(), episode) == pytest.approx(float(expected))


def test_a_batch_without_rows_and_an_episode_without_targets_are_refused() -> None:
    for make in TASKS.values():
        with pytest.raises(ValueError, match=r"^batch_size must be at least 1, got 0$"):
            make(rows=0)
    episode = Span(torch.zeros(4, ROWS, 2), torch.zeros(4, ROWS, 2))
    message = "^episode must have a step with a target, got one with none: give the whole episode$"
    with pytest.raises(ValueError, match=message):
        loss_per_target(1.0, episode)


def test_a_seed_says_which_episodes_and_nothing_else_does() -> None:
    for make in TASKS.values():
        first, second, other = make(seed=1), make(seed=1), make(seed=2)
        before = torch.random.get_rng_state()
        drawn = [first.draw() for _ in range(5)]
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(99)
        assert all(same(episode, second.draw()) for episode in drawn)
        assert not all(same(episode, other.draw()) for episode in drawn)
        assert not all(same(one, following) for one, following in pairwise(drawn))
        assert first.episodes == 5


@every_task
def test_a_task_resumed_from_a_file_goes_on_the_same_to_the_bit(make: Callable[..., Task]) -> None:
    task, drawn = make(seed=1), 5
    taken = task.state_dict()
    first = task.draw()
    task.load_state_dict(taken)
    assert same(task.draw(), first), "a state does not change after it was taken"
    task = make(seed=1)
    for number in range(drawn):
        task.draw()
        if number % 2 and isinstance(task, CurriculumTask):
            task.advance()
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    resumed = make(seed=7)
    resumed.draw()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.episodes == drawn
    for _ in range(8):
        assert same(task.draw(), resumed.draw())
    assert_identical(resumed.state_dict(), task.state_dict())


def test_the_state_of_another_task_is_refused_by_both_names() -> None:
    message = (
        r"^state must be that of Copy\(batch_size=3, bits=2\), "
        r"got that of RepeatCopy\(batch_size=3, bits=2, repeats_scale=10\)$"
    )
    with pytest.raises(ValueError, match=message):
        Copy(ROWS, bits=2).load_state_dict(RepeatCopy(ROWS, bits=2).state_dict())
    with pytest.raises(ValueError, match=r"lag=5, tokens=8\), got that of DelayedRecall\(batch_size=3, lag=4, "):
        DelayedRecall(5, ROWS).load_state_dict(DelayedRecall(4, ROWS).state_dict())


@pytest.mark.parametrize(("steps", "lookahead"), [(1, 5), (3, None), (1000, 0)])
def test_spans_cut_from_an_episode_hold_all_of_it_once(steps: int, lookahead: int | None) -> None:
    episode = TASKS["repeat copy"]().draw()
    spans = episode.divide(steps, lookahead)
    assert torch.equal(torch.cat([span.inputs for span in spans]), episode.inputs)
    assert torch.equal(torch.cat([span.targets for span in spans]), episode.targets)
    assert [span.steps for span in spans[:-1]] == [steps] * (len(spans) - 1)
    assert 1 <= spans[-1].steps <= steps
    stop = 0
    for number, span in enumerate(spans):
        assert span.inputs.data_ptr() == episode.inputs[stop].data_ptr(), "no copy"
        stop += span.steps
        last = number == len(spans) - 1
        assert (span.is_first is None) == (number > 0)
        assert (span.is_last is None) == (not last)
        known = episode.steps - stop if lookahead is None else min(lookahead, episode.steps - stop)
        assert (span.future is None) == (known == 0)
        if span.future is not None:
            assert torch.equal(span.future.inputs, episode.inputs[stop : stop + known])
            assert torch.equal(span.future.targets, episode.targets[stop : stop + known])
            assert span.future.is_first is None
            assert (span.future.is_last is not None) == (stop + known == episode.steps)
    assert spans[0].is_first is not None
    assert spans[0].is_first[0].all()
    assert int(spans[0].is_first.sum()) == ROWS
    assert spans[-1].is_last is not None
    assert spans[-1].is_last.all()


def test_sequences_that_begin_inside_keep_their_starts() -> None:
    is_first = torch.zeros(6, 2, dtype=torch.bool)
    is_first[0] = is_first[3, 1] = True
    episode = Span(torch.zeros(6, 2), torch.zeros(6, 2), is_first, is_last=torch.ones(2, dtype=torch.bool))
    spans = episode.divide(2)
    assert spans[0].is_first is not None
    assert spans[1].is_first is not None
    assert spans[0].future is not None
    assert spans[0].future.is_first is not None
    assert spans[1].is_first.tolist() == [[False, False], [False, True]]
    assert torch.equal(spans[0].future.is_first, is_first[2:])
    assert spans[2].is_first is None


def test_training_on_cut_spans_is_training_on_windows() -> None:
    """Spans of three steps one after another have the gradients of the whole episode in windows of three."""
    task = TASKS["repeat copy"]()
    model = make_model(task)
    episode = task.draw()
    state = model.initial_state(ROWS)
    found, steps = train_on(BPTT(model, model.loss), episode.divide(3), state)
    expected, whole = train_on(TruncatedBPTT(model, model.loss, 3), [episode], state)
    assert_close(found, expected)
    assert_close(steps[-1].state, whole[0].state)


@pytest.mark.parametrize(
    ("name", "sees"),
    [("digits", "steps"), ("recall", "errors and what arrives")],
)
def test_synthesizers_can_be_trained_on_cut_spans(name: str, sees: str) -> None:
    task = TASKS[name]()
    model = make_model(task)
    state = model.initial_state(ROWS)
    synthesizer = {
        "steps": lambda: model.mlp_synthesizer(4, hidden_sizes=(8,), projection=3),
        "errors and what arrives": lambda: model.adjoint_synthesizer(2),
    }[sees]()
    estimator = SyntheticGradients(model, model.loss, 2, synthesizer=synthesizer)
    torch.nn.init.normal_(next(iter(synthesizer.parameters())))
    for _ in range(2):
        for span in task.draw().divide(6, estimator.lookahead):
            state = estimator.backward(span, state).state
    assert all(torch.isfinite(gradient).all() for gradient in gradients(model).values())
    assert any(gradient.any() for gradient in gradients(estimator).values())


def test_episodes_are_cut_by_numbers_in_range() -> None:
    for options, message in (
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 2, "lookahead": -1}, "lookahead must be at least 0, got -1"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            Copy(ROWS).draw().divide(**options)
