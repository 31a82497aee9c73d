"""Synthetic gradients against the true ones while a run trains, on the spans that it will learn from next."""

from math import isfinite

from sgrnn.config.training import DiagnosisConfig
from sgrnn.contract.modules import tensor_of
from sgrnn.diagnostics import measure_alignment, measure_bias, stretches
from sgrnn.estimators import GradientEstimator
from sgrnn.estimators.delayed import undelayed
from sgrnn.span import Span
from sgrnn.state import State
from sgrnn.training.problems.problem import Problem


def spans_ahead(problem: Problem, number: int, lookahead: int, horizon: int) -> list[Span]:
    """Return the next spans, each knowing its future up to a horizon; the problem stays where it is.

    Args:
        problem: started with `lookahead`.
        number: of spans.
        lookahead: steps of future that the estimator wants.
        horizon: steps of future that are wanted here.
    """
    saved = problem.state_dict()
    problem.start(max(lookahead, horizon))
    problem.load_state_dict(saved)
    spans = [problem.draw() for _ in range(number)]
    problem.start(lookahead)
    problem.load_state_dict(saved)
    return spans


def passing_metrics(
    estimator: GradientEstimator, problem: Problem, state: State, settings: DiagnosisConfig
) -> dict[str, float]:
    """Return a diagnosis of the next spans as metrics for a run's log; training goes on as if nothing had happened.

    Returns:
        `true_cosine`, `true_r2`, `true_norm_ratio` of what is injected and the true gradient as far as the horizon, for
        an estimator that predicts; and `bias`, the relative error of the mean parameter gradient. A number that
        cannot be told from noise, or has too few spans, is missing.
    """
    device = tensor_of(estimator.model).device
    looking = undelayed(estimator)
    horizon = max(looking.lookahead, settings.horizon)
    drawn = spans_ahead(problem, settings.spans, estimator.lookahead, horizon)
    estimator = looking
    spans = [span.to(device) for span in drawn]
    metrics: dict[str, float] = {}
    if estimator.predicts:
        alignment = measure_alignment(estimator, spans, state, lags=[settings.horizon])
        metrics["true_cosine"] = float(alignment.cosine().value[0, 0])
        metrics["true_r2"] = float(alignment.r2().value[0, 0])
        metrics["true_norm_ratio"] = float(alignment.norm_ratio().value[0, 0])
    if len(list(stretches(spans, settings.horizon))) > 1:
        bias = measure_bias(estimator, spans, state, horizon=settings.horizon)
        metrics["bias"] = float(bias.relative_error().value[0, 0])
    return {name: value for name, value in metrics.items() if isfinite(value)}
