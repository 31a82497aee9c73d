"""True gradients of a few rows of a span, carried back over all of its windows, and what is corrected by them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.estimators.ahead import held_constant
from sgrnn.estimators.backward import carry_back, initial_gradients
from sgrnn.estimators.objective import gradients
from sgrnn.estimators.same_again import drawing_nothing, require_same_again
from sgrnn.estimators.unroll import unroll
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, floating_leaves, map_state, take_rows

_AGAIN = "rows whose true gradient is sought are run again by themselves"


class DrawnRows:
    """Some rows of a span, run once more by themselves and gone back through without a cut.

    The model is left as it is, and its parameters are held constant: what is found is what arrives at the boundaries.

    Args:
        model: ``model(inputs, state) -> (outputs, state)``.
        span: of B rows.
        state: the state before it.
        window: T.
        drawn: m of the rows, by their places.

    Raises:
        ValueError: the model drops out or draws random numbers, or normalizes by statistics of its batch.
    """

    def __init__(self, model: nn.Module, span: Span, state: State, window: int, drawn: Sequence[int]) -> None:
        require_same_again(model, _AGAIN)
        rows = torch.tensor(drawn, device=span.device)
        inputs, targets = (
            map_state(lambda steps: steps.detach()[:, rows], each) for each in (span.inputs, span.targets)
        )  # fmt: skip
        own = Span(inputs, targets, None if span.is_first is None else span.is_first[:, rows])
        first = take_rows(detach(state), rows)
        with drawing_nothing(model, own, first, _AGAIN), kept_buffers(model), held_constant(model):
            self._windows = unroll(model, own, first, window)
        self._rows, self._batch_size = rows, span.batch_size

    def _arrive(self, outputs: Any, injected: Tensor) -> Tensor:
        """Return the gradients that truly arrive at the windows' first states, (K, m, features).

        Args:
            outputs: the leaves of all rows that the loss was computed from, with its gradient.
            injected: (K x B, features), of which only that at the span's end is injected here, and all else carried.
        """
        own = cut(self._windows.outputs)
        for leaf, gradient in zip(floating_leaves(own), gradients(outputs), strict=True):
            leaf.grad = gradient[:, self._rows]
        alone = injected.unflatten(0, (-1, self._batch_size))[:, self._rows]
        alone[:-1] = 0
        # Held constant as above: what is checkpointed runs again on the way back, and must find the model as it was.
        with kept_buffers(self._windows.model), held_constant(self._windows.model):
            carry_back(self._windows, own, alone.flatten(0, 1), [1.0] * (len(alone) - 1))
        return initial_gradients(self._windows).unflatten(0, (len(alone), -1))

    def correct(self, injected: Tensor, outputs: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Add B/m times what drawn rows lack of the true gradient to what is injected inside the span.

        At the span's end nothing truer is known.

        Args:
            injected: (K x B, features).
            outputs: the leaves of all rows that the loss was computed from, with its gradient.

        Returns:
            what to inject, (K x B, features), the gradients that truly arrive at the windows' first states, (K, m,
            features), and the R² of `injected` at the boundaries inside the span, 0 where nothing arrives.
        """
        arriving = self._arrive(outputs, injected)
        by_window = injected.unflatten(0, (-1, self._batch_size)).clone()
        before, true = by_window[:-1, self._rows], arriving[1:].to(injected)
        lacking = true - before
        by_window[:-1, self._rows] = before + self._batch_size / len(self._rows) * lacking
        power = true.square().sum()
        r2 = 1 - lacking.square().sum() / power.clamp(min=torch.finfo(power.dtype).tiny)
        return by_window.flatten(0, 1), arriving, torch.where(power > 0, r2, 0)
