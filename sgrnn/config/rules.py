"""Rules between the sections of a recipe, which no section can check by itself.

Rules of the library's own, such as windows that are multiples of others, are not written here again: its constructors
are asked (`sgrnn.config.build.trial`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sgrnn.config.gradient import (
    DecoupledConfig,
    ExactAheadConfig,
    OnlineConfig,
    SyntheticGradientsConfig,
    TruncatedBPTTConfig,
)
from sgrnn.config.optimization import WarmRestartsConfig
from sgrnn.config.section import Section
from sgrnn.config.source import AlternateConfig, AtRestartsConfig, ConstantSourceConfig, RampConfig
from sgrnn.config.tasks import MnistConfig
from sgrnn.config.text_rules import text_contradictions, unused_fractions

if TYPE_CHECKING:
    from sgrnn.config.recipe import Recipe

_SEEDS = 2**32 - 2  # how many there are


def contradictions(recipe: "Recipe", new: bool) -> Iterator[str]:
    """Yield a message for each rule that the sections break together, beginning with the dotted field to blame.

    Args:
        recipe: the recipe.
        new: whether a run is to begin by it.
    """
    yield from text_contradictions(recipe)
    if new:
        yield from _refused_by_now(recipe)
    epochs, schedule = recipe.training.epochs, recipe.schedule
    if isinstance(schedule, WarmRestartsConfig) and schedule.period >= epochs:
        yield (
            f"schedule.period must be below training.epochs, {epochs}, or there is no restart: got "
            f"{schedule.period:g}; without restarts it is kind: cosine"
        )
    gradient = recipe.gradient
    yield from _feedforward_goes_together(recipe)
    if isinstance(gradient, ExactAheadConfig | OnlineConfig):
        yield from _steps_run_again(recipe)
    if isinstance(gradient, TruncatedBPTTConfig) and gradient.every is not None:
        yield from _windows_overlap(recipe, gradient.every)
    if isinstance(gradient, SyntheticGradientsConfig):
        yield from _true_share_stands_alone(recipe, gradient)
        yield from _source_takes_turns(recipe, gradient)
        yield from _windows_fit(recipe, gradient)
        yield from _delay_fits(recipe, gradient)
    if _asks_for_more(recipe.gradient, "synthesizer") or (recipe.task is not None and _asks_for_more(recipe.task)):
        from sgrnn.config.build.trial import refusals  # loads torch, which most recipes can be checked without

        yield from refusals(recipe)


def _refused_by_now(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each value that runs of before may have, which does not do what it says."""
    if recipe.data is not None:
        yield from unused_fractions(recipe.data)
    gradient, span, seed = recipe.gradient, recipe.span, recipe.training.seed
    window = getattr(gradient, "window", None)
    across = any(getattr(gradient, name, None) is not None for name in ("every", "delay"))
    longer = recipe.training.varying_span is not None  # some spans are
    if window is not None and span is not None and window > span and not (across or longer):
        yield f"gradient.window must be at most training.span, {span}, with which a window ends, got {window}"
    if seed >= _SEEDS:
        yield (
            f"training.seed must be below {_SEEDS}, of which a CPU takes 32 bits, and the last two are for what tasks "
            f"are scored on, got {seed}"
        )


def _asks_for_more(section: Section, *others: str) -> bool:
    """True where an option of a section is not its default, besides those named: defaults fit all that is required."""
    optional = {name: field for name, field in type(section).model_fields.items() if not field.is_required()}
    return any(getattr(section, name) != field.default for name, field in optional.items() if name not in others)


def _feedforward_goes_together(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each field that does not fit a feed-forward network, or decoupled gradients without one."""
    model, gradient, task = recipe.model, recipe.gradient, recipe.task
    by_image = isinstance(task, MnistConfig) and task.by == "image"
    if not isinstance(gradient, DecoupledConfig):
        if model.core == "feedforward":
            yield (
                "gradient.kind must be decoupled for model.core feedforward, which carries no state from one step to "
                f"the next, got {gradient.kind}"
            )
        return
    if model.core != "feedforward":
        yield f"model.core must be feedforward for gradient.kind decoupled, got {model.core}"
    if not by_image:
        found = (
            "a text" if task is None else f"{task.kind} by {task.by}" if isinstance(task, MnistConfig) else task.kind
        )
        yield f"task must be mnist by image for gradient.kind decoupled, which reads all in one step, got {found}"
    waits = gradient.feedback.kind in ("backprop", "alignment")
    if gradient.update_probability < 1 and waits:
        yield (
            f"gradient.update_probability must be 1 for gradient.feedback.kind {gradient.feedback.kind}, which waits "
            f"for the next layer's gradient, got {gradient.update_probability:g}"
        )
    if recipe.training.batch_size < 2:
        yield "training.batch_size must be at least 2 for model.core feedforward, whose batch norms need it, got 1"
    for field, is_set in (
        ("model.slower_levels", bool(model.slower_levels)),
        ("model.initial_range", model.initial_range is not None),
        ("training.core_precision", recipe.training.core_precision != "float32"),
        ("training.diagnosis", recipe.training.diagnosis is not None),
    ):
        if is_set:
            yield f"{field} says nothing of a feed-forward network: remove it"
    if recipe.optimizer.kind == "muon" and model.core == "feedforward":
        yield "optimizer.kind must be sgd, adam or adamw for model.core feedforward, without recurrent layers, got muon"
    if recipe.average is not None:
        yield (
            "average must be null for model.core feedforward, whose batch norms know the statistics of the weights in "
            f"training alone, got kind {recipe.average.kind}"
        )


def _steps_run_again(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each option that estimators which run the model's steps twice cannot support."""
    kind = recipe.gradient.kind
    exact = isinstance(recipe.gradient, ExactAheadConfig)
    remedy = " unless model.locked_dropout is true" if exact else ""
    for name, rate in recipe.model.drops(again=exact).items():
        yield (
            f"model.{name} must be 0 for gradient.kind {kind}, which runs the model again and would draw other masks"
            f"{remedy}, got {rate}"
        )
    for place, level in enumerate(recipe.model.slower_levels):
        if level.interface and isinstance(recipe.gradient, OnlineConfig):
            yield (
                f"model.slower_levels.{place}.interface must be false for gradient.kind {kind}, which carries "
                "sensitivities through every level, got true"
            )


def _windows_overlap(recipe: "Recipe", every: int) -> Iterator[str]:
    """Yield a message for each field that does not fit windows of which the next begins before the last has ended."""
    if recipe.span != every:
        span = "a whole episode" if recipe.span is None else recipe.span
        yield f"training.span must be gradient.every, {every}, the steps between two updates, got {span}"
    for place, level in enumerate(recipe.model.slower_levels):
        if level.interface:
            yield (
                f"model.slower_levels.{place}.interface must be false with gradient.every, which sends each message "
                "again and answers a part of it each time, got true"
            )


def _source_takes_turns(recipe: "Recipe", gradient: SyntheticGradientsConfig) -> Iterator[str]:
    """Yield a message for each source of the gradient that would never change during the run."""
    source, training = gradient.source, recipe.training
    if isinstance(source, AtRestartsConfig) and not isinstance(recipe.schedule, WarmRestartsConfig):
        yield (
            f"gradient.source.kind restarts needs schedule.kind to be restarts, got {recipe.schedule.kind}: there is "
            "no restart to change at; alternate has a clock of its own"
        )
    if isinstance(source, AlternateConfig | RampConfig):
        name, first = ("every", source.every) if isinstance(source, AlternateConfig) else ("start", source.start)
        field = "epochs" if source.unit == "epochs" else "max_updates"
        limit = getattr(training, field)
        if limit is not None and first >= limit:
            yield (
                f"gradient.source.{name} must be below training.{field}, {limit}, or nothing ever changes: got "
                f"{first:g}"
            )
    if isinstance(source, AlternateConfig) and source.unit == "updates" and source.every != int(source.every):
        yield f"gradient.source.every must be a whole number of updates, got {source.every:g}"


def _true_share_stands_alone(recipe: "Recipe", gradient: SyntheticGradientsConfig) -> Iterator[str]:
    """Yield a message for each field beside a share of true gradients that leaves them without a meaning."""
    if gradient.true_share is None:
        return
    for name, rate in recipe.model.drops().items():
        yield (
            f"model.{name} must be 0 for gradient.true_share, which runs rows again and would draw other masks, got "
            f"{rate}"
        )
    for place, level in enumerate(recipe.model.slower_levels):
        if level.interface:
            yield (
                f"model.slower_levels.{place}.interface must be false for gradient.true_share, which sends messages "
                "of drawn rows again, got true"
            )
    for name in ("source", "ground_every"):
        if getattr(gradient, name) != type(gradient).model_fields[name].default:
            yield f"gradient.true_share corrects synthetic gradients in every span: remove it, or gradient.{name}"


def _windows_fit(recipe: "Recipe", gradient: SyntheticGradientsConfig) -> Iterator[str]:
    """Yield a message for each window of real or grounded gradients that exceeds a span or is never used."""
    for name, kind, never in (("real_window", "real", 1.0), ("ground_window", "synthetic", 0.0)):
        window = getattr(gradient, name)
        if window is None:
            continue
        if recipe.span is not None and window > recipe.span:
            yield f"gradient.{name} must be at most training.span, {recipe.span}, got {window}"
        if gradient.source == ConstantSourceConfig(share=never):
            yield f"gradient.{name} is for {kind} gradients, and gradient.source says there are none: remove it"


def _delay_fits(recipe: "Recipe", gradient: SyntheticGradientsConfig) -> Iterator[str]:
    """Yield a message for each option that gradients which come late cannot honour."""
    if gradient.delay is None:
        return
    if recipe.span != gradient.window:
        yield (
            f"training.span must be gradient.window, {gradient.window}, with gradient.delay, or null, got "
            f"{recipe.span or 'a whole episode'}"
        )
    for name, rate in recipe.model.drops().items():
        yield (
            f"model.{name} must be 0 with gradient.delay, which runs windows again and would draw other masks, got "
            f"{rate}"
        )
    for place, level in enumerate(recipe.model.slower_levels):
        if level.interface:
            yield f"model.slower_levels.{place}.interface must be false with gradient.delay, got true"
    if gradient.ahead == "targets":
        yield "gradient.ahead must be model or null with gradient.delay, which waits for the steps ahead, got targets"
    unfit = (
        "run_ahead", "ground_every", "ground_window", "real_window", "source", "trace_decay", "parallel",
        "low_memory", "true_share",
    )  # fmt: skip
    for name in unfit:
        if getattr(gradient, name) != type(gradient).model_fields[name].default:
            yield (
                f"gradient.{name} is of no use with gradient.delay, with which a span is one window and nothing is run "
                "ahead: remove one"
            )
