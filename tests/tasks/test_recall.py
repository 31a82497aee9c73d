"""Delayed recall: the token of the first step, asked for at the last."""

from math import log

import pytest
import torch

from sgrnn.tasks import DelayedRecall, loss_per_target


def test_the_layout() -> None:
    task = DelayedRecall(3, 1, tokens=2)
    episode = task.draw()
    assert task.steps == 4
    assert DelayedRecall(30, 5).draw().steps == 31
    token = episode.inputs[0, 0, :2].tolist()
    assert sorted(token) == [0, 1]
    assert episode.inputs[:, 0].tolist() == [[*token, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert episode.targets[:, 0].tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [*token, 1]]


def test_who_remembers_pays_nothing_and_a_guess_costs_the_logarithm_of_the_tokens() -> None:
    task = DelayedRecall(4, 7, tokens=5)
    episode = task.draw()
    known = 50 * episode.inputs[:1, :, :-1].expand(task.steps, -1, -1)
    assert float(task.loss(known, episode.targets).max()) < 1e-6
    guess = task.loss(torch.ones(task.steps, 7, 5), episode.targets)
    assert loss_per_target(guess.mean(), episode) == pytest.approx(log(5))


def test_the_loss_is_that_of_torch() -> None:
    task = DelayedRecall(2, 7)
    episode = task.draw()
    outputs = torch.randn(3, 7, 8)
    expected = torch.nn.functional.cross_entropy(outputs[-1], episode.targets[-1, :, :-1].argmax(-1), reduction="none")
    torch.testing.assert_close(task.loss(outputs, episode.targets)[-1], expected)


def test_tokens_are_equally_likely() -> None:
    counts = DelayedRecall(1, 8000, tokens=4).draw().inputs[0, :, :4].sum(dim=0)
    assert counts.sum() == 8000
    assert ((counts - 2000).abs() < 4 * 2000**0.5).all()


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^lag must be at least 1, got 0$"):
        DelayedRecall(0, 2)
    with pytest.raises(ValueError, match=r"^tokens must be at least 2, got 1$"):
        DelayedRecall(3, 2, tokens=1)
