"""Where one model is better, what states know, how alike two are, and what loss predictions add up to."""

from dataclasses import replace
from math import isnan

import pytest
import torch
from known import Oracle, Zero, bare, linear_text
from models import LinearCore, Table, half_squared_error, make_core, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.diagnostics import (
    agreement,
    by_frequency,
    by_place,
    dissimilarities,
    loss_difference,
    probe_memory,
    recovered_loss,
)
from sgrnn.state import State
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.tasks import cut


def test_differences_are_means_by_group_and_shares_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 3, (4000,), generator=generator)
    one = torch.rand(4000, generator=generator).double()
    other = one + torch.tensor([0.5, 0.0, -0.25])[tokens]
    train = torch.tensor([0] * 5 + [1] * 50 + [2] * 500)
    found = loss_difference(one, other, by_frequency(tokens, train, vocabulary_size=4))
    assert found.names == ["1 to 9", "10 to 99", "100 to 999"]
    assert_close(found.mean.value, torch.tensor([0.5, 0.0, -0.25], dtype=torch.float64))
    assert found.mean.error.max() < 1e-6
    assert found.counts.tolist() == tokens.bincount().tolist()
    whole = float((other - one).sum())
    assert found.share[0] == pytest.approx(0.5 * int((tokens == 0).sum()) / whole)
    assert float(found.share.sum()) == pytest.approx(1)


def test_the_standard_error_is_that_of_a_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 20_000, generator=generator).double()
    found = loss_difference(one, other, by_place(torch.ones(20_000, dtype=torch.long), line_end=0))
    expected = (2 / found.counts).sqrt()
    assert ((found.mean.error / expected)[-3:] < 2).all()
    assert ((found.mean.error / expected)[-3:] > 0.5).all()


def test_losses_of_different_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be of the same tokens, got 2, 3 and 3"):
        loss_difference(torch.zeros(2), torch.zeros(3), by_place(torch.zeros(3, dtype=torch.long), 0))


class Shift(nn.Module):
    """A state that holds the last tokens it has read, one-hot, and nothing older."""

    def __init__(self, tokens: int, steps: int) -> None:
        super().__init__()
        self.tokens, self.steps = tokens, steps

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        for step in inputs:
            read = nn.functional.one_hot(step, self.tokens).double()
            state = torch.cat([read, state[:, : -self.tokens]], dim=1)
        return state[None], state


def test_probes_find_what_the_state_holds_and_no_more() -> None:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 4, (90, 20), generator=generator)
    found = probe_memory(Shift(4, 3), tokens, torch.zeros(20, 12).double(), [0, 1, 2, 3, 5])
    assert found.accuracy[:3].tolist() == [1, 1, 1]
    assert (found.accuracy[3:] - 0.25).abs().max() < 0.08
    assert (found.baseline - 0.25).abs().max() < 0.08
    assert found.error[:3].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="tokens must be at least 12 steps for a lag of 1, got 11"):
        probe_memory(Shift(4, 3), tokens[:11], torch.zeros(20, 12).double(), [1])


def test_a_representation_agrees_with_any_rotation_of_itself_and_not_with_another() -> None:
    generator = torch.Generator().manual_seed(0)
    states, others = torch.randn(2, 80, 16, dtype=torch.float64, generator=generator)
    states = states - states.mean(dim=1, keepdim=True)
    ones = torch.ones(16, 1, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(
        torch.cat([ones, torch.randn(16, 15, dtype=torch.float64, generator=generator)], dim=1)
    )
    flipped = rotation @ torch.diag(torch.tensor([1.0] + [-1.0] * 3 + [1.0] * 12, dtype=torch.float64)) @ rotation.T
    assert agreement(dissimilarities(states), dissimilarities(3 * states @ flipped)) == pytest.approx(1)
    assert abs(agreement(dissimilarities(states), dissimilarities(others))) < 0.1
    with pytest.raises(ValueError, match="must be of the same three or more rows, got 80 and 79"):
        agreement(dissimilarities(states), dissimilarities(states[1:]))


def test_states_that_hold_nothing_agree_with_none() -> None:
    states, nothing = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 5)
    same = states[:1].expand(40, 5)
    for one, other in ((nothing, nothing), (nothing, states), (states, nothing), (same, 2 * same)):
        assert isnan(agreement(dissimilarities(one), dissimilarities(other)))


def test_equal_distances_have_the_mean_of_their_ranks() -> None:
    """Pairs (0, 1), (0, 2), (1, 2) have the ranks 1.5, 1.5, 3 and 2, 1, 3."""
    one, other = torch.zeros(2, 3, 3)
    for matrix, values in ((one, (0.2, 0.2, 0.7)), (other, (0.5, 0.1, 0.9))):
        for (i, j), value in zip([(0, 1), (0, 2), (1, 2)], values, strict=True):
            matrix[i, j] = matrix[j, i] = value
    assert agreement(one, other) == pytest.approx(0.75**0.5)
    assert agreement(one, one) == pytest.approx(1)


def test_the_gradient_of_a_quadratic_adds_up_to_it() -> None:
    """Along a line it is linear, so that a single point would do."""
    core = LinearCore()
    spans, state = linear_text(core, number=5, steps=2, beyond=4)
    oracle, zero = (bare(2, each) for each in (Oracle(core, half_squared_error, steps=4), Zero()))
    found = recovered_loss(oracle, core, half_squared_error, spans, state, horizon=4, points=1)
    assert_close(found.value, torch.ones((), dtype=torch.float64))
    assert float(recovered_loss(zero, core, half_squared_error, spans, state, horizon=4).value) == 0


@pytest.mark.parametrize("name", ["LSTM-2", "GRU-1", "own"])
def test_the_gradient_of_any_loss_nearly_does(name: str) -> None:
    model = make_core(name)
    spans = cut(make_span(12, is_last=torch.ones(3, dtype=torch.bool)), 4)
    oracle = bare(2, Oracle(model, squared_error, steps=5))
    state = make_state(model)
    if isinstance(state, dict):
        state["count"] = torch.zeros_like(state["count"])  # rows that count alike have losses that can be compared
    found = recovered_loss(oracle, model, squared_error, spans, state, horizon=5, points=6)
    assert float(found.value) == pytest.approx(1, abs=1e-4)


def random_state() -> Tensor:
    return torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def test_rows_that_begin_anew_do_not_count() -> None:
    """Row 0 and 2 begin a sequence with each span: what is predicted at their boundary has nothing to add up to."""
    core = LinearCore()
    is_last = torch.tensor([True, False, True])
    spans = [
        make_span(4, is_first=[(0, 0), (0, 2)], is_last=is_last, seed=seed, future=make_span(4, seed=4))
        for seed in (2, 3)
    ]

    class Everywhere(Oracle):
        def forward(self, state: State, lookahead: Lookahead) -> Tensor:
            return super().forward(state, replace(lookahead, valid=None))

    oracle = bare(2, Everywhere(core, half_squared_error, steps=4))
    found = recovered_loss(oracle, core, half_squared_error, spans, random_state(), horizon=4, points=1)
    assert_close(found.value, torch.ones((), dtype=torch.float64))


def test_of_whole_episodes_nothing_can_be_said() -> None:
    core = LinearCore()
    is_last = torch.ones(3, dtype=torch.bool)
    spans = [make_span(4, is_first=[(0, row) for row in range(3)], is_last=is_last, seed=seed) for seed in (2, 3)]
    for synthesizer in (Zero(), Table(3 * 3, 3)):
        found = recovered_loss(bare(2, synthesizer), core, half_squared_error, spans, random_state(), horizon=4)
        assert found.value.isnan()
        assert found.error.isnan()


def test_one_row_alone_has_no_neighbor() -> None:
    core = LinearCore()
    spans, state = linear_text(core, number=1, steps=2, beyond=4, rows=1)
    with pytest.raises(ValueError, match="of two or more rows"):
        recovered_loss(bare(2, Zero()), core, half_squared_error, spans, state, horizon=4)
