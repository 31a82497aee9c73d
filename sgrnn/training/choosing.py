"""Settings of dynamic evaluation and of a neural cache, chosen on a validation text by trying a few."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import inf, isfinite
from typing import NamedTuple

from torch import Tensor

from sgrnn.data import TokenFiles
from sgrnn.errors import InputError
from sgrnn.models.cache import NeuralCache, cache_log_chances, mixed_nats
from sgrnn.models.dynamic import DynamicEvaluation, dynamic_nats, gradient_rms
from sgrnn.models.language_model import LanguageModel
from sgrnn.training.scoring import as_tensors, nats_and_outputs

RMS_GRID = {"learning_rate": (2e-5, 5e-5, 1e-4), "decay": (1e-3, 2e-3, 5e-3)}
"""Settings of dynamic evaluation in windows of five steps; in longer ones they are larger in proportion."""

SGD_GRID = {"learning_rate": (0.03, 0.1, 0.3), "decay": (0.0, 1e-3, 5e-3)}
"""Settings of its SGD form, likewise."""

CACHE_GRID = {"flatness": (0.1, 0.3, 1.0, 3.0), "size": (100, 500, 2000), "weight": (0.05, 0.1, 0.2, 0.3)}
"""Settings of a neural cache."""

_WINDOW = 5  # of the grids of dynamic evaluation

_MOST_DECAY = 0.9  # that a grid has

_BEYOND = 4  # values tried at most past the ends of a grid


class Tried(NamedTuple):
    """A setting that was tried, and the loss by it.

    Args:
        settings: those of a grid, by name.
        loss: nats per token.
    """

    settings: dict[str, float]
    loss: float


def train_rms(model: LanguageModel, files: TokenFiles, window: int) -> list[Tensor]:
    """Return the root mean square of a model's gradients on the whole train text, as `gradient_rms` defines it."""
    train, begins = as_tensors(files["train"].array, files["train"].begins)
    return gradient_rms(model, train, files.eos_id, window=window, begins=begins)


def try_dynamic(
    model: LanguageModel,
    files: TokenFiles,
    tokens: int,
    make: Callable[..., DynamicEvaluation],
    grid: Mapping[str, Sequence[float]],
) -> Iterator[Tried]:
    """Score the validation text by dynamic evaluation, with one setting after another, as `walk` chooses them.

    Args:
        model: the model.
        files: its text.
        tokens: of the validation text that are read, from its beginning.
        make: makes settings of those of the grid.
        grid: values by name.
    """
    valid, begins = _beginning(files, tokens)

    def loss(settings: dict[str, float]) -> float:
        nats, _ = dynamic_nats(model, valid, files.eos_id, make(**settings), begins=begins)
        return float(nats.mean())

    return walk(loss, grid)


def try_caches(
    model: LanguageModel,
    files: TokenFiles,
    tokens: int,
    dynamic: DynamicEvaluation | None,
    grid: Mapping[str, Sequence[float]],
) -> Iterator[Tried]:
    """Score the validation text with every neural cache of a grid: the model reads it once.

    Args:
        model, files, tokens: as in `try_dynamic`.
        dynamic: settings of dynamic evaluation, if that goes on beside the cache.
        grid: values of `flatness`, `size` and `weight`.
    """
    valid, begins = _beginning(files, tokens)
    nats, outputs = nats_and_outputs(model, valid, files.eos_id, begins, dynamic)
    for flatness, size in product(grid["flatness"], grid["size"]):
        chances = cache_log_chances(outputs, valid, flatness, int(size), begins)
        for weight in grid["weight"]:
            settings = {"flatness": flatness, "size": int(size), "weight": weight}
            yield Tried(settings, float(mixed_nats(nats, chances, NeuralCache(**settings).weight).mean()))


def for_windows(grid: Mapping[str, Sequence[float]], window: int) -> dict[str, Sequence[float]]:
    """Return a grid of dynamic evaluation for windows of so many steps; a decay stays below 1."""
    scaled = {name: [value * window / _WINDOW for value in values] for name, values in grid.items()}
    scaled["decay"] = [min(value, _MOST_DECAY) for value in scaled["decay"]]
    return {name: tuple(dict.fromkeys(values)) for name, values in scaled.items()}


def walk(loss: Callable[[dict[str, float]], float], grid: Mapping[str, Sequence[float]]) -> Iterator[Tried]:
    """Yield the settings that are tried when one name of a grid is varied after another, and the loss by each.

    The values of the first name are tried with the others at the middle of theirs, those of the next with the first at
    its best, and so on. Where the best lies at an end, the value beyond it, at the same ratio, is tried too, until one
    is no better: four at most, and none that is refused. Where all diverge, that is the lower end, and if nothing
    comes of it the walk is over.

    >>> [each.settings for each in walk(lambda s: abs(s["a"] - 7) + abs(s["b"] - 4), {"a": (1, 2), "b": (4, 5)})]
    [{'a': 1, 'b': 5}, {'a': 2, 'b': 5}, {'a': 4.0, 'b': 5}, {'a': 8.0, 'b': 5}, {'a': 16.0, 'b': 5}, \
{'a': 8.0, 'b': 4}, {'a': 8.0, 'b': 3.2}]

    Args:
        loss: of settings; raises `InputError` for those that are out of range.
        grid: values by name, the first name the one that matters most.

    Raises:
        InputError: a value of the grid is out of range.
    """
    settings = {name: values[len(values) // 2] for name, values in grid.items()}
    best: float | None = None
    for name, values in grid.items():
        known: dict[float, float] = {} if best is None else {settings[name]: best}
        waiting = [value for value in values if value not in known]
        while waiting:
            value = waiting.pop(0)
            trial = settings | {name: value}
            try:
                known[value] = loss(trial)
            except InputError:
                if value in values:
                    raise
                break
            yield Tried(trial, known[value])
            if not waiting and len(known) < len(values) + _BEYOND:
                waiting = _beyond(known)
        settings[name] = _best(known)
        best = known[settings[name]]
        if not isfinite(best):
            break


def _best(known: dict[float, float]) -> float:
    return min(sorted(known), key=lambda value: known[value] if isfinite(known[value]) else inf)


def _beyond(known: dict[float, float]) -> list[float]:
    """Return the value to try next past the end at which the best of some lies; none where it lies between others."""
    best, ordered = _best(known), sorted(known)
    if len(ordered) < 2 or best not in (ordered[0], ordered[-1]):
        return []
    neighbor = ordered[1] if best == ordered[0] else ordered[-2]
    return [] if 0 in (best, neighbor) else [best * best / neighbor]


def _beginning(files: TokenFiles, tokens: int) -> tuple[Tensor, Tensor | None]:
    valid = files["valid"]
    return as_tensors(valid.array[:tokens], None if valid.begins is None else valid.begins[:tokens])
