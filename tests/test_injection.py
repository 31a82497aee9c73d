"""Drift control takes out what it says and nothing else; the gate lets in what has proved right."""

import pytest
import torch
from models import CORES, ROWS, SIZE, make_core, make_state
from tolerances import assert_close, assert_identical
from torch import Tensor

from sgrnn.state import floating_leaves, from_matrix, map_state, state_size, to_matrix
from sgrnn.synthesizers.injection import Shrinkage, remove_mean, remove_radial

MASK = torch.tensor([True, False, True, True, False, True])


def random_gradient(rows: int = 6, features: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, features, dtype=torch.float64, generator=generator) + 5


def test_centering_leaves_no_mean_and_all_differences_between_rows() -> None:
    gradient = random_gradient()
    centered = remove_mean(gradient)
    assert_close(centered.mean(dim=0), torch.zeros(4, dtype=torch.float64))
    assert_close(centered[1:] - centered[0], gradient[1:] - gradient[0])


def test_a_masked_mean_is_that_of_the_rows_marked() -> None:
    gradient = random_gradient()
    centered = remove_mean(gradient, MASK)
    assert_close(centered[MASK], remove_mean(gradient[MASK]))
    moved = gradient.clone()
    moved[~MASK] += 1000
    assert_close(remove_mean(moved, MASK)[MASK], centered[MASK])
    assert_close(remove_mean(gradient, torch.ones(6, dtype=torch.bool)), remove_mean(gradient))


def test_with_no_row_marked_nothing_breaks() -> None:
    assert remove_mean(random_gradient(), torch.zeros(6, dtype=torch.bool)).isfinite().all()


@pytest.mark.parametrize("core", CORES)
def test_nothing_is_left_along_any_vector_of_the_state_and_the_rest_is_kept(core: str) -> None:
    state = make_state(make_core(core))
    gradient = random_gradient(ROWS, state_size(state))
    turned = remove_radial(gradient, state)
    removed = gradient - turned
    assert_close(to_matrix(from_matrix(turned, state)), turned)
    # layer by layer and tensor by tensor
    for vectors, kept, taken in zip(
        floating_leaves(state), from_matrix(turned, state), from_matrix(removed, state), strict=True
    ):
        assert_close((kept * vectors).sum(dim=-1), torch.zeros(vectors.shape[:-1], dtype=torch.float64))
        along = (taken * vectors).sum(dim=-1, keepdim=True) / vectors.square().sum(dim=-1, keepdim=True)
        assert_close(taken, along * vectors)
        assert taken.abs().sum(dim=-1).all()


def test_the_tangent_is_not_taken_of_all_layers_as_one_vector() -> None:
    state = make_state(make_core("LSTM-2"))
    factors = torch.tensor([1.0, -2.0]).view(2, 1, 1)  # another for each layer
    gradient = to_matrix(map_state(lambda tensor: tensor * factors, state))
    assert_close(remove_radial(gradient, state), torch.zeros_like(gradient))


def test_taking_the_tangent_twice_is_taking_it_once() -> None:
    state = make_state(make_core("LSTM-2"))
    once = remove_radial(random_gradient(ROWS, state_size(state)), state)
    assert_close(remove_radial(once, state), once)


def test_a_state_of_zeros_has_no_direction_to_remove() -> None:
    state = map_state(torch.zeros_like, make_state(make_core("LSTM-2")))
    gradient = random_gradient(ROWS, state_size(state))
    assert_identical(remove_radial(gradient, state), gradient)


def test_counters_take_no_part() -> None:
    state = make_state(make_core("own"))
    assert len(floating_leaves(state)) == 2
    assert remove_radial(random_gradient(ROWS, 2 * SIZE), state).shape == (ROWS, 2 * SIZE)


def gate_after(*updates: tuple[float, float], decay: float = 0.9) -> float:
    gate = Shrinkage(decay).double()
    for dot, square in updates:
        gate.update(torch.tensor(dot, dtype=torch.float64), torch.tensor(square, dtype=torch.float64))
    return gate().item()


def test_a_gate_is_shut_until_it_has_seen_predictions() -> None:
    assert gate_after() == 0
    assert gate_after((0.0, 0.0)) == 0


@pytest.mark.parametrize(("dot", "square", "alpha"), [(1.0, 4.0, 0.25), (4.0, 4.0, 1.0), (9.0, 4.0, 1.0), (-1, 4, 0)])
def test_a_gate_is_the_best_factor_of_a_prediction_kept_between_0_and_1(
    dot: float, square: float, alpha: float
) -> None:
    assert gate_after((dot, square)) == pytest.approx(alpha, rel=1e-12)
    assert gate_after(*[(dot, square)] * 5) == pytest.approx(alpha, rel=1e-12)


def test_the_factor_makes_a_prediction_closest_to_its_target() -> None:
    prediction, target = random_gradient(seed=1), random_gradient(seed=2)
    alpha = gate_after(((prediction * target).sum().item(), prediction.square().sum().item()))
    assert 0 < alpha < 1
    best = (alpha * prediction - target).square().sum()
    for other in (alpha - 0.01, alpha + 0.01):
        assert (other * prediction - target).square().sum() > best


def test_a_gate_weighs_updates_by_their_age() -> None:
    updates = [(1.0, 2.0), (3.0, 3.0), (0.5, 4.0)]
    weights = [0.1 * 0.9**age for age in (2, 1, 0)]
    dot = sum(weight * one for weight, (one, _) in zip(weights, updates, strict=True))
    square = sum(weight * one for weight, (_, one) in zip(weights, updates, strict=True))
    assert gate_after(*updates) == pytest.approx(dot / square, rel=1e-12)
