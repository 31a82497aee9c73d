"""Copy and repeat copy: layouts against tables written by hand, what an oracle and a guess cost, and a first lesson."""

from collections.abc import Callable
from math import log2

import pytest
import torch
from torch import Tensor

from sgrnn import BPTT, LSTM
from sgrnn.tasks import Copy, CurriculumTask, Readout, RepeatCopy, loss_per_target

SURE = 50.0  # log-odds


def test_the_layout_of_copy() -> None:
    episode = Copy(1, bits=2, vectors=3).draw()
    a, b, c = episode.inputs[1:4, 0, :2].tolist()
    assert episode.inputs[:, 0].tolist() == [
        [0, 0, 1, 0],
        [*a, 0, 0],
        [*b, 0, 0],
        [*c, 0, 0],
        [0, 0, 0, 1],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    nothing = [0, 0, 0]
    assert episode.targets[:, 0].tolist() == [*[nothing] * 5, [*a, 1], [*b, 1], [*c, 1]]


def test_the_layout_of_repeat_copy() -> None:
    episode = RepeatCopy(1, bits=2, vectors=2, repeats=3, repeats_scale=4).draw()
    a, b = episode.inputs[1:3, 0, :2].tolist()
    nothing = [0, 0, 0, 0]
    assert episode.inputs[:, 0].tolist() == [
        [0, 0, 1, 0],
        [*a, 0, 0],
        [*b, 0, 0],
        [0, 0, 0, 0.75],
        *[nothing] * 7,
    ]
    assert float(RepeatCopy(1, bits=2, repeats=10).draw().inputs[2, 0, 3]) == 1.0, "ten repeats are shown as one"
    given = [[*a, 0, 1], [*b, 0, 1]]
    assert episode.targets[:, 0].tolist() == [*[nothing] * 4, *given, *given, *given, [0, 0, 1, 1]]


def test_the_steps_of_episodes_and_the_lengths_reported() -> None:
    vectors, repeats = 5, 2
    copy, repeat = Copy(2, vectors=vectors), RepeatCopy(2, vectors=vectors, repeats=repeats)
    assert copy.draw().steps == copy.steps == 2 * vectors + 2
    assert copy.length == vectors
    assert repeat.draw().steps == repeat.steps == repeat.length == (repeats + 1) * vectors + 3
    assert copy.draw().targets[..., -1].sum() == 2 * vectors
    assert repeat.draw().targets[..., -1].sum() == 2 * (repeats * vectors + 1)


def oracle(inputs: Tensor, task: CurriculumTask) -> Tensor:
    """Outputs from what was read alone: vectors between the markers, R times, then the end."""
    outputs = torch.full((*inputs.shape[:2], task.output_size), 123.0)
    bits = inputs.shape[2] - 2
    (end,) = inputs[:, 0, bits + 1].nonzero().flatten().tolist()
    vectors = inputs[1:end, :, :bits]
    repeats = round(float(inputs[end, 0, bits + 1]) * 10) if isinstance(task, RepeatCopy) else 1
    place = end + 1
    outputs[place:] = -SURE
    for _ in range(repeats):
        outputs[place : place + len(vectors), :, :bits] = (2 * vectors - 1) * SURE
        place += len(vectors)
    if isinstance(task, RepeatCopy):
        outputs[place, :, bits] = SURE
        place += 1
    assert place == len(inputs)
    return outputs


TASKS: tuple[Callable[[], CurriculumTask], ...] = (
    lambda: Copy(4, bits=3, vectors=5),
    lambda: RepeatCopy(4, bits=3, vectors=3, repeats=3),
)


def test_who_remembers_what_was_read_pays_nothing_and_who_errs_pays() -> None:
    for make in TASKS:
        task = make()
        episode = task.draw()
        outputs = oracle(episode.inputs, task)
        losses = task.loss(outputs, episode.targets)
        assert float(losses.max()) < 1e-6
        assert (losses[episode.targets[..., -1] == 0] == 0).all()
        outputs[-1, 0, 0] *= -1  # one bit wrong, for sure
        wrong = task.loss(outputs, episode.targets)
        assert float(wrong[-1, 0]) == pytest.approx(SURE / task.output_size * log2(torch.e), rel=1e-5)


def test_a_guess_costs_one_bit_per_output_bit_and_a_probability_its_logarithm() -> None:
    for make in TASKS:
        task = make()
        episode = task.draw()
        losses = task.loss(torch.zeros(*episode.targets.shape[:2], task.output_size), episode.targets)
        assert torch.allclose(losses, episode.targets[..., -1])
        assert loss_per_target(losses.mean(), episode) == pytest.approx(1)
        log_odds = torch.logit(torch.tensor(0.8))  # of the right bit
        losses = task.loss(log_odds * (2 * episode.targets[..., :-1] - 1), episode.targets)
        assert loss_per_target(losses.mean(), episode) == pytest.approx(-log2(0.8), rel=1e-5)


def test_bits_are_balanced_and_know_nothing_of_each_other() -> None:
    for make in TASKS:
        task = make()
        bits = task.input_size - 2
        drawn = torch.cat([task.draw().inputs[1 : task.vectors + 1, :, :bits].flatten(1) for _ in range(400)])
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        signs = 2 * drawn - 1  # (draws, rows x bits)
        four_sigma = 4 / len(signs) ** 0.5
        assert (signs.mean(dim=0).abs() < four_sigma).all()
        products = signs.T @ signs / len(signs)
        assert ((products - torch.eye(len(products))).abs() < four_sigma).all()
        assert ((signs[1:] * signs[:-1]).mean(dim=0).abs() < four_sigma).all()


def test_a_small_lstm_learns_the_first_lesson() -> None:
    task = RepeatCopy(32, bits=2, seed=3)
    torch.manual_seed(0)
    model = Readout(LSTM(task.input_size, 16), 16, task.output_size, task.loss)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    state = model.initial_state(task.batch_size)
    losses = []
    for _ in range(60):
        episode = task.draw()
        step = BPTT(model, model.loss).backward(episode, state)
        optimizer.step()
        optimizer.zero_grad()
        state = step.state
        losses.append(loss_per_target(step.loss, episode))
    assert losses[0] == pytest.approx(1, abs=0.2)
    assert max(losses[-5:]) < 0.15
    assert task.observe(losses[-1])


def test_numbers_out_of_range_are_refused() -> None:
    for make, options, message in (
        (Copy, {"bits": 0}, "bits must be at least 1, got 0"),
        (Copy, {"vectors": 0}, "vectors must be at least 1, got 0"),
        (Copy, {"threshold": 0}, "threshold must be above 0 bits, got 0"),
        (RepeatCopy, {"bits": 0}, "bits must be at least 1, got 0"),
        (RepeatCopy, {"repeats": 0}, "repeats must be at least 1, got 0"),
        (RepeatCopy, {"repeats_scale": 0}, "repeats_scale must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            make(1, **options)
