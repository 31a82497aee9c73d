"""Each metric stands under its own name: alignment, bias and health as plain numbers that are those of the library."""

from typing import Any

import torch

from sgrnn.analysis.plain_metrics import alignment_metrics, bias_metrics, health_metrics, numbers, plain
from sgrnn.diagnostics import Alignment, Bias, Estimate, Health, estimator_horizon, true_horizon


def random_grams(*shape: int) -> torch.Tensor:
    """Inner products of random vectors, so that no two metrics are equal."""
    vectors = torch.randn(*shape, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    return vectors @ vectors.mT


def test_alignment() -> None:
    alignment = Alignment([1, 3, 4], ["all", "hidden"], random_grams(5, 2, 5), torch.ones(5))
    assert alignment_metrics(alignment) == {
        "lags": [1, 3, 4],
        "parts": ["all", "hidden"],
        "injected": {
            "cosine": plain(alignment.cosine()),
            "r2": plain(alignment.r2()),
            "norm_ratio": plain(alignment.norm_ratio()),
            "share_by_lag": plain(alignment.share_by_lag()),
            "horizon": plain(estimator_horizon(alignment)),
        },
        "norms": plain(alignment.norms()),
        "true_horizon": plain(true_horizon(alignment)),
    }


def test_bias() -> None:
    grams = random_grams(9, 4)  # of 9 vectors in 4 groups: one reference, two contenders' errors
    reference, errors = grams[:2], torch.stack([grams[2:4], grams[4:6], grams[6:8] / 9])
    bias = Bias(["all", "weight"], [1, 5], reference, errors, errors / 7, torch.tensor([2.0, 3.0]).double(), 4, 8)
    metrics = bias_metrics(bias)
    window = metrics.pop("equivalent_window")
    assert window == {
        **plain(bias.equivalent_window()),
        "outside": bias.outside(),
        "text": bias.equivalent_window_text(),
    }
    assert metrics == {
        "contenders": ["estimator", "T=1", "T=5"],
        "windows": [1, 5],
        "tensors": ["all", "weight"],
        "relative_error": plain(bias.relative_error()),
        "cosine": plain(bias.cosine()),
        "cosine_outside": bias.cosine_outside().tolist(),
        "noise_ratio": numbers(bias.noise_ratio()),
        "updates_to_show": numbers(bias.updates_to_show()),
        "updates": 8,
    }


def test_health_and_what_is_not_finite() -> None:
    estimates: Any = [Estimate(torch.tensor([float(number)]), torch.tensor([number / 8])) for number in range(1, 5)]
    assert health_metrics(Health(["all"], *estimates)) == {
        "parts": ["all"],
        "norm": {"value": [1.0], "error": [0.125]},
        "size": {"value": [2.0], "error": [0.25]},
        "common": {"value": [3.0], "error": [0.375]},
        "radial": {"value": [4.0], "error": [0.5]},
    }
    estimate = Estimate(torch.tensor([[1.0, torch.nan]]), torch.tensor([[torch.inf, 0.5]]))
    assert plain(estimate) == {"value": [[1.0, None]], "error": [[None, 0.5]]}
