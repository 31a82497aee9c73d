"""Output gradients carried back by learned Jacobians, with a backward pass of few products, by hand."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def carried_back(units: Tensor, features: Tensor, gradients: Tensor, *parameters: Tensor | None) -> Tensor:
    """Carry output gradients back to states, (R, state_size), as `JacobianSynthesizer.read` and `carry_back` define it.

    Small synthesizers spend their time on calls and not on products, and a backward pass that is recorded takes twice
    as many calls as one that is written down. Only the parameters have gradients.

    Args:
        units: (R, state_size) the standardized states.
        features: (near, R, feature_size) of the steps ahead.
        gradients: (n, R, output_size) at the steps ahead, zero where there is no step.
        parameters: state_projection (weight, bias), input_projection, input_weight, gate, gate_bias,
            output_projection, last (weight), gain and gain_bias; None for the last two where no gradient goes from unit
            to unit.
    """
    return _CarriedBack.apply(units, features, gradients, *parameters)


class _CarriedBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, units: Tensor, features: Tensor, gradients: Tensor, *parameters: Tensor) -> Tensor:
        into, into_bias, project, weight, gate, gate_bias, cross, last, gain, gain_bias = parameters
        reduced = torch.bmm(features, project)
        hidden = torch.bmm(reduced, weight).cumsum_(0).add_(torch.addmm(into_bias, units, into.t())).relu_()
        near = len(hidden)
        crossing, gates = torch.bmm(gradients, cross), torch.baddbmm(gate_bias, hidden, gate)
        gated = torch.cat([gates * crossing[:near], crossing[near:]])
        flat = gated.transpose(0, 1).flatten(1)
        carried = torch.mm(flat, last.t())
        if gain is not None:
            single, shape = gradients.unsqueeze(2), (-1, gradients.shape[2])
            gains = torch.baddbmm(gain_bias[:near], hidden, gain).unflatten(2, shape)
            aligned = (gains * single[:near]).sum(0)
            if near < len(gradients):
                aligned += (gain_bias[near:].unflatten(2, shape) * single[near:]).sum(0)
            carried[:, -gain.shape[2] :] += aligned.flatten(1)
        ctx.save_for_backward(units, features, gradients, reduced, hidden, crossing, gates, flat, *parameters)
        return carried

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, carried: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        units, features, gradients, reduced, hidden, crossing, gates, flat, *parameters = ctx.saved_tensors
        _, _, _, weight, gate, _, _, last, gain, _ = parameters
        near, of_gain, of_gain_bias = len(hidden), None, None
        of_crossing = torch.mm(carried, last).unflatten(1, (len(gradients), -1)).transpose(0, 1)
        of_near = of_crossing[:near]
        of_gates = of_near * crossing[:near]
        of_near *= gates
        read = hidden.transpose(1, 2)
        of_hidden = torch.bmm(of_gates, gate.transpose(1, 2))
        if gain is not None:
            aligned = carried[:, -gain.shape[2] :].unflatten(1, (-1, gradients.shape[2]))
            of_gains = (aligned * gradients.unsqueeze(2)).flatten(2)
            of_gain_bias, of_gains = of_gains.sum(1, keepdim=True), of_gains[:near]
            of_gain = torch.bmm(read, of_gains)
            of_hidden.baddbmm_(of_gains, gain.transpose(1, 2))
        of_hidden = torch.ops.aten.threshold_backward(of_hidden, hidden, 0)
        of_state = of_hidden.sum(0)
        of_input = of_hidden + (of_state - of_hidden.cumsum(0))  # at a step the sum of those from it on
        of_reduced = torch.bmm(of_input, weight.transpose(1, 2))
        return (
            None, None, None,
            torch.mm(of_state.t(), units), of_state.sum(0),
            torch.bmm(features.transpose(1, 2), of_reduced), torch.bmm(reduced.transpose(1, 2), of_input),
            torch.bmm(read, of_gates), of_gates.sum(1, keepdim=True),
            torch.bmm(gradients.transpose(1, 2), of_crossing), torch.mm(carried.t(), flat),
            of_gain, of_gain_bias,
        )  # fmt: skip
