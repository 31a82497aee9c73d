"""Measuring a hierarchy with interfaces between its levels: the truth does not know them, and they learn nothing."""

import torch
from models import ROWS, make_hierarchy, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.all_reduce import AllReduce
from sgrnn.diagnostics import Bias, measure_alignment, measure_bias
from sgrnn.estimators import TruncatedBPTT
from sgrnn.span import Span
from sgrnn.synthesizers import MLPSynthesizer
from sgrnn.synthesizers.interface import Interface


def make_wrong(all_reduce: AllReduce | None = None) -> Interface:
    """Confident, and of what is random."""
    torch.manual_seed(3)
    interface = Interface(MLPSynthesizer(3, (5,)), all_reduce=all_reduce).double()
    nn.init.normal_(interface.predictor.synthesizer.get_parameter("last.weight"))
    interface.predictor.mean_square.fill_(4)
    interface.predictor.shrinkage.dot.fill_(1)
    interface.predictor.shrinkage.square.fill_(1)
    return interface


def spans() -> list[Span]:
    return make_span(24, is_last=torch.ones(ROWS, dtype=torch.bool)).divide(6)


def bias_with(interface: Interface | None) -> Bias:
    core = make_hierarchy(1, 4, interfaces=[interface])
    return measure_bias(TruncatedBPTT(core, squared_error, 3), spans(), make_state(core), horizon=6, windows=[1, 3, 6])


def test_the_true_gradient_is_that_without_interfaces() -> None:
    def truth(interface: Interface | None) -> Tensor:
        core = make_hierarchy(1, 4, interfaces=[interface])
        alignment = measure_alignment(TruncatedBPTT(core, squared_error, 3), spans(), make_state(core), lags=[2, 6])
        return alignment.products

    assert truth(None).any()
    assert_identical(truth(make_wrong()), truth(None))


def test_reference_and_truncation_are_those_without_interfaces_which_the_estimator_answers_for() -> None:
    """An interface is left as it was, and of several processes each measures all rows."""
    interface = make_wrong(all_reduce=lambda tensor: 2 * tensor)
    weight = interface.predictor.synthesizer.get_parameter("last.weight")
    weight.grad = torch.ones_like(weight)
    before = {name: value.clone() for name, value in interface.state_dict().items()}
    bias, alone, without = bias_with(interface), bias_with(make_wrong()), bias_with(None)
    assert_identical(bias.errors, alone.errors)
    assert_identical(bias.reference, without.reference)
    assert_identical(bias.errors[1:], without.errors[1:])
    assert_close(without.errors[0], without.errors[2])
    assert float(bias.relative_error().value[0, 0]) > 2 * float(without.relative_error().value[0, 0])
    assert_identical(dict(interface.state_dict()), before)
    assert_identical(weight.grad, torch.ones_like(weight))
    assert all(each.grad is None for each in interface.parameters() if each is not weight)
