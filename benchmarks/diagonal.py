"""A linear recurrent core whose units do not meet, and its exact gradient forwards: the strongest rival on streams.

Where every unit remembers by itself, what a parameter has done to it is one number for each unit and parameter of that
unit, so that real-time recurrent learning costs hardly more than the step itself (Zucchet et al. 2023, Online learning
of long-range dependencies; the core is the linear recurrent unit of Orvieto et al. 2023, of one layer).
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrnn.estimators import GradientEstimator, Loss, Step
from sgrnn.estimators.objective import mean_loss, norms
from sgrnn.span import Span
from sgrnn.state import State


@final
class DiagonalCore(nn.Module):
    """Keep inputs in complex units that turn and decay, each at a pace of its own, and read them by a layer.

        h_t = decay h_{t-1} + gain B x_t        outputs_t = gelu(C [Re h_t, Im h_t] + D x_t)

    with |decay| = exp(-exp(log_pace)) and gain = sqrt(1 - |decay|^2). The state is (2, rows, units), the real parts and
    the imaginary.

    Args:
        input_size: features.
        hidden_size: units, and features of the outputs.
        slowest: the largest |decay| at first; the smallest is 0.4.
    """

    def __init__(self, input_size: int, hidden_size: int, slowest: float = 0.999) -> None:
        super().__init__()
        size = torch.empty(hidden_size).uniform_(0.4**2, slowest**2).sqrt()
        self.log_pace = nn.Parameter((-size.log()).log())
        self.phase = nn.Parameter(torch.empty(hidden_size).uniform_(0, math.pi / 5))
        self.into = nn.Parameter(torch.randn(2, hidden_size, input_size) / math.sqrt(2 * input_size))
        self.read, self.skip = nn.Linear(2 * hidden_size, hidden_size), nn.Linear(input_size, hidden_size, bias=False)

    def initial_state(self, batch_size: int) -> Tensor:
        """Return zeros."""
        return self.phase.new_zeros(2, batch_size, len(self.phase))

    def coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return decays and gains (units,), and B (units, features); the gains alone are real."""
        pace = self.log_pace.exp()
        return torch.polar((-pace).exp(), self.phase), (1 - (-2 * pace).exp()).sqrt(), torch.complex(*self.into)

    def outputs(self, units: Tensor, inputs: Tensor) -> Tensor:
        """Read complex units (..., units) and the inputs of their step."""
        return F.gelu(self.read(torch.cat([units.real, units.imag], dim=-1)) + self.skip(inputs))

    def forward(self, inputs: Tensor, state: State = None) -> tuple[Tensor, State]:
        units = torch.complex(*(self.initial_state(inputs.shape[1]) if state is None else state))
        (decay, gain, into), steps = self.coefficients(), []
        for drive in gain * (inputs.to(into) @ into.T):
            units = decay * units + drive
            steps.append(units)
        return self.outputs(torch.stack(steps), inputs), torch.stack([units.real, units.imag])


@final
class DiagonalRTRL(GradientEstimator):
    """Real-time recurrent learning of a `DiagonalCore`: exact, by a few numbers more for every unit and row.

    With e_w the derivative of a unit by w, e_w' = decay e_w + ∂h'/∂w. Sequences begin with the first span alone.
    """

    def __init__(self, model: DiagonalCore, loss: Loss) -> None:
        super().__init__(model, loss)
        self.influence: tuple[Tensor, Tensor, Tensor] | None = None  # of decays, of gains, of B

    def backward(self, span: Span, state: State = None) -> Step:
        """Run a span step by step; see `GradientEstimator.backward`."""
        if state is None:
            self.influence = None
        core = self.model
        assert isinstance(core, DiagonalCore), "as it was made"
        units = torch.complex(*(core.initial_state(span.batch_size) if state is None else state))
        coefficients = core.coefficients()
        decay, gain, into = (each.detach() for each in coefficients)
        none = torch.zeros_like(units)
        influence = self.influence or (none, none, units.new_zeros(*units.shape, into.shape[1]))
        steps, influences = [], []
        for inputs in span.inputs.to(into):
            drive = inputs @ into.T
            influence = (
                decay * influence[0] + units, decay * influence[1] + drive,
                decay[:, None] * influence[2] + gain[:, None] * inputs[:, None],
            )  # fmt: skip
            units = decay * units + gain * drive
            steps.append(units)
            influences.append(influence)
        self.influence = influence
        lived = torch.stack(steps).requires_grad_()
        objective = mean_loss(self.loss, core.outputs(lived, span.inputs), span)
        objective.backward()
        assert lived.grad is not None, "the outputs read the units"
        of_decay, of_gain, of_into = (torch.stack(each).conj() for each in zip(*influences, strict=True))
        gradients = [(of_decay * lived.grad).sum((0, 1)), (of_gain * lived.grad).sum((0, 1)).real]
        torch.autograd.backward(coefficients, [*gradients, (of_into * lived.grad[..., None]).sum((0, 1))])
        after = torch.stack([units.real, units.imag])
        return Step(objective.detach(), after, norms(after))
