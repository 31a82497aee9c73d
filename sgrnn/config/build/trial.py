"""Check of a recipe by the library's own constructors, before anything is trained."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from sgrnn.config.build.gradient import build_source, build_synthesizer, build_synthetic
from sgrnn.config.build.model import build_model
from sgrnn.config.build.problem import build_task
from sgrnn.config.gradient import SyntheticGradientsConfig
from sgrnn.config.model import ModelConfig
from sgrnn.config.recipe import Recipe
from sgrnn.config.source import AtRestartsConfig
from sgrnn.estimators import schedules
from sgrnn.estimators.mixed import Mixed


def refusals(recipe: Recipe) -> Iterator[str]:
    """Yield what the library's constructors refuse of a recipe, beginning with the dotted field to blame.

    A section's fields have the names of the constructor's arguments, with which its messages begin. What fits a
    model is tried on one of a single unit, and the random generator is put back.
    """
    if recipe.task is not None and recipe.task.kind != "mnist":  # whose images are not known here
        yield from _refusal("task", build_task, recipe, batch_size=1, seed=0)
    gradient = recipe.gradient
    if not isinstance(gradient, SyntheticGradientsConfig):
        return
    if not isinstance(gradient.source, AtRestartsConfig):  # a clock that the schedule has
        yield from _refusal("gradient.source", build_source, recipe)
    with torch.random.fork_rng(devices=[]):
        model = build_model(recipe.model_copy(update={"model": ModelConfig(hidden_size=1)}), vocabulary_size=2)
        if refused := list(_refusal("gradient.synthesizer", build_synthesizer, gradient, model)):
            yield from refused
            return
        if refused := list(_refusal("gradient", build_synthetic, gradient, model)):
            yield from refused
            return
        synthetic = build_synthetic(gradient, model)
    for options in (
        {"real_window": gradient.real_window},
        {"ground_every": gradient.ground_every, "ground_window": gradient.ground_window},
    ):
        yield from _refusal("gradient", Mixed, synthetic, schedules.Constant(), **options)


def _refusal(section: str, build: Callable[..., Any], *args: Any, **options: Any) -> Iterator[str]:
    """Yield the message with which something refuses to be built, if it does."""
    try:
        build(*args, **options)
    except ValueError as error:
        yield f"{section}.{error}"
