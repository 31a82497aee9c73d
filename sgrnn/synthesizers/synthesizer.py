"""The base of synthesizers, and the data that goes into one and comes out of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.state import State, batch_size, floating_leaves, join, rows, state_size, to_matrix
from sgrnn.synthesizers.lookahead import Lookahead


@dataclass(frozen=True)
class Boundaries:
    """Inputs of a synthesizer at consecutive boundaries of a span of B rows, rows ordered boundary by boundary.

    Args:
        states: R rows, detached.
        continuing: (R,) bool, rows whose sequence goes on across the boundary; None where all do.
        lookahead: the steps ahead; None for a synthesizer that sees none.
        batch_size: B.
        unbroken: (R - B, 1) bool, the windows' rows in which no sequence begins after the first step; None where none
            does.
    """

    states: State
    continuing: Tensor | None
    lookahead: Lookahead | None
    batch_size: int
    unbroken: Tensor | None = None

    def later(self) -> "Boundaries":
        """Return the boundaries that a gradient is injected at, all but the first, without lookahead."""
        continuing = None if self.continuing is None else self.continuing[self.batch_size :]
        return Boundaries(rows(self.states, self.batch_size, None), continuing, None, self.batch_size)


Inject = Callable[[Tensor, State, Tensor | None], Tensor]
"""From predictions (R, features) in true units, states and continuing rows to the gradient that crosses there."""


@dataclass(frozen=True)
class Predictions:
    """Predictions at the boundaries of K windows of B rows.

    Args:
        injected: (K x B, features) the gradient that is injected at all boundaries but the first.
        after: (K x B, features) the predictions at these boundaries, in units of the target scale, without a graph.
        trainable: data with a graph, for `Synthesizer.trainable` to make predictions of at all boundaries but the last.
    """

    injected: Tensor
    after: Tensor
    trainable: Any


class Synthesizer(nn.Module, ABC):
    """Predict, for every row of a state, the gradient of its summed future loss with respect to the state.

    The gradient is that of all floating-point tensors of the state, flattened as by `sgrnn.state.to_matrix`, and
    divided by a scale that the `GradientPredictor` keeps. A synthesizer of one's own gives `forward` and whichever of
    these attributes differ.

    Attributes:
        state_size: features of a row of the state; None for any.
        lookahead: n, the steps ahead that are seen.
        reads: the number of these steps, counted from the first, whose features are read.
        feature_size: features of such a step; None for any.
        sees_targets: True for features of inputs and targets, False for those of inputs alone.
        sees_output_gradients: True for a synthesizer that reads the output gradients of the steps ahead.
        window: T, the only window that it predicts for, steps beyond it being unseen; None for any.
    """

    state_size: int | None = None
    lookahead: int = 0
    reads: int = 0
    feature_size: int | None = None
    sees_targets: bool = False
    sees_output_gradients: bool = False
    window: int | None = None

    @abstractmethod
    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """Predict the gradient at the state, for each of R rows.

        Args:
            state: R rows.
            lookahead: their next steps; None if `lookahead` is 0.

        Returns:
            (R, heads, features), in units of the target scale. The first head predicts the gradient at the state, a
            second one, if there is one, that at the next boundary.
        """

    def require_window(self, window: int) -> None:
        """Refuse another window than the one that it predicts for.

        Raises:
            ValueError: it predicts for one alone, and this is another.
        """
        if self.window is not None and self.window != window:
            raise ValueError(f"window must be that of the synthesizer, {self.window} steps, got {window}")

    def predict(self, at: Boundaries, scale: Tensor, inject: Inject) -> Predictions:
        """Predict at all boundaries of a span.

        One pass serves both ends: predictions are trained at all boundaries but the last, which has no target yet, and
        injected at all but the first, behind which there is nothing.

        Args:
            at: the K + 1 boundaries.
            scale: of the targets.
            inject: makes of predictions the gradient that is injected.
        """
        predicted, size = self(at.states, at.lookahead), at.batch_size
        require_predictions(predicted, at.states)
        with torch.no_grad():
            later, after = at.later(), predicted[size:, 0].detach()
            if later.continuing is not None:
                after = after * later.continuing.unsqueeze(1)
            injected = inject(scale * after, later.states, later.continuing)
        return Predictions(injected, after, predicted[:-size])

    def trainable(self, predictions: Predictions, at: Boundaries, scale: Tensor, arrived: Tensor | None) -> Tensor:
        """Return the predictions that are to be trained, (K x B, heads, features), with their graph.

        Args:
            predictions: as `predict` made them.
            at, scale: as there.
            arrived: (K x B, features) the gradient that did cross the end of each window; None if `window` is None.
        """
        return predictions.trainable


def require_predictions(predicted: Tensor, states: State) -> None:
    """Refuse predictions whose rows or features are not those of the states.

    Raises:
        ValueError: they are not (rows, heads, features).
    """
    expected, features = batch_size(states), state_size(states)
    if predicted.dim() != 3 or (predicted.shape[0], predicted.shape[2]) != (expected, features):
        raise ValueError(
            f"synthesizer must give (rows, heads, features), here ({expected}, ..., {features}), got "
            f"{tuple(predicted.shape)}"
        )


def aligned_features(state_size: int, output_size: int, aligned_size: int | None) -> int:
    """Count the features, the last of a row of the state, that are vectors in the units of the outputs.

    Args:
        state_size, output_size: features of a row of the state, and of the outputs at a step.
        aligned_size: this number, where it is known; None for all of the state if it divides into such vectors, else
            none of it.

    Raises:
        ValueError: it is more than the state has, or no whole number of vectors.
    """
    if aligned_size is None:
        return 0 if state_size % output_size else state_size
    if aligned_size > state_size or aligned_size % output_size:
        raise ValueError(
            f"aligned_size must be a multiple of output_size, {output_size}, up to state_size, {state_size}, got "
            f"{aligned_size}"
        )
    return aligned_size


def standardized(state: State) -> Tensor:
    """Scale every vector of a state to mean 0 and variance 1 over its features, and join them to (R, features)."""
    sizes = {tensor.shape[-1] for tensor in floating_leaves(state)}
    if len(sizes) == 1:  # all vectors at once
        matrix = to_matrix(state)
        return F.layer_norm(matrix.view(len(matrix), -1, *sizes), (*sizes,)).view_as(matrix)
    tensors = [tensor.movedim(-2, 0) for tensor in floating_leaves(state)]
    return join([F.layer_norm(tensor, tensor.shape[-1:]) for tensor in tensors])


def drawn(steps: int, size: int, out_size: int) -> nn.Parameter:
    """Draw weights (steps, size, out_size), uniform as ``nn.Linear`` draws its own, for each step its own."""
    return nn.Parameter(torch.empty(steps, size, out_size).uniform_(-(size**-0.5), size**-0.5))
