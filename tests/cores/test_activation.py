"""Penalties on the outputs of a model."""

import pytest
import torch
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores.activation import ActivationRegularization, activation_regularization
from sgrnn.cores.locked import LockedDropout, one_span
from sgrnn.cores.regularization import without_regularization


def penalty_by_hand(outputs: Tensor, mask: Tensor) -> Tensor:
    return 2 * (mask * outputs).pow(2).mean() + 3 * (outputs[1:] - outputs[:-1]).pow(2).mean()


def test_the_penalty_is_the_mean_square_of_outputs_and_of_their_changes_in_parts_too() -> None:
    dropout = LockedDropout(0.5)
    penalty, outputs = ActivationRegularization(2, 3, dropout), torch.randn(7, 5, 4).double()
    with one_span(dropout, 5):
        whole = penalty(outputs)
        parts = [penalty(outputs[:3], None, None, 7), penalty(outputs[3:], outputs[2:3], None, 7)]
        mask = dropout.mask((5, 4), outputs)
    assert_close(whole.mean(), penalty_by_hand(outputs, mask))
    assert_close(torch.cat(parts), whole)
    begins = torch.zeros(7, 5, dtype=torch.bool)
    begins[4, 1] = True
    lacking = 3 * 7 / 6 * (outputs[4, 1] - outputs[3, 1]).square().mean()
    with_beginning = ActivationRegularization(0, 3)(outputs, None, begins)
    assert_close(ActivationRegularization(0, 3)(outputs).sum() - with_beginning.sum(), lacking)
    assert_close(ActivationRegularization(0, 3)(outputs[:1]), torch.zeros(1, 5).double())


def test_a_penalty_is_found_in_training_alone_and_not_where_it_is_switched_off() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), ActivationRegularization(0.0, 1.0)])
    assert activation_regularization(model) is model[1]
    with without_regularization(model):
        assert activation_regularization(model) is None
    assert repr(model[1]) == "ActivationRegularization(activation=0.0, temporal=1.0)"
    assert activation_regularization(model.eval()) is None
    with pytest.raises(ValueError, match=r"^activation must be at least 0, got nan$"):
        ActivationRegularization(float("nan"))
    with pytest.raises(ValueError, match=r"^temporal must be at least 0, got -1$"):
        ActivationRegularization(1, -1)
    with pytest.raises(TypeError, match=r"^outputs must be one tensor for a penalty on them, got a tuple$"):
        model.train()[1]((torch.ones(1, 1, 1),) * 2)
