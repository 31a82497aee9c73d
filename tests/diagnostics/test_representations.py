"""Linear probes of what a state holds, and dissimilarities by which two networks' states are compared."""

from math import isnan

import pytest
import torch
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.diagnostics import agreement, dissimilarities, probe_memory


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
    probes = probe_memory(Shift(4, 3), tokens, torch.zeros(20, 12).double(), [0, 1, 2, 3, 5])
    assert probes.accuracy[:3].tolist() == [1, 1, 1]
    assert (probes.accuracy[3:] - 0.25).abs().max() < 0.08
    assert (probes.baseline - 0.25).abs().max() < 0.08
    assert probes.error[:3].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="tokens must be at least 12 steps for a lag of 1, got 11"):
        probe_memory(Shift(4, 3), tokens[:11], torch.zeros(20, 12).double(), [1])


def test_a_model_is_left_as_it_was_by_probing() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.norm, self.core = nn.Embedding(5, 4), nn.BatchNorm1d(4), nn.GRU(4, 4)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            read = self.norm(self.embedding(inputs).flatten(0, 1)).unflatten(0, inputs.shape)
            return self.core(read, state)

    torch.manual_seed(0)
    model = Normalized()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    probe_memory(model, torch.randint(5, (24, 6)), torch.zeros(1, 6, 4), [0, 1])
    assert_identical(dict(model.named_buffers()), before)


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


def test_a_tie_among_other_distances_lies_between_its_neighbors() -> None:
    """Of six pairs two tie: ranks 1, 2.5, 2.5, 4, 5, 6 with 1 to 6, of which the squares sum to 17 and 17.5."""
    one, other = torch.zeros(2, 4, 4)
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    for matrix, values in ((one, (0.1, 0.2, 0.2, 0.3, 0.4, 0.5)), (other, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6))):
        for (i, j), value in zip(pairs, values, strict=True):
            matrix[i, j] = matrix[j, i] = value
    assert agreement(one, other) == pytest.approx((17 / 17.5) ** 0.5)
