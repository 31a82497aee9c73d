"""Penalties on the outputs of a model, which are part of the objective that trains and not of the loss."""

from typing import final

import torch
from torch import Tensor, nn

from sgrnn.cores.locked import LockedDropout
from sgrnn.state import at_least_float32


@final
class ActivationRegularization(nn.Module):
    """Activation regularization and temporal activation regularization of a model's outputs, in training only.

    For outputs h_t and the mask m that drops out of them (Merity et al. 2017, "Revisiting activation regularization"):

        AR = activation x mean of (m h_t)²              over steps, rows and features
        TAR = temporal x mean of (h_t - h_{t-1})²       over consecutive steps of a span

    An estimator whose model holds this module adds both to the mean loss that it differentiates, and neither to the
    loss that it reports. The first step of a span, and one with which a row begins a sequence, have no difference.

    Args:
        activation: factor of AR, alpha.
        temporal: factor of TAR, beta.
        dropout: of the outputs, where the model's loss drops out of them; None for none.

    Raises:
        ValueError: a factor is negative.
    """

    def __init__(self, activation: float = 0.0, temporal: float = 0.0, dropout: LockedDropout | None = None) -> None:
        super().__init__()
        for name, factor in (("activation", activation), ("temporal", temporal)):
            if not factor >= 0:  # not a number, too
                raise ValueError(f"{name} must be at least 0, got {factor}")
        self.activation, self.temporal = activation, temporal
        self.dropout = dropout

    def forward(
        self, outputs: Tensor, before: Tensor | None = None, is_first: Tensor | None = None, steps: int | None = None
    ) -> Tensor:
        """Return the penalty of each step, (time, rows), whose mean over a span is AR + TAR.

        Args:
            outputs: (time, rows, features), before dropout.
            before: (1, rows, features) those of the step before, in the same span; None if there is none.
            is_first: (time, rows) bool, where a row begins a sequence; None for nowhere.
            steps: of the whole span; None for those of `outputs`.

        Raises:
            TypeError: the outputs are several tensors.
        """
        if not isinstance(outputs, Tensor):
            raise TypeError(f"outputs must be one tensor for a penalty on them, got a {type(outputs).__name__}")
        outputs = at_least_float32(outputs)
        penalty = outputs.new_zeros(outputs.shape[:2])
        if self.activation:
            dropped = outputs if self.dropout is None else self.dropout(outputs)
            penalty = penalty + self.activation * dropped.square().mean(dim=-1)
        if self.temporal:
            whole = torch.cat([outputs[:1] if before is None else at_least_float32(before), outputs])
            changes = whole.diff(dim=0).square().mean(dim=-1)
            if is_first is not None:
                changes = changes.where(~is_first, 0)
            steps = len(outputs) if steps is None else steps
            penalty = penalty + self.temporal * steps / max(steps - 1, 1) * changes  # a mean over one step less
        return penalty

    def extra_repr(self) -> str:
        return f"activation={self.activation}, temporal={self.temporal}"


def activation_regularization(model: nn.Module) -> ActivationRegularization | None:
    """Return the penalty on outputs that a model holds; None if there is none, or in evaluation mode."""
    for module in model.modules():
        if isinstance(module, ActivationRegularization) and module.training and (module.activation or module.temporal):
            return module
    return None
