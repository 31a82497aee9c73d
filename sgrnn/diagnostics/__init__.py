"""Whether the synthetic gradients are any good: against the true gradient, and against other estimators.

Each figure has a function that takes estimator, model, loss, consecutive spans with their future, and the state before
them, as `GradientEstimator.backward` does, and leaves all of them as they were. Figures come with standard errors.
"""

from sgrnn.diagnostics.alignment import INJECTED, PREDICTED, Alignment, measure_alignment
from sgrnn.diagnostics.bias import Bias, measure_bias, stretch
from sgrnn.diagnostics.dissimilarity import agreement, dissimilarities
from sgrnn.diagnostics.estimates import Estimate
from sgrnn.diagnostics.health import Health, measure_health
from sgrnn.diagnostics.horizon import estimator_horizon, true_horizon
from sgrnn.diagnostics.parts import state_parts
from sgrnn.diagnostics.probes import Probes, probe_memory
from sgrnn.diagnostics.recovered import recovered_loss
from sgrnn.diagnostics.truth import block_ends
from sgrnn.diagnostics.where import Difference, by_frequency, by_place, loss_difference

__all__ = [
    "INJECTED",
    "PREDICTED",
    "Alignment",
    "Bias",
    "Difference",
    "Estimate",
    "Health",
    "Probes",
    "agreement",
    "block_ends",
    "by_frequency",
    "by_place",
    "dissimilarities",
    "estimator_horizon",
    "loss_difference",
    "measure_alignment",
    "measure_bias",
    "measure_health",
    "probe_memory",
    "recovered_loss",
    "state_parts",
    "stretch",
    "true_horizon",
]
