"""The synthesizer with a learned backward pass from each boundary to the one before it."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from sgrnn.state import State, rows
from sgrnn.synthesizers.jacobian import JacobianSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.synthesizer import Boundaries, Inject, Predictions


@dataclass(frozen=True)
class WindowJacobians:
    """The learned Jacobians of the windows that begin at R rows, and the gradient of their own losses.

    Args:
        own: (R, state_size) the output gradients of the window, carried back.
        gains: (R, vectors, vectors, state_size / vectors) of the Jacobian's part from unit to unit.
        gates: (R, rank) of its part across units.
    """

    own: Tensor
    gains: Tensor
    gates: Tensor

    def rows(self, start: int, stop: int | None) -> "WindowJacobians":
        """Return the rows from start up to stop, counted as Python slices count."""
        return WindowJacobians(self.own[start:stop], self.gains[start:stop], self.gates[start:stop])


@final
class AdjointSynthesizer(JacobianSynthesizer):
    """Predict by carrying back the next window's output gradients, and the gradient at its end, by learned Jacobians.

    With n = T, the window, and one term more than `ErrorSynthesizer`: with i the gradient that is injected at the next
    boundary,

        M(s, lookahead, i) = Σ_j  a_j * d_j  +  W_j (g_j * P_j d_j)  +  C * i  +  V (q * U i)

    so that it learns the transposed Jacobian of a window, and its predictions, made from the last boundary of a span to
    the first, are the adjoint recursion of back-propagation with learned Jacobians in the place of the core's. Output
    gradients reach back through any number of windows of the span. C has a gain for every unit and every pair of the
    state's vectors (an LSTM's cell passes its gradient on to itself and takes in that of the hidden state); gains and
    gates are read off the state and the inputs of the window.

    The target of a prediction is what the core's own Jacobian makes of the same i: M is never trained on what it
    predicted itself, and there is no bootstrap to diverge. It stays linear in the output gradients (docs/algorithm.md).

    Args:
        state_size, output_size, feature_size, hidden_size, rank, projection: as `JacobianSynthesizer`.
        window: T, that of the estimator.
        near: steps of the window whose inputs are read, and whose Jacobians depend on them; None for all.
        aligned_size: as `JacobianSynthesizer`; where it is not all of the state, C has a gain for every unit alone.
    """

    def __init__(
        self,
        state_size: int,
        output_size: int,
        feature_size: int,
        *,
        window: int,
        hidden_size: int = 128,
        rank: int = 32,
        projection: int = 32,
        near: int | None = None,
        aligned_size: int | None = None,
    ) -> None:
        super().__init__(
            state_size, output_size, feature_size, lookahead=window, hidden_size=hidden_size, rank=rank,
            projection=projection, near=window if near is None else near, aligned_size=aligned_size,
        )  # fmt: skip
        self.window = window
        self.vectors = 1 if self.others else self.repeats
        gains = self.vectors * state_size
        self.next_gain = nn.Parameter(torch.zeros(hidden_size, gains))
        self.next_gain_bias = nn.Parameter(torch.zeros(gains))
        self.next_gate = nn.Linear(hidden_size, rank)
        nn.init.ones_(self.next_gate.bias)
        self.next_projection = nn.Linear(state_size, rank, bias=False)
        self.next_last = nn.Linear(rank, state_size, bias=False)
        nn.init.zeros_(self.next_last.weight)

    def forward(self, state: State, lookahead: Lookahead | None = None, following: Tensor | None = None) -> Tensor:
        """Predict the gradient at the state, for each of R rows.

        Args:
            state: R rows.
            lookahead: the steps of their windows, with output gradients.
            following: (R, state_size) the gradient that is injected at the windows' ends, in units of the target
                scale; None for nothing.

        Returns:
            (R, 1, state_size), in the same units.
        """
        assert lookahead is not None, "a synthesizer with a lookahead is called with one"
        jacobians = self.jacobians(state, lookahead)
        return (jacobians.own if following is None else self.carry(jacobians, following)).unsqueeze(1)

    def jacobians(self, state: State, lookahead: Lookahead) -> WindowJacobians:
        """Compute the learned Jacobians of R windows, and their own output gradients carried back by them."""
        hidden = self.read(state, lookahead)
        last = hidden[-1]  # it has seen the state and the inputs of the whole window
        gains = torch.addmm(self.next_gain_bias, last, self.next_gain)
        gains = gains.unflatten(1, (self.vectors, self.vectors, -1))
        return WindowJacobians(self.carry_back(hidden, lookahead), gains, self.next_gate(last))

    def carry(self, jacobians: WindowJacobians, following: Tensor) -> Tensor:
        """Predict (R, state_size) from the gradients (R, state_size) that arrive at the windows' ends."""
        arriving = following.unflatten(1, (1, self.vectors, -1))
        unit_to_unit = (jacobians.gains * arriving).sum(dim=2).flatten(1)
        return jacobians.own + unit_to_unit + self.next_last(jacobians.gates * self.next_projection(following))

    def predict(self, at: Boundaries, scale: Tensor, inject: Inject) -> Predictions:
        """Predict from the last boundary to the first, knowing what is injected at the one that follows each.

        See `Synthesizer.predict`.
        """
        assert at.lookahead is not None, "a synthesizer with a lookahead is called with one"
        size = at.batch_size
        jacobians = self.jacobians(at.states, at.lookahead)
        windows = len(jacobians.own) // size - 1
        after: list[Tensor] = []
        injected: list[Tensor] = []
        with torch.no_grad():
            following = torch.zeros_like(jacobians.own[:size])
            for boundary in reversed(range(1, windows + 1)):
                start, stop = boundary * size, (boundary + 1) * size
                continuing = None if at.continuing is None else at.continuing[start:stop]
                if at.unbroken is not None and boundary < windows:
                    following = following * at.unbroken[start:stop]
                after.append(self.carry(jacobians.rows(start, stop), following))
                if continuing is not None:
                    after[-1] = after[-1] * continuing.unsqueeze(1)
                injected.append(inject(scale * after[-1], rows(at.states, start, stop), continuing))
                following = (injected[-1] / scale.clamp(min=1e-30)).to(following)
        return Predictions(torch.cat(injected[::-1]), torch.cat(after[::-1]), jacobians.rows(0, windows * size))

    def trainable(self, predictions: Predictions, at: Boundaries, scale: Tensor, arrived: Tensor | None) -> Tensor:
        """Predict again, with a graph, from the gradients that crossed windows' ends; see `Synthesizer.trainable`."""
        assert arrived is not None, "windows are chained by the gradients that crossed their ends"
        following = arrived / scale.clamp(min=1e-30)
        if at.unbroken is not None:
            following = following * at.unbroken
        return self.carry(predictions.trainable, following).unsqueeze(1)
