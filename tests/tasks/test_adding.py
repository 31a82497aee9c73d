"""The adding problem: two marks a set lag apart, and their sum at the end."""

import pytest
import torch

from sgrnn.tasks import Adding, loss_per_target


def test_two_numbers_are_marked_and_their_sum_is_asked_for() -> None:
    for lag, steps, expected_steps in ((1, None, 2), (4, 7, 7)):
        task = Adding(lag, 50, steps=steps)
        episode = task.draw()
        assert episode.steps == task.steps == expected_steps
        numbers, marks = episode.inputs.unbind(dim=-1)
        assert ((numbers >= 0) & (numbers < 1)).all()
        for row in range(50):
            first, second = marks[:, row].nonzero().flatten().tolist()
            assert second - first == lag
            assert float(marks[:, row].sum()) == 2
            assert float(episode.targets[-1, row, 0]) == pytest.approx(
                float(numbers[first, row] + numbers[second, row])
            )
        assert not episode.targets[:-1].any()
        assert (episode.targets[-1, :, 1] == 1).all()


def test_all_places_are_equally_likely_for_the_first_mark() -> None:
    episode = Adding(3, 8000, steps=8).draw()
    first = episode.inputs[..., 1].argmax(dim=0)
    counts = first.bincount(minlength=8)
    assert counts[5:].sum() == 0
    expected = 8000 / 5
    assert ((counts[:5] - expected).abs() < 4 * expected**0.5).all()


def test_numbers_are_uniform() -> None:
    numbers = Adding(10, 1000).draw().inputs[..., 0]
    count = numbers.numel()
    assert abs(float(numbers.mean()) - 1 / 2) < 4 * (1 / 12 / count) ** 0.5
    assert abs(float(numbers.square().mean()) - 1 / 3) < 4 * (4 / 45 / count) ** 0.5


def test_the_sum_costs_nothing_and_always_one_a_sixth() -> None:
    task = Adding(5, 20000)
    episode = task.draw()
    exact = (episode.inputs[..., :1] * episode.inputs[..., 1:]).cumsum(dim=0)
    assert float(task.loss(exact, episode.targets).max()) < 1e-12
    constant = task.loss(torch.ones(10, 20000, 1), episode.targets)
    assert loss_per_target(constant.mean(), episode) == pytest.approx(1 / 6, rel=0.03)


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^lag must be at least 1, got 0$"):
        Adding(0, 2)
    with pytest.raises(ValueError, match=r"^steps must be more than the lag, 5, got 5$"):
        Adding(5, 2, steps=5)
