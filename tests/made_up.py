"""Runs that were never trained and diagnoses that were never measured, so that every number shown of them is known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sgrnn.config.files import parse_recipe
from sgrnn.training.run import Run

_TASK = """
task: {kind: copy, bits: 2}
model: {core: lstm, hidden_size: 4}
gradient: {kind: synthetic, window: 2}
training: {epochs: 2, batch_size: 3, device: cpu}
"""


def make_run(folder: Path, records: Sequence[dict[str, Any]] = (), *overrides: str) -> Run:
    """Make the folder of a run on a task, with what it would have logged."""
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Run(folder, parse_recipe(_TASK, "recipe.yaml", folder, overrides), None)


def make_records(factor: float = 1.0) -> list[dict[str, Any]]:
    """Make the record of four updates and two evaluations; every metric but R² and share goes with a factor."""
    logged = [
        {
            "update": update, "epoch": update / 2, "seconds": 10.0 * update, "loss": factor * loss / 8,
            "loss_per_target": factor * loss, "target_r2": r2, "shrinkage": 0.5, "cell_norm": factor * update,
            "injected_share": 0.1 * update, "gradient_norm": 3 * factor, "length": 4.0 + update,
        }
        for update, loss, r2 in ((1, 3.0, -0.5), (2, 2.5, 0.0), (3, 2.0, 0.25), (4, 1.5, 0.3))
    ]  # fmt: skip
    diagnosed = [{"update": 4, "epoch": 2.0, "seconds": 40.0, "true_r2": 0.2, "bias": 1.5}]
    scored = [
        {"update": update, "epoch": update / 2, "seconds": 10.0 * update, "valid_loss": factor * loss,
         "valid_accuracy": 0.5}
        for update, loss in ((2, 2.75), (4, 2.25))
    ]  # fmt: skip
    return [*logged, *diagnosed, *scored]


def make_diagnosis() -> dict[str, Any]:
    """Make a diagnosis in which no two numbers are equal that could be mistaken for each other."""

    def estimate(value: Any, error: Any) -> dict[str, Any]:
        return {"value": value, "error": error}

    return {
        "update": 1234,
        "horizon": 4,
        "spans": 30,
        "alignment": {
            "lags": [1, 2, 4],
            "parts": ["all", "hidden", "cell"],
            "injected": {
                "cosine": estimate([[0.91, 0.82, 0.73], [0.6, 0.5, 0.4], [0.3, 0.2, 0.1]], [[0.01, 0.02, 0.03]] * 3),
                "r2": estimate([[0.55, 0.44, 0.33], [0.66, 0.56, 0.46], [0.36, 0.26, -0.16]], [[0.04, 0.05, 0.06]] * 3),
                "norm_ratio": estimate([[1.1, 1.2, 1.3]] * 3, [[0.07, 0.08, 0.09]] * 3),
                "share_by_lag": estimate([[0.9, 0.5, 7.0]] * 3, [[0.1, 0.2, 4.0]] * 3),
                "horizon": estimate(1.7, 0.2),
            },
            "norms": estimate([[3.0, 2.0, 0.001]] * 3, [[0.3, 0.2, 0.1]] * 3),
            "true_horizon": estimate(3.3, 0.4),
        },
        "bias": {
            "contenders": ["estimator", "T=1", "T=2", "T=4"],
            "windows": [1, 2, 4],
            "tensors": ["all", "weight"],
            "relative_error": estimate(
                [[0.3, 0.31], [0.8, 0.81], [0.5, 0.51], [0.1, None]],
                [[0.03, 0.031], [0.08, 0.081], [0.05, 0.051], [0.01, None]],
            ),
            "cosine": estimate([[0.95, 0.9], [0.65, 0.6], [0.85, 0.8], [1.0, 1.0]], [[0.011, 0.012]] * 4),
            "cosine_outside": [[False, False], [False, False], [False, False], [True, False]],
            "noise_ratio": [4.8, 5.2],
            "updates_to_show": [[378.0, 1.0], [40.0, 1.0], [90.0, 1.0], [None, None]],
            "updates": 30,
            "equivalent_window": {**estimate(2.9, 0.1), "outside": None, "text": "worth T=2.9 ± 0.1 (between 2 and 4)"},
        },
        "health": {
            "parts": ["all", "hidden", "cell"],
            "norm": estimate([25.0, 3.0, 24.0], [0.5, 0.25, 0.75]),
            "size": estimate([0.7, 0.6, 0.2], [0.07, 0.06, 0.02]),
            "common": estimate([0.03, 0.04, 0.05], [0.003, 0.004, 0.005]),
            "radial": estimate([0.015, 0.025, 0.035], [0.001, 0.002, 0.006]),
        },
        "recovered": estimate(0.54, 0.055),
    }
