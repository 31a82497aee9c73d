"""Settings of dynamic evaluation and of a neural cache, chosen on a validation text by a small grid."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

from torch import Tensor

from sgrnn.data import TokenFiles
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
    """Score the validation text by dynamic evaluation with every setting of a grid.

    Args:
        model: the model.
        files: its text.
        tokens: of the validation text that are read, from its beginning.
        make: makes settings of those of the grid.
        grid: values by name.
    """
    valid, begins = _beginning(files, tokens)
    for settings in settings_of(grid):
        nats, _ = dynamic_nats(model, valid, files.eos_id, make(**settings), begins=begins)
        yield Tried(settings, float(nats.mean()))


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
    """Return a grid of dynamic evaluation for windows of so many steps."""
    return {name: tuple(value * window / _WINDOW for value in values) for name, values in grid.items()}


def settings_of(grid: Mapping[str, Sequence[float]]) -> Iterator[dict[str, float]]:
    """Yield all settings of a grid.

    >>> list(settings_of({"a": (1, 2), "b": (3,)}))
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _beginning(files: TokenFiles, tokens: int) -> tuple[Tensor, Tensor | None]:
    valid = files["valid"]
    return as_tensors(valid.array[:tokens], None if valid.begins is None else valid.begins[:tokens])
