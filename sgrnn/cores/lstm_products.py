"""An LSTM layer in few large matrix products of low precision, with a backward pass by hand."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sgrnn.state import without_autocast


def lstm_by_products(
    inputs: Tensor, hidden: Tensor, cell: Tensor, weights: Sequence[Tensor], precision: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Run a layer of an LSTM over all steps, its matrix products in a precision of their own.

    oneDNN adds up the gradient of the weights step by step, which for wide layers of few rows takes longer than all
    products; here it is one product over all steps at once. Differentiated with a graph of the gradient
    (``create_graph``), the gradient is that of torch's layer, without rounding.

    Args:
        inputs: (time, batch, input_size).
        hidden, cell: (batch, hidden_size) the state before the first step.
        weights: weight_ih (4 hidden_size, input_size), weight_hh (4 hidden_size, hidden_size), bias_ih and bias_hh, as
            `torch.nn.LSTM` packs them.
        precision: of the products; all else is in the cell's.

    Returns:
        outputs (time, batch, hidden_size), and hidden and cell after the last step, in the precision of the cell.
    """
    return _LSTMByProducts.apply(inputs, hidden, cell, precision, *weights)


class _LSTMByProducts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, hidden: Tensor, cell: Tensor, precision: torch.dtype, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        steps, rows, size = *inputs.shape[:2], cell.shape[1]
        of_input, recurrent = (_sigmoids_first(weight.to(precision)) for weight in weights[:2])
        read = inputs.to(precision).flatten(0, 1)
        gates = (torch.mm(read, of_input.t()) + _sigmoids_first(weights[2] + weights[3])).view(steps, rows, 4 * size)
        hiddens = cell.new_empty(steps + 1, rows, size, dtype=precision)
        cells, outputs = cell.new_empty(steps + 1, rows, size), cell.new_empty(steps, rows, size)
        hiddens[0], cells[0] = hidden, cell
        parts = (gates, gates[..., : 3 * size], *gates.unflatten(2, (4, size)).unbind(2))
        for step, (gate, sigmoids, enter, forget, leave, new) in enumerate(zip(*map(torch.unbind, parts), strict=True)):
            gate += torch.mm(hiddens[step], recurrent.t())
            sigmoids.sigmoid_()
            new.tanh_()
            after = torch.mul(forget, cells[step], out=cells[step + 1]).addcmul_(enter, new)
            hiddens[step + 1] = torch.mul(leave, after.tanh(), out=outputs[step])
        ctx.save_for_backward(read, hiddens, cells, gates, of_input, recurrent, inputs, hidden, cell, *weights)
        return outputs, outputs[-1].clone(), cells[-1].clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        *kept, inputs, hidden, cell = ctx.saved_tensors[:9]
        weights, wanted = ctx.saved_tensors[9:], ctx.needs_input_grad
        if torch.is_grad_enabled():  # the gradient is to be differentiated itself
            return _by_torch(inputs, hidden, cell, weights, arriving, wanted)
        with without_autocast(inputs.device):
            of_inputs, of_hidden, of_cell, *of_weights = _carried_back(kept, arriving, wanted)
        given = (inputs, hidden, cell, None, *weights)
        found = (of_inputs, of_hidden, of_cell, None, *of_weights)
        return tuple(
            None if like is None or one is None else one.to(like) for one, like in zip(found, given, strict=True)
        )


def _carried_back(
    kept: Sequence[Tensor], arriving: Sequence[Tensor], wanted: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Return the gradients at inputs, hidden, cell and weights, from those at the results."""
    read, hiddens, cells, gates, of_input, recurrent = kept
    of_outputs, of_hidden, of_cell = arriving
    steps, rows, size = len(gates), *cells.shape[1:]
    enter, forget, leave, new = gates.unflatten(2, (4, size)).unbind(2)
    # What one of the gradient at the cell is at a gate's argument; at the output gate's, one of that at the output.
    slopes = torch.empty_like(gates)
    at_enter, at_forget, at_leave, at_new = slopes.unflatten(2, (4, size)).unbind(2)
    sigmoids = gates[..., : 3 * size]
    torch.addcmul(sigmoids, sigmoids, sigmoids, value=-1, out=slopes[..., : 3 * size])
    squashed = cells[1:].tanh()
    at_enter *= new
    at_forget *= cells[:-1]
    at_leave *= squashed
    torch.addcmul(enter, enter * new, new, value=-1, out=at_new)
    through = torch.addcmul(leave, leave * squashed, squashed, value=-1)
    found = torch.empty_like(slopes, dtype=read.dtype)
    of_cell = of_cell.clone()
    for step in reversed(range(steps)):
        of_hidden = of_hidden + of_outputs[step]
        of_cell.addcmul_(of_hidden, through[step])
        slopes[step, :, : 2 * size].unflatten(1, (2, size)).mul_(of_cell.unsqueeze(1))
        at_leave[step].mul_(of_hidden)
        at_new[step].mul_(of_cell)
        of_cell.mul_(forget[step])
        of_hidden = torch.mm(found[step].copy_(slopes[step]), recurrent)
    found = found.flatten(0, 1)
    of_bias = _sigmoids_last(slopes.flatten(0, 1).sum(0))
    of_inputs = torch.mm(found, of_input).view(steps, rows, of_input.shape[1]) if wanted[0] else None
    of_weights = (
        _sigmoids_last(torch.mm(found.t(), factor)) if needed else None
        for factor, needed in zip((read, hiddens[:-1].flatten(0, 1)), wanted[4:6], strict=True)
    )
    return of_inputs, of_hidden, of_cell, *of_weights, of_bias, of_bias


def _by_torch(
    inputs: Tensor, hidden: Tensor, cell: Tensor, weights: Sequence[Tensor], arriving: Sequence[Tensor],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Return the gradients with a graph of their own, of torch's layer run again."""
    state = [hidden.unsqueeze(0), cell.unsqueeze(0)]
    outputs, last_hidden, last_cell = torch.lstm(inputs, state, list(weights), True, 1, 0.0, True, False, False)
    given = (inputs, hidden, cell, None, *weights)
    learned = [each for each, needed in zip(given, wanted, strict=True) if needed and each is not None]
    found = iter(
        torch.autograd.grad([outputs, last_hidden[0], last_cell[0]], learned, arriving, create_graph=True)
    )  # fmt: skip
    return tuple(next(found) if needed else None for needed in wanted)


def _sigmoids_first(packed: Tensor) -> Tensor:
    """Reorder input gate, forget gate, candidate and output gate so that the candidate, which has a tanh, is last."""
    enter, forget, new, leave = packed.chunk(4)
    return torch.cat([enter, forget, leave, new])


def _sigmoids_last(packed: Tensor) -> Tensor:
    """Undo `_sigmoids_first`."""
    enter, forget, leave, new = packed.chunk(4)
    return torch.cat([enter, forget, new, leave])
