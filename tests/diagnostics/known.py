"""Synthesizers of which it is known how good they are."""

from typing import Any

import torch
from models import SIZE, LinearCore
from torch import Tensor, nn

from sgrnn.estimators import Loss, SyntheticGradients
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves, to_matrix
from sgrnn.synthesizers import Lookahead, Synthesizer


class Oracle(Synthesizer):
    """Unrolls the model over the steps in sight, and predicts their exact gradient.

    For models that read vectors of SIZE: features are then inputs and targets side by side.
    """

    sees_targets = True

    def __init__(self, model: nn.Module, loss: Loss, steps: int) -> None:
        super().__init__()
        self._model, self._loss = [model], loss  # in a list: the model's parameters are not this module's
        self.lookahead = self.reads = steps

    @torch.enable_grad()
    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        assert lookahead is not None
        assert lookahead.features is not None
        inputs, targets = lookahead.features.split(SIZE, dim=-1)
        first = cut(state)
        losses = self._loss(self._model[0](inputs, first)[0], targets)
        if lookahead.valid is not None:
            losses = losses * lookahead.valid
        gradients = torch.autograd.grad(losses.sum(), floating_leaves(first), allow_unused=True, materialize_grads=True)
        return to_matrix(list(gradients)).unsqueeze(1)


class Zero(Synthesizer):
    """Predicts nothing."""

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        return torch.zeros_like(to_matrix(state)).unsqueeze(1)


class Table(Synthesizer):
    """Predicts its parameters, whatever it is asked."""

    def __init__(self, rows: int, features: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.values = nn.Parameter(torch.randn(rows, 1, features, dtype=torch.float64, generator=generator))

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        assert to_matrix(state).shape == (self.values.shape[0], self.values.shape[2])
        return self.values * 1  # a graph, as any synthesizer has


def bare(model: nn.Module, loss: Loss, window: int, synthesizer: Synthesizer, **options: Any) -> SyntheticGradients:
    """An estimator that injects what is predicted, as it is."""
    options |= {"remove_radial": False, "shrinkage": False}
    return SyntheticGradients(model, loss, window, synthesizer=synthesizer, **options).double()


def oracle(model: nn.Module, loss: Loss, window: int, steps: int, **options: Any) -> SyntheticGradients:
    """An estimator that injects the exact gradient of the steps in sight."""
    return bare(model, loss, window, Oracle(model, loss, steps), **options)


def linear_text(core: LinearCore, number: int, steps: int, beyond: int, rows: int = 4) -> tuple[list[Span], Tensor]:
    """Consecutive spans of random steps with so many steps of future, and the state before them."""
    generator = torch.Generator().manual_seed(4)
    size = core.weight.shape[0]
    inputs, targets = torch.randn(
        2, number * steps + beyond, rows, size, dtype=torch.float64, generator=generator
    )  # fmt: skip
    spans = []
    for first in range(0, number * steps, steps):
        now, after = slice(first, first + steps), slice(first + steps, first + steps + beyond)
        spans.append(Span(inputs[now], targets[now], future=Span(inputs[after], targets[after])))
    return spans, torch.randn(rows, size, dtype=torch.float64, generator=generator)


def linear_blocks(core: LinearCore, span: Span, state: Tensor, edges: list[int], lags: list[int]) -> Tensor:
    """(blocks, boundaries x rows, size): the sum over a block's steps j of d_j A^j, d = state - target."""
    A = core.weight.detach()
    assert span.future is not None
    inputs = torch.cat([span.inputs, span.future.inputs])
    targets = torch.cat([span.targets, span.future.targets])
    states = [state]
    for step in inputs:
        states.append(states[-1] @ A.T + step)
    terms = [  # of step j ahead
        torch.cat([(states[edge + j] - targets[edge + j - 1]) @ torch.matrix_power(A, j) for edge in edges])
        for j in range(1, lags[-1] + 1)
    ]
    return torch.stack([torch.stack(terms[low:high]).sum(dim=0) for low, high in zip([0, *lags], lags, strict=False)])
