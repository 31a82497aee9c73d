"""The diagnosis of a run, at its best checkpoint or while it trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sgrnn.analysis.plain_metrics import alignment_metrics, bias_metrics, health_metrics, plain
from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.gradient import CheckpointedConfig, DecoupledConfig, OnlineConfig
from sgrnn.diagnostics import (
    block_ends,
    measure_alignment,
    measure_bias,
    measure_health,
    recovered_loss,
    stretches,
)
from sgrnn.errors import InputError, quoted
from sgrnn.estimators.delayed import undelayed
from sgrnn.span import Span
from sgrnn.training.averaging import load_training
from sgrnn.training.best import Trained, open_trained
from sgrnn.training.diagnosis import spans_ahead
from sgrnn.training.kept import keep, kept
from sgrnn.training.problems.opening import problem_of
from sgrnn.training.run import Run
from sgrnn.training.threads import threads_for

FILE = "diagnosis.json"
_RECOVERED = 40  # spans, each run several times


def has_boundaries(run: Run) -> bool:
    """Tell whether a run's gradients cross boundaries in time, which are what a diagnosis looks at."""
    return not isinstance(run.recipe.gradient, OnlineConfig | DecoupledConfig)


def diagnose(run: Run, folder: Path, *, horizon: int, spans: int) -> dict[str, Any]:
    """Measure all metrics at a run's best checkpoint, on the spans that it would have trained on next.

    Args:
        run: the run.
        folder: the data folder.
        horizon: steps ahead that the true gradient is followed.
        spans: how many are averaged.

    Returns:
        Plain numbers, lists and dicts, as they are written to RUN/diagnosis.json. A metric with a standard error is
        ``{"value": ..., "error": ...}``; NaN is None.

    Raises:
        InputError: there is no checkpoint, it is not that of the run, or the metrics cannot be measured on so few.
    """
    if not has_boundaries(run):
        kind = run.recipe.gradient.kind
        raise InputError(f"{run.folder}: gradient.kind {kind} has no boundaries, which are what a diagnosis looks at")
    trained = open_trained(run, problem_of(run, folder))
    with threads_for(run.recipe, trained.problem.build_model):
        return _measure(trained, horizon, spans)


def _measure(trained: Trained, horizon: int, spans: int) -> dict[str, Any]:
    run, problem, model = trained.run, trained.problem, trained.model
    estimator = build_estimator(run.recipe, model, problem.updates_per_epoch)
    saved = trained.checkpoint.load_state(torch.device("cpu"))
    problem.start(estimator.lookahead)
    try:
        load_training(model, saved.get("average"))  # the weights beside which the synthesizer has learned
        estimator.load_state_dict(saved["estimator"])
        problem.load_state_dict(saved)
        state = saved["state"]
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise trained.checkpoint.of_another_version(error) from None
    estimator = undelayed(estimator)
    if horizon > (steps := sum(span.steps for span in spans_ahead(problem, spans, estimator.lookahead, 0))):
        raise InputError(f"--horizon must be at most {steps:,}, the steps of {spans:,} spans, got {horizon:,}")
    drawn = spans_ahead(problem, spans, estimator.lookahead, horizon)
    windows = comparison_windows(sum(span.steps for span in _first_stretch(drawn, horizon)), own_window(run))
    try:  # first, as it alone may refuse
        bias = measure_bias(estimator, drawn, state, horizon=horizon, windows=windows)
        if between := bias.windows_around():
            nearer = measure_bias(estimator, drawn, state, horizon=horizon, windows=between)
            bias = bias.joined(nearer)
    except ValueError as error:
        raise InputError(f"--spans is too small: {error}") from None
    alignment = measure_alignment(estimator, drawn, state, lags=block_ends(horizon))
    health = measure_health(estimator, drawn, state)
    metrics: dict[str, Any] = {
        "update": trained.checkpoint.progress["update"],
        "horizon": horizon,
        "spans": spans,
        "alignment": alignment_metrics(alignment),
        "bias": bias_metrics(bias),
        "health": health_metrics(health),
    }
    if estimator.predicts and drawn[0].batch_size > 1:  # it compares rows with their neighbors
        recovered = recovered_loss(estimator, drawn[:_RECOVERED], state, horizon=horizon)
        metrics["recovered"] = plain(recovered)
    return metrics


def write_diagnosis(run: Run, metrics: dict[str, Any]) -> Path:
    """Write the metrics of a diagnosis to the run folder.

    Raises:
        InputError: they cannot be written.
    """
    return keep(run, FILE, metrics, training=False)


def read_diagnosis(run: Run) -> dict[str, Any] | None:
    """Return the metrics that `write_diagnosis` wrote to the run folder; None if there are none.

    Raises:
        InputError: the file is damaged.
    """
    measured = ("alignment", "bias", "health")
    return kept(run, FILE, f"write it again with `sgrnn diagnose {quoted(run.folder)}`", measured) or None


def own_window(run: Run) -> int | None:
    """Return T of a run's estimator; None for full back-propagation through the span."""
    gradient = run.recipe.gradient
    return None if isinstance(gradient, CheckpointedConfig) else getattr(gradient, "window", None)


def comparison_windows(steps: int, own: int | None) -> list[int]:
    """Return windows of plain truncation to compare with: divisors of so many steps, and the estimator's own.

    >>> comparison_windows(60, own=4)
    [1, 2, 3, 4, 5, 10, 15, 30, 60]
    >>> comparison_windows(7, own=None), comparison_windows(1, own=1)
    ([1, 7], [1])
    """
    windows = [1]
    for window in range(2, steps + 1):
        if steps % window == 0 and (window >= 1.4 * windows[-1] or window == steps):
            windows.append(window)
    return sorted({*windows, *([own] if own is not None and own < steps else [])})


def _first_stretch(spans: Sequence[Span], horizon: int) -> list[Span]:
    return next(stretches(spans, horizon), list(spans))
