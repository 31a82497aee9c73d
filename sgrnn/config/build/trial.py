"""Check of a recipe by the library's own constructors, before anything is trained."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sgrnn.config.build.gradient import build_source, build_synthesizer, build_synthetic, build_truncated
from sgrnn.config.build.model import build_model
from sgrnn.config.build.problem import build_task
from sgrnn.config.gradient import SyntheticGradientsConfig, TruncatedBPTTConfig
from sgrnn.config.model import ModelConfig
from sgrnn.config.recipe import Recipe
from sgrnn.config.source import AtRestartsConfig, ConstantSourceConfig
from sgrnn.estimators import schedules
from sgrnn.estimators.mixed import Mixed
from sgrnn.models.sequence_model import SequenceModel


def refusals(recipe: Recipe) -> Iterator[str]:
    """Yield what the library's constructors refuse of a recipe, beginning with the dotted field to blame.

    A section's fields have the names of the constructor's arguments, with which its messages begin. What fits a
    model is tried on one of a single unit, and the random generator is put back.
    """
    if recipe.task is not None and recipe.task.kind != "mnist":  # whose images are not known here
        yield from _refusal("task", build_task, recipe, batch_size=1, seed=0)
    gradient = recipe.gradient
    if not isinstance(gradient, TruncatedBPTTConfig | SyntheticGradientsConfig):
        return
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe.model_copy(update={"model": ModelConfig(hidden_size=1)}), vocabulary_size=2)
        if isinstance(gradient, TruncatedBPTTConfig):
            yield from _refusal("gradient", build_truncated, gradient, model)
        else:
            yield from _synthetic(recipe, gradient, model)


def _synthetic(recipe: Recipe, gradient: SyntheticGradientsConfig, model: SequenceModel) -> Iterator[str]:
    """Yield what the constructors of synthetic gradients refuse."""
    if not isinstance(gradient.source, AtRestartsConfig):  # a clock that the schedule has
        yield from _refusal("gradient.source", build_source, recipe)
    for section, build in (("gradient.synthesizer", build_synthesizer), ("gradient", build_synthetic)):
        if refused := list(_refusal(section, build, gradient, model)):
            yield from refused
            return
    synthetic = build_synthetic(gradient, model)
    source = schedules.Constant(1.0 if gradient.source == ConstantSourceConfig() else 0.5)  # stands for any other
    for schedule, options in (
        (source, {"real_window": gradient.real_window}),
        (schedules.Constant(), {"ground_every": gradient.ground_every, "ground_window": gradient.ground_window}),
    ):
        yield from _refusal("gradient", Mixed, synthetic, schedule, **options)


def _refusal(section: str, build: Callable[..., Any], *args: Any, **options: Any) -> Iterator[str]:
    """Yield the message with which something refuses to be built, if it does."""
    try:
        build(*args, **options)
    except ValueError as error:
        yield f"{section}.{error}"
