"""Fields that may change in the recipe of a run that goes on, and the reasons why others may not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sgrnn.config.gradient import SyntheticGradientsConfig
from sgrnn.config.recipe import Recipe
from sgrnn.config.source import AtRestartsConfig
from sgrnn.errors import quoted

_NEW_RUN = "begin a new run"
_FROM_WEIGHTS = "begin a new run, from these weights with --model.start_from"

_KEPT = {
    "data.tokenizer": ("the tokens are those that the run began with", _FROM_WEIGHTS),
    "data.reset": ("the model has learned to begin where the state was reset", _FROM_WEIGHTS),
    "data.separator": ("the model has learned to begin where the state was reset", _FROM_WEIGHTS),
    "task": ("it is what the run learns", _NEW_RUN),
    "model": ("the saved weights are those of this model", _NEW_RUN),
    "gradient": ("what was logged and saved is of this estimator", _FROM_WEIGHTS),
    "optimizer": ("the saved running means are of this optimizer", _FROM_WEIGHTS),
    "synthesizer_optimizer": ("the saved running means are of this optimizer", _FROM_WEIGHTS),
    "average": ("the evaluations so far are of weights that were averaged so", _FROM_WEIGHTS),
    "training.batch_size": ("the state that is carried has so many rows", _FROM_WEIGHTS),
    "training.span": ("the place in the data is counted in spans", _FROM_WEIGHTS),
    "training.varying_span": ("the place in the data is counted in spans", _FROM_WEIGHTS),
    "training.seed": ("what was drawn so far came from it", _FROM_WEIGHTS),
}
"""Fields and sections that stay, each with the reason and the remedy. All others may change: how long to train, what to
log and to keep, on which machine, where the same text lies, what limits a gradient."""

_MAY_CHANGE = (
    "gradient.parallel",
    "gradient.low_memory",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "synthesizer_optimizer.learning_rate",
    "synthesizer_optimizer.weight_decay",
)
"""Fields that may change within what stays: they are a matter of speed, or read anew at every update."""


def changes(before: Recipe, now: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the fields in which two recipes differ by dotted name, with both values as YAML would have them.

    Where the kind of a section differs, its `kind` stands for the section.
    """
    return dict(_differences(before.model_dump(mode="json"), now.model_dump(mode="json")))


def refusals(before: Recipe, now: Recipe, run: Path) -> Iterator[str]:
    """Yield a message for each field that differs although a run that goes on must keep it.

    Args:
        before: by which it was trained.
        now: by which it is to go on.
        run: its folder.
    """
    kept = dict(_KEPT)
    if isinstance(before.gradient, SyntheticGradientsConfig) and isinstance(before.gradient.source, AtRestartsConfig):
        kept["schedule"] = ("gradient.source changes at its restarts", _FROM_WEIGHTS)
    for field, (old, new) in changes(before, now).items():
        place = next((place for place in kept if field == place or field.startswith(f"{place}.")), None)
        if place is not None and field not in _MAY_CHANGE:
            reason, remedy = kept[place]
            if remedy == _FROM_WEIGHTS:
                remedy = _NEW_RUN if before.data is None else f"{remedy}={quoted(run)}"  # a task has no start_from
            yield f"{field} must stay {_written(old)} in a run that goes on, got {_written(new)}: {reason}; {remedy}"


def told(before: Recipe, now: Recipe) -> str:
    """Return the fields in which two recipes differ for a person: "training.epochs 20 (before: 10)"; empty for none."""
    differing = changes(before, now).items()
    return ", ".join(f"{field} {_written(new)} (before: {_written(old)})" for field, (old, new) in differing)


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], section: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    if before.get("kind") != now.get("kind"):
        yield f"{section}kind", (before.get("kind"), now.get("kind"))
        return
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{section}{name}.")
        elif old != new:
            yield f"{section}{name}", (old, new)


def _written(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
