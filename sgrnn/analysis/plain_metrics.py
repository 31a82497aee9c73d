"""The metrics of a diagnosis as plain numbers, lists and dicts, which JSON knows."""

from math import isfinite
from typing import Any

from torch import Tensor

from sgrnn.diagnostics import Alignment, Bias, Estimate, Health, estimator_horizon, true_horizon


def alignment_metrics(alignment: Alignment) -> dict[str, Any]:
    """Return curves over the lags, by part of the state, of the true gradient and of what is injected."""
    injected = {name: plain(getattr(alignment, name)()) for name in ("cosine", "r2", "norm_ratio", "share_by_lag")}
    return {
        "lags": alignment.lags,
        "parts": alignment.parts,
        "injected": {**injected, "horizon": plain(estimator_horizon(alignment))},
        "norms": plain(alignment.norms()),
        "true_horizon": plain(true_horizon(alignment)),
    }


def bias_metrics(bias: Bias) -> dict[str, Any]:
    """Return metrics of the mean parameter gradient, by contender and parameter."""
    return {
        "contenders": bias.contenders,
        "windows": bias.windows,
        "tensors": bias.tensors,
        "relative_error": plain(bias.relative_error()),
        "cosine": plain(bias.cosine()),
        "cosine_outside": bias.cosine_outside().tolist(),
        "noise_ratio": numbers(bias.noise_ratio()),
        "updates_to_show": numbers(bias.updates_to_show()),
        "updates": bias.updates,
        "equivalent_window": {
            **plain(bias.equivalent_window()),
            "outside": bias.outside(),
            "text": bias.equivalent_window_text(),
        },
    }


def health_metrics(health: Health) -> dict[str, Any]:
    """Return metrics of states and predictions, by part of the state."""
    metrics = {name: plain(getattr(health, name)) for name in ("norm", "size", "common", "radial")}
    return {"parts": health.parts, **metrics}


def plain(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as a dict of plain numbers: the metric and its standard error."""
    return {"value": numbers(estimate.value), "error": numbers(estimate.error)}


def numbers(metrics: Tensor) -> Any:
    """Return lists of numbers; None where one is not finite, which JSON does not know."""
    return _finite(metrics.tolist())


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return value if isfinite(value) else None
