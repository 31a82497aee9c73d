"""Drift control removes a mean, or what lies along the state, and nothing else."""

import pytest
import torch
from models import ROWS, SIZE, make_core, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor

from sgrnn.estimators import SyntheticGradients
from sgrnn.estimators.drift import remove_mean, remove_radial, removes_radial
from sgrnn.state import floating_leaves, from_matrix, map_state, state_size, to_matrix
from sgrnn.synthesizers import AdjointSynthesizer, DiagonalSynthesizer, MLPSynthesizer, Synthesizer

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


def test_a_row_alone_is_left_as_it_is() -> None:
    one = random_gradient(1)
    assert_identical(remove_mean(one), one)
    assert_identical(remove_mean(one, torch.tensor([True])), one)
    assert_identical(remove_mean(random_gradient(), torch.zeros(6, dtype=torch.bool)), random_gradient())


def test_the_mean_is_that_of_all_processes() -> None:
    whole = random_gradient()
    sums = torch.cat([whole.sum(dim=0), torch.tensor([6.0]).double()])
    assert_close(remove_mean(whole[:2], None, lambda tensor: sums), remove_mean(whole)[:2])


@pytest.mark.parametrize("core", ["LSTM-2", "nn.GRU-1", "hierarchy 1, 2, 3"])
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


def test_a_state_of_zeros_has_no_direction_to_remove() -> None:
    state = map_state(torch.zeros_like, make_state(make_core("LSTM-2")))
    gradient = random_gradient(ROWS, state_size(state))
    assert_identical(remove_radial(gradient, state), gradient)


def test_counters_take_no_part() -> None:
    state = make_state(make_core("own"))
    assert len(floating_leaves(state)) == 2
    assert remove_radial(random_gradient(ROWS, 2 * SIZE), state).shape == (ROWS, 2 * SIZE)


def diagonal(core: str) -> Synthesizer:
    return DiagonalSynthesizer(state_size(make_state(make_core(core))), SIZE, lookahead=2, aligned_size=SIZE)


@pytest.mark.parametrize(
    ("core", "removed"),
    [("GRU-2", False), ("nn.RNN-1", False), ("LSTM-1", True), ("nn.LSTM-2", True), ("hierarchy 1, 2, 3", True)],
)
def test_unasked_it_is_removed_where_the_state_is_more_than_what_the_core_outputs(core: str, removed: bool) -> None:
    state = make_state(make_core(core))
    assert removes_radial(None, state, diagonal(core)) == removed
    assert removes_radial(True, state, diagonal(core))
    assert not removes_radial(False, state, MLPSynthesizer(state_size(state)))


def test_an_lstm_whose_state_is_one_tensor_is_none_that_outputs_its_state() -> None:
    packed = torch.cat(floating_leaves(make_state(make_core("LSTM-1"))), dim=-1)
    assert removes_radial(None, packed, diagonal("LSTM-1"))


@pytest.mark.parametrize(
    ("core", "synthesizer", "removed"),
    [
        ("GRU-1", diagonal("GRU-1"), False),
        ("GRU-1", MLPSynthesizer(SIZE), True),
        ("GRU-1", AdjointSynthesizer(SIZE, SIZE, SIZE, window=2), True),
        ("LSTM-1", diagonal("LSTM-1"), True),
    ],
)
def test_what_is_injected_unasked(core: str, synthesizer: Synthesizer, removed: bool) -> None:
    model = make_core(core)
    state = make_state(model)
    gradient = random_gradient(ROWS, state_size(state))
    estimator = SyntheticGradients(model, squared_error, 2, synthesizer=synthesizer, run_ahead=0, shrinkage=False)
    expected = remove_radial(gradient, state) if removed else gradient
    assert_identical(estimator._inject(gradient, state, None), expected)
