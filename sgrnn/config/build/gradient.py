"""Building of the gradient estimator that a recipe describes."""

from torch import nn

from sgrnn.all_reduce import AllReduce
from sgrnn.config.build.decoupled import build_decoupled
from sgrnn.config.build.model import interfaces_of
from sgrnn.config.gradient import (
    BPLambdaConfig,
    BPTTConfig,
    CheckpointedConfig,
    DecoupledConfig,
    ExactAheadConfig,
    OnlineConfig,
    RTRLConfig,
    SnAp1Config,
    SyntheticGradientsConfig,
    TruncatedBPTTConfig,
    UOROConfig,
)
from sgrnn.config.optimization import WarmRestartsConfig
from sgrnn.config.rates import warm_restarts
from sgrnn.config.recipe import Recipe
from sgrnn.config.source import AlternateConfig, AtRestartsConfig, BernoulliConfig, ConstantSourceConfig, RampConfig
from sgrnn.config.synthesizers import (
    AdjointSynthesizerConfig,
    DiagonalSynthesizerConfig,
    ErrorSynthesizerConfig,
    MLPSynthesizerConfig,
)
from sgrnn.errors import InputError
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ControlVariate,
    Delayed,
    ExactAhead,
    GradientEstimator,
    SyntheticGradients,
    TruncatedBPTT,
    online,
    schedules,
)
from sgrnn.estimators.mixed import Mixed
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.synthesizers import Synthesizer

_OF_MIXED = ("source", "real_window", "ground_every", "ground_window")
_NOT_OF_SYNTHETIC = (*_OF_MIXED, "delay", "true_share")
_SHARES = {"real": 0.0, "synthetic": 1.0}


def build_estimator(
    recipe: Recipe, model: SequenceModel, updates_per_epoch: int, all_reduce: AllReduce | None = None
) -> GradientEstimator:
    """Return the gradient estimator that a recipe describes, fitting the model; it holds the interfaces in its core.

    Args:
        recipe: the recipe.
        model: the model.
        updates_per_epoch: of the problem (`sgrnn.training.problems.problem.Problem`).
        all_reduce: sums over the processes that share a batch; None for one.

    Raises:
        InputError: the estimator cannot share a batch with other processes.
    """
    require_shareable(recipe, all_reduce)
    estimator = _build_estimator(recipe, model, updates_per_epoch, all_reduce)
    interfaces = list(interfaces_of(model).values())
    for interface in interfaces:
        interface.predictor.all_reduce = all_reduce
    if interfaces:
        estimator.add_module("interfaces", nn.ModuleList(interfaces))
    return estimator


def require_shareable(recipe: Recipe, all_reduce: AllReduce | None) -> None:
    """Refuse gradients whose rows several processes cannot share out.

    Args:
        recipe: the recipe.
        all_reduce: as `build_estimator` takes it.

    Raises:
        InputError: there are several, and they cannot.
    """
    if all_reduce is None:
        return
    section, reset = recipe.gradient, "none" if recipe.data is None else recipe.data.reset
    answered = any(level.interface for level in recipe.model.slower_levels)
    carries = "carries what it knows of its rows from update to update"
    for subject, what, is_so in (
        (f"gradient.kind {section.kind}", carries, isinstance(section, OnlineConfig)),
        ("gradient.every", carries, getattr(section, "every", None) is not None),
        ("gradient.delay", carries, getattr(section, "delay", None) is not None),
        ("gradient.true_share", "draws rows of one batch", getattr(section, "true_share", None) is not None),
        ("gradient.kind decoupled", "normalizes over the rows of a process", isinstance(section, DecoupledConfig)),
        (
            f"model.slower_levels.interface with data.reset {reset}",
            "is answered where rows tick, at other steps in each process",
            answered and reset != "none",
        ),
    ):
        if is_so:
            raise InputError(f"{subject} {what}, so that it trains in one process, got several")


def _build_estimator(
    recipe: Recipe, model: SequenceModel, updates_per_epoch: int, all_reduce: AllReduce | None
) -> GradientEstimator:
    section = recipe.gradient
    match section:
        case BPTTConfig():
            return BPTT(model, model.loss)
        case CheckpointedConfig():
            return Checkpointed(model, model.loss, section.window)
        case TruncatedBPTTConfig():
            return build_truncated(section, model)
        case ExactAheadConfig():
            return ExactAhead(
                model, model.loss, section.window, section.lookahead, parallel=in_parallel(section, model)
            )
        case SyntheticGradientsConfig():
            synthetic = build_synthetic(section, model, all_reduce)
            if section.delay is not None:
                return Delayed(synthetic, section.delay)
            if section.true_share is not None:
                return ControlVariate(synthetic, section.true_share, seed=recipe.training.seed)
            source = build_source(recipe)
            if source == schedules.Constant() and section.ground_every is None:
                return synthetic
            updates = updates_per_epoch if time_unit(recipe) == "epochs" else 1
            options = {name: getattr(section, name) for name in _OF_MIXED[1:]}
            return Mixed(synthetic, source, **options, updates_per_unit=updates)
        case DecoupledConfig():
            return build_decoupled(recipe, section, model)
        case _:
            return _build_online(section, model, recipe.training.seed)


def _build_online(section: OnlineConfig, model: SequenceModel, seed: int) -> GradientEstimator:
    match section:
        case RTRLConfig():
            return online.RTRL(model, model.loss)
        case UOROConfig():
            return online.UORO(model, model.loss, seed=seed)
        case SnAp1Config():
            return online.SnAp1(model, model.loss)
        case BPLambdaConfig():
            return online.BPLambda(model, model.loss, **section.options())


def build_synthesizer(section: SyntheticGradientsConfig, model: SequenceModel) -> Synthesizer:
    """Return the synthesizer of a section `gradient`, fitting the model."""
    options = section.synthesizer.options()
    match section.synthesizer:
        case ErrorSynthesizerConfig():
            return model.synthesizer(**options)
        case DiagonalSynthesizerConfig():
            return model.diagonal_synthesizer(**options)
        case AdjointSynthesizerConfig():
            return model.adjoint_synthesizer(section.window, **options)
        case MLPSynthesizerConfig():
            return model.mlp_synthesizer(**options)


def build_truncated(section: TruncatedBPTTConfig, model: SequenceModel) -> TruncatedBPTT:
    """Return the estimator of truncated gradients of a section `gradient`."""
    options = {"every": section.every, "parallel": in_parallel(section, model), "low_memory": section.low_memory}
    return TruncatedBPTT(model, model.loss, section.window, **options)


def build_synthetic(
    section: SyntheticGradientsConfig, model: SequenceModel, all_reduce: AllReduce | None = None
) -> SyntheticGradients:
    """Return the estimator of synthetic gradients of a section `gradient`, without regard to its source."""
    options = section.options("window", "synthesizer", *_NOT_OF_SYNTHETIC)
    options["parallel"] = in_parallel(section, model)
    if section.delay is not None:
        options["ahead"] = "model"  # for a diagnosis, which looks ahead: what comes late has seen the real ones
    synthesizer = build_synthesizer(section, model)
    return SyntheticGradients(
        model, model.loss, section.window, synthesizer=synthesizer, **options, all_reduce=all_reduce
    )


def in_parallel(
    section: TruncatedBPTTConfig | ExactAheadConfig | SyntheticGradientsConfig, model: SequenceModel
) -> bool | None:
    """Return True where the windows of a span run as one batch; None for where that is faster.

    An interface is answered once for every window, or once for all where they run as one batch. Which is faster depends
    on the rows of a process, and what is learned must not.
    """
    return False if section.parallel is None and interfaces_of(model) else section.parallel


def build_source(recipe: Recipe) -> schedules.Schedule:
    """Return the share of synthetic gradients, over the time that `time_unit` counts."""
    if not isinstance(recipe.gradient, SyntheticGradientsConfig):
        return schedules.Constant(0.0)
    source = recipe.gradient.source
    match source:
        case ConstantSourceConfig():
            return schedules.Constant(**source.options())
        case AlternateConfig():
            return schedules.Alternate(schedules.WarmRestarts(source.every, source.growth), _SHARES[source.first])
        case AtRestartsConfig():
            assert isinstance(recipe.schedule, WarmRestartsConfig), "checked by the recipe"
            return schedules.Alternate(warm_restarts(recipe.schedule), _SHARES[source.first])
        case RampConfig():
            return schedules.Ramp(**source.options("unit"))
        case BernoulliConfig():
            return schedules.Bernoulli(**source.options())


def time_unit(recipe: Recipe) -> str:
    """Return what the source of a recipe's gradients counts its time in: epochs or updates."""
    source = recipe.gradient.source if isinstance(recipe.gradient, SyntheticGradientsConfig) else None
    return "updates" if isinstance(source, BernoulliConfig) else getattr(source, "unit", "epochs")
