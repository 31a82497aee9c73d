"""Gradient estimators: each runs a span and fills the gradients of the parameters, with a choice of what crosses
boundaries backwards.

Every estimator is made with a model and its loss, and has one method, ``backward(span, state=None) -> Step``, which
runs one span, fills the gradients of the model's parameters (and of the estimator's own, if it has any), and returns
the state to go on from. It steps no optimizer: that is the training loop's.

`model(inputs, state) -> (outputs, state)` is any module, a bare ``torch.nn.LSTM`` too; its outputs are a tensor or a
nest of tensors, time first. `loss(outputs, targets)` gives one loss per step and row, (time, batch); the objective is
their mean. It sees of the model's computation the outputs alone: what it regularizes of the activations must be among
them. `Boundary` is for loops that go backwards by themselves.
"""

from sgrnn.estimators import schedules
from sgrnn.estimators.boundary import Boundary
from sgrnn.estimators.checkpointed import Checkpointed
from sgrnn.estimators.control_variate import ControlVariate
from sgrnn.estimators.delayed import Delayed
from sgrnn.estimators.estimator import BoundaryGradients, GradientEstimator, Step
from sgrnn.estimators.exact_ahead import ExactAhead
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.objective import Loss
from sgrnn.estimators.synthetic import SyntheticGradients
from sgrnn.estimators.truncated import BPTT, TruncatedBPTT

__all__ = [
    "BPTT",
    "Boundary",
    "BoundaryGradients",
    "Checkpointed",
    "ControlVariate",
    "Delayed",
    "ExactAhead",
    "GradientEstimator",
    "Loss",
    "Mixed",
    "Step",
    "SyntheticGradients",
    "TruncatedBPTT",
    "schedules",
]
