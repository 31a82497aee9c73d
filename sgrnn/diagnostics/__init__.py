"""Measures of a gradient estimator: against the true gradient, and against other estimators.

Each has a function that takes an estimator, consecutive spans with their future, and the state before them, and leaves
estimator, model and gradients as they were. Metrics come with standard errors.
"""

from sgrnn.diagnostics.alignment import INJECTED, PREDICTED, Alignment, measure_alignment
from sgrnn.diagnostics.bias import Bias
from sgrnn.diagnostics.dissimilarity import agreement, dissimilarities
from sgrnn.diagnostics.estimates import Estimate
from sgrnn.diagnostics.health import Health, measure_health
from sgrnn.diagnostics.horizon import estimator_horizon, true_horizon
from sgrnn.diagnostics.mean_gradients import measure_bias, stretches
from sgrnn.diagnostics.parts import state_parts
from sgrnn.diagnostics.probes import Probes, probe_memory
from sgrnn.diagnostics.recovered import recovered_loss
from sgrnn.diagnostics.truth import block_ends

__all__ = [
    "INJECTED",
    "PREDICTED",
    "Alignment",
    "Bias",
    "Estimate",
    "Health",
    "Probes",
    "agreement",
    "block_ends",
    "dissimilarities",
    "estimator_horizon",
    "measure_alignment",
    "measure_bias",
    "measure_health",
    "probe_memory",
    "recovered_loss",
    "state_parts",
    "stretches",
    "true_horizon",
]
