"""What the diagnostics say of a run, at its best checkpoint or while it trains."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from sgrnn.analysis.contrast import contrast, memory_metrics
from sgrnn.analysis.numbers import numbers, plain
from sgrnn.config.build import build_estimator
from sgrnn.data.atomic import atomic_write
from sgrnn.diagnostics import (
    INJECTED,
    PREDICTED,
    Alignment,
    Bias,
    Health,
    block_ends,
    estimator_horizon,
    measure_alignment,
    measure_bias,
    measure_health,
    recovered_loss,
    stretch,
    true_horizon,
)
from sgrnn.errors import InputError
from sgrnn.estimators import SyntheticGradients
from sgrnn.estimators.mixed import Mixed
from sgrnn.span import Span
from sgrnn.training.best import Trained, open_trained
from sgrnn.training.diagnosis import spans_ahead
from sgrnn.training.run import Run
from sgrnn.training.threads import threads_for

FILE = "diagnosis.json"
_RECOVERED = 40  # spans, each run several times


def diagnose(run: Run, folder: Path, *, horizon: int, spans: int, against: Run | None = None) -> dict[str, Any]:
    """Measure all figures at a run's best checkpoint, on the spans that it would have trained on next.

    Args:
        run: the run.
        folder: the data folder.
        horizon: steps ahead that the true gradient is followed.
        spans: how many are averaged.
        against: another run on the same text, to say where this one is better and how alike they are.

    Returns:
        Plain numbers, lists and dicts, as they are written to RUN/diagnosis.json. A figure with a standard error is
        ``{"value": ..., "error": ...}``; NaN is None.

    Raises:
        InputError: there is no checkpoint, it is not that of the run, or the figures cannot be measured on so few.
    """
    trained = open_trained(run, folder)
    with threads_for(run.recipe, trained.problem.build_model):
        return _measure(trained, folder, horizon, spans, against)


def _measure(trained: Trained, folder: Path, horizon: int, spans: int, against: Run | None) -> dict[str, Any]:
    run, problem, model = trained.run, trained.problem, trained.model
    contrasted = None if against is None else contrast(trained, open_trained(against, folder))
    estimator = build_estimator(run.recipe, model, problem.updates_per_epoch)
    saved = trained.checkpoint.load_state(torch.device("cpu"))
    problem.start(estimator.lookahead)
    try:
        estimator.load_state_dict(saved["estimator"])
        problem.load_state_dict(saved)
        state = saved["state"]
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{trained.checkpoint.folder / 'state.pt'} was written by another version: {error}") from None
    drawn = spans_ahead(problem, spans, estimator.lookahead, horizon)
    alignment = measure_alignment(estimator, model, model.loss, drawn, state, lags=block_ends(horizon))
    health = measure_health(estimator, model, model.loss, drawn, state)
    windows = comparison_windows(sum(span.steps for span in _first_stretch(drawn, horizon)), own_window(run))
    try:
        bias = measure_bias(estimator, model, model.loss, drawn, state, horizon=horizon, windows=windows)
        if between := bias.windows_around():
            nearer = measure_bias(estimator, model, model.loss, drawn, state, horizon=horizon, windows=between)
            bias = bias.joined(nearer)
    except ValueError as error:
        raise InputError(f"--spans is too small: {error}") from None
    found = {
        "update": trained.checkpoint.progress["update"],
        "horizon": horizon,
        "spans": spans,
        "alignment": alignment_metrics(alignment),
        "bias": bias_metrics(bias),
        "health": health_metrics(health),
        "probes": memory_metrics(trained),
        "against": contrasted,
    }
    if (
        isinstance(estimator, SyntheticGradients | Mixed) and drawn[0].batch_size > 1
    ):  # it compares rows with their neighbors
        recovered = recovered_loss(estimator, model, model.loss, drawn[:_RECOVERED], state, horizon=horizon)
        found["recovered"] = plain(recovered)
    return {name: metrics for name, metrics in found.items() if metrics is not None}


def write_diagnosis(run: Run, metrics: dict[str, Any]) -> Path:
    """Keep the figures in the run folder.

    Raises:
        InputError: they cannot be written.
    """
    with run.writing(FILE) as path, atomic_write(path) as file:
        file.write((json.dumps(metrics, indent=1) + "\n").encode())
    return path


def read_diagnosis(run: Run) -> dict[str, Any] | None:
    """The figures that were kept; None if there are none.

    Raises:
        InputError: the file is damaged.
    """
    path = run.folder / FILE
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; write it again with `sgrnn diagnose {run.folder}`") from None


def own_window(run: Run) -> int | None:
    """T of a run's estimator; None for full back-propagation through the span."""
    return getattr(run.recipe.gradient, "window", None)


def comparison_windows(steps: int, own: int | None) -> list[int]:
    """Windows of plain truncation to compare with: divisors of so many steps, and the estimator's own.

    >>> comparison_windows(60, own=4)
    [1, 2, 3, 4, 5, 10, 15, 30, 60]
    """
    windows = [1]
    for window in range(2, steps + 1):
        if steps % window == 0 and (window >= 1.4 * windows[-1] or window == steps):
            windows.append(window)
    return sorted({*windows, *([own] if own is not None and own < steps else [])})


def alignment_metrics(alignment: Alignment) -> dict[str, Any]:
    """Curves over the lags, by part of the state, of what is injected and of what was predicted."""
    found: dict[str, Any] = {"lags": alignment.lags, "parts": alignment.parts}
    for name, of in (("injected", INJECTED), ("predicted", PREDICTED)):
        found[name] = {
            "cosine": plain(alignment.cosine(of)),
            "r2": plain(alignment.r2(of)),
            "norm_ratio": plain(alignment.norm_ratio(of)),
            "carried": plain(alignment.carried(of)),
            "horizon": plain(estimator_horizon(alignment, of=of)),
        }
    return {**found, "norms": plain(alignment.norms()), "true_horizon": plain(true_horizon(alignment))}


def bias_metrics(bias: Bias) -> dict[str, Any]:
    """By contender and parameter."""
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
        "worth": {**plain(bias.equivalent_window()), "text": bias.worth_text()},
    }


def health_metrics(health: Health) -> dict[str, Any]:
    """By part of the state, and by gate."""
    metrics = {name: plain(getattr(health, name)) for name in ("norm", "size", "common", "radial")}
    gates = {name: {"mean": gate.mean, "closed": gate.closed, "open": gate.open} for name, gate in health.gates.items()}
    return {"parts": health.parts, **metrics, "gates": gates}


def _first_stretch(spans: Sequence[Span], horizon: int) -> list[Span]:
    return next(stretch(spans, horizon), list(spans))
