"""Whether the synthetic gradients are any good: against the true gradient, and against other policies.

Each figure has a function that takes policy, model, loss, consecutive spans with their future, and the state before
them, as `Policy.backward` does, and leaves all of them as they were. Figures come with standard errors.
"""

from sgrnn.diagnostics.alignment import INJECTED, PREDICTED, Alignment, measure_alignment
from sgrnn.diagnostics.bias import Bias, measure_bias, stretch
from sgrnn.diagnostics.estimates import Estimate
from sgrnn.diagnostics.health import Health, measure_health
from sgrnn.diagnostics.horizon import policy_horizon, true_horizon
from sgrnn.diagnostics.parts import state_parts
from sgrnn.diagnostics.truth import block_ends

__all__ = [
    "INJECTED",
    "PREDICTED",
    "Alignment",
    "Bias",
    "Estimate",
    "Health",
    "block_ends",
    "measure_alignment",
    "measure_bias",
    "measure_health",
    "policy_horizon",
    "state_parts",
    "stretch",
    "true_horizon",
]
