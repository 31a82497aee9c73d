"""The perceptron begins at zero, and sees standardized state and valid steps ahead, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.synthesizers import Lookahead, MLPSynthesizer

ROWS, HIDDEN, AHEAD, FEATURES = 5, 4, 3, 2
SIZE = 2 * 2 * HIDDEN
VALID = torch.tensor(
    [[True, True, False, True, True], [True, False, False, True, True], [True, False, False, False, True]]
)


def lstm_state(seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(2, ROWS, HIDDEN).double(), 3 * torch.randn(2, ROWS, HIDDEN).double() + 1


def ahead(valid: Tensor | None = None) -> Lookahead:
    torch.manual_seed(1)
    return Lookahead(torch.randn(AHEAD, ROWS, FEATURES).double(), valid)


def fresh(*hidden_sizes: int, lookahead: int = 0, **options: Any) -> MLPSynthesizer:
    torch.manual_seed(2)
    return MLPSynthesizer(SIZE, hidden_sizes, lookahead=lookahead, feature_size=FEATURES, **options).double()


def learned(*hidden_sizes: int, lookahead: int = 0, **options: Any) -> MLPSynthesizer:
    """With a last layer that is not zero."""
    synthesizer = fresh(*hidden_sizes, lookahead=lookahead, **options)
    nn.init.normal_(synthesizer.last.weight)
    nn.init.normal_(synthesizer.last.bias)
    return synthesizer


@pytest.mark.parametrize(("hidden_sizes", "lookahead", "auxiliary"), [((), AHEAD, False), ((7, 6), 0, True)])
def test_a_fresh_one_predicts_zero_for_every_row_and_head(
    hidden_sizes: tuple[int, ...], lookahead: int, auxiliary: bool
) -> None:
    synthesizer = fresh(*hidden_sizes, lookahead=lookahead, auxiliary=auxiliary)
    predicted = synthesizer(lstm_state(), ahead() if lookahead else None)
    assert_identical(predicted, torch.zeros(ROWS, 1 + auxiliary, SIZE, dtype=torch.float64))
    assert (synthesizer.lookahead, synthesizer.reads) == (lookahead, lookahead)
    predicted.backward(torch.ones_like(predicted))
    assert synthesizer.last.weight.grad is not None
    assert synthesizer.last.weight.grad.any(), "it can learn"


@pytest.mark.parametrize(
    ("hidden_sizes", "auxiliary", "projection"), [((), True, None), ((7,), False, 5), ((7, 6), True, 5)]
)
def test_it_is_a_perceptron_on_every_vector_standardized_and_the_valid_steps_ahead(
    hidden_sizes: tuple[int, ...], auxiliary: bool, projection: int | None
) -> None:
    synthesizer = learned(*hidden_sizes, lookahead=AHEAD, auxiliary=auxiliary, projection=projection)
    hidden, cell = lstm_state()
    parts = []
    for vectors in (hidden[0], hidden[1], cell[0], cell[1]):
        centered = vectors - vectors.mean(dim=1, keepdim=True)
        parts.append(centered / (centered.square().mean(dim=1, keepdim=True) + 1e-5).sqrt())
    features = ahead().features
    assert features is not None
    for step in range(AHEAD):  # side by side, the nearest first, each place with a projection of its own
        seen = features[step] * VALID[step].unsqueeze(1)
        parts.append(seen if synthesizer.projection is None else seen @ synthesizer.projection[step])
    values = torch.cat(parts, dim=1)
    layers = [module for module in synthesizer.hidden if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in layers] == list(hidden_sizes)
    for layer in layers:
        values = (values @ layer.weight.T + layer.bias).clamp(min=0)
    expected = values @ synthesizer.last.weight.T + synthesizer.last.bias
    predicted = synthesizer((hidden, cell), ahead(VALID))
    assert predicted.shape == (ROWS, 1 + auxiliary, SIZE)
    assert_close(predicted.flatten(1), expected)
    predicted.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in synthesizer.parameters())


def test_it_sees_no_row_but_its_own_and_no_step_that_is_not_valid() -> None:
    synthesizer, state, steps = learned(7, lookahead=AHEAD), lstm_state(), ahead(VALID)
    assert steps.features is not None
    before = synthesizer(state, steps)
    for step in range(AHEAD):
        for row in range(ROWS):
            features = steps.features.clone()
            features[step, row] += 1
            moved = (synthesizer(state, replace(steps, features=features)) - before).abs().amax(dim=(1, 2)) > 1e-9
            assert moved.tolist() == [other == row and bool(VALID[step, row]) for other in range(ROWS)]
    state[1][0, 2, 1] += 1
    moved = (synthesizer(state, steps) - before).abs().amax(dim=(1, 2)) > 1e-9
    assert moved.tolist() == [False, False, True, False, False]


def test_without_standardizing_and_hidden_layers_it_is_linear_in_the_state() -> None:
    synthesizer = learned(standardize=False)
    first, second = lstm_state(0), lstm_state(1)
    mixed = tuple(2 * a - 3 * b for a, b in zip(first, second, strict=True))
    bias = synthesizer.last.bias.view(1, 1, -1)
    assert_close(synthesizer(mixed) - bias, 2 * (synthesizer(first) - bias) - 3 * (synthesizer(second) - bias))


def test_neither_the_scale_of_a_state_nor_a_counter_in_it_is_seen() -> None:
    hidden, cell = lstm_state()
    standardized = learned(7)
    expected = standardized((hidden, cell))
    assert torch.allclose(standardized((100 * hidden, 100 * cell)), expected, rtol=1e-3, atol=1e-3)
    counted = {"hidden": hidden, "count": torch.ones(ROWS, 1, dtype=torch.long), "cell": cell}
    assert_identical(standardized(counted), expected)


def test_sizes_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^lookahead must be at least 0 steps, got -1$"):
        MLPSynthesizer(SIZE, lookahead=-1, feature_size=2)
    with pytest.raises(ValueError, match=r"^feature_size must be given for a lookahead of 3 steps$"):
        MLPSynthesizer(SIZE, lookahead=3)
    with pytest.raises(ValueError, match=r"^state_size must be 16, the features of a row of .* state, got 15$"):
        MLPSynthesizer(SIZE - 1, lookahead=AHEAD, feature_size=FEATURES)(lstm_state(), ahead())
