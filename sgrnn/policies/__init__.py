"""Gradient policies: what crosses a boundary backwards when a span is trained on.

Every policy has one method, ``backward(model, loss, span, state) -> Step``, which runs one span, fills the
gradients of the model's parameters (and of the policy's own, if it has any), and returns the state to go on from.
It steps no optimizer: that is the training loop's.

`model(inputs, state) -> (outputs, state)` is any module, a bare ``torch.nn.LSTM`` too; its outputs are a tensor or a
nest of tensors, time first. `loss(outputs, targets)` gives one loss per step and row, (time, batch); the objective is
their mean. It sees of the model's computation the outputs alone: what it regularizes of the activations must be among
them.
"""

from sgrnn.objective import Loss
from sgrnn.policies.crossing import Crossing
from sgrnn.policies.exact import ExactAhead
from sgrnn.policies.policy import Policy, Step
from sgrnn.policies.synthetic import Synthetic
from sgrnn.policies.truncated import Full, Truncated

__all__ = ["Crossing", "ExactAhead", "Full", "Loss", "Policy", "Step", "Synthetic", "Truncated"]
