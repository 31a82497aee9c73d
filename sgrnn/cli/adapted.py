"""Options of `sgrnn evaluate` by which a model adapts to the text, and the choice of those that are left out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import exp, inf, isfinite
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sgrnn.cli.tables import numbers_table, print_table
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from sgrnn.data import TokenFiles
    from sgrnn.models.cache import NeuralCache
    from sgrnn.models.dynamic import DynamicEvaluation
    from sgrnn.models.language_model import LanguageModel
    from sgrnn.training.choosing import Tried
    from sgrnn.training.run import Run


@dataclass(frozen=True)
class Adaptation:
    """Adaptation of a model to the text that it is scored on, as the command line asks for it.

    Args:
        dynamic, cache: whether there is any.
        sgd: whether dynamic evaluation takes gradients as they are.
        learning_rate, decay, window: of dynamic evaluation; None where it is not said.
        weight, flatness, size: of the cache, likewise.
        choose_on: tokens of the validation text that settings are chosen on.
    """

    dynamic: bool
    sgd: bool
    learning_rate: float | None
    decay: float | None
    window: int | None
    cache: bool
    weight: float | None
    flatness: float | None
    size: int | None
    choose_on: int | None

    def __bool__(self) -> bool:
        return self.dynamic or self.cache

    @property
    def name(self) -> str:
        """Name of the adaptation behind that of a text."""
        names = [*(["dynamic evaluation"] if self.dynamic else []), *(["cache"] if self.cache else [])]
        return f" with {' and '.join(names)}" if names else ""

    @property
    def needs_texts(self) -> bool:
        """True where train or validation text are needed beside the text to score."""
        dynamic = self.dynamic and not (self.sgd and None not in (self.learning_rate, self.decay))
        return dynamic or (self.cache and None in (self.weight, self.flatness, self.size))

    def check(self) -> None:
        """Refuse settings that are out of range, and those of something that is not asked for.

        Raises:
            InputError: one is.
        """
        own = {
            "--dynamic": ("sgd", "learning_rate", "decay", "window"),
            "--cache": ("weight", "flatness", "size"),
            "--dynamic or --cache": ("choose_on",),
        }
        asked = {"--dynamic": self.dynamic, "--cache": self.cache, "--dynamic or --cache": bool(self)}
        for option, names in own.items():
            for name in names:
                value = getattr(self, name)
                if value is not None and value is not False and not asked[option]:  # 0 is a value, and equal to False
                    raise InputError(f"--{name.replace('_', '-')} goes with {option}: add it")
        if self:
            from sgrnn.models.cache import NeuralCache
            from sgrnn.models.dynamic import DynamicEvaluation

            DynamicEvaluation(**self._given("learning_rate", "decay", "window"))
            NeuralCache(**self._given("weight", "flatness", "size"))

    def require_text(self, run: "Run") -> None:
        """Refuse a run that has no text to adapt to.

        Raises:
            InputError: it learned a task.
        """
        if self and run.recipe.data is None:
            kind = " by decoupled modules" if run.recipe.gradient.kind == "decoupled" else ""
            option = "--dynamic" if self.dynamic else "--cache"
            raise InputError(f"{option} adapts a model to a text, and {run.folder} learned a task{kind}: remove it")

    def settle(
        self, model: "LanguageModel", texts: "Callable[[], TokenFiles]", console: Console
    ) -> "tuple[DynamicEvaluation | None, NeuralCache | None]":
        """Return settings, None of what is not asked for, after choosing and printing those that were not given.

        Args:
            model: the model.
            texts: opens train and validation text.
            console: where to print.
        """
        files = texts() if self.needs_texts else None
        dynamic = self._dynamic(model, files, console) if self.dynamic else None
        return dynamic, self._cache(model, files, dynamic, console) if self.cache else None

    def _dynamic(
        self, model: "LanguageModel", files: "TokenFiles | None", console: Console
    ) -> "DynamicEvaluation":  # fmt: skip
        from sgrnn.models.dynamic import DynamicEvaluation
        from sgrnn.training.choosing import RMS_GRID, SGD_GRID, for_windows, train_rms, try_dynamic

        fixed = self._given("window")
        window = fixed.get("window", DynamicEvaluation.window)
        if not self.sgd:
            assert files is not None, "needed"
            with _waiting(console, f"gradients on {files['train'].tokens:,} tokens of the train text"):
                fixed["rms"] = train_rms(model, files, window)
        make = partial(DynamicEvaluation, **fixed)
        given = self._given("learning_rate", "decay")
        if len(given) == 2:
            return make(**given)
        assert files is not None, "needed"
        grid = for_windows(SGD_GRID if self.sgd else RMS_GRID, window) | {name: (x,) for name, x in given.items()}
        tokens = min(self.choose_on or _FOR_DYNAMIC, files["valid"].tokens)
        with _waiting(console, "dynamic evaluation of the validation text"):
            tried = list(try_dynamic(model, files, tokens, make, grid))
        return make(**_chosen("dynamic evaluation", tried, tokens, console))

    def _cache(
        self,
        model: "LanguageModel",
        files: "TokenFiles | None",
        dynamic: "DynamicEvaluation | None",
        console: Console,
    ) -> "NeuralCache":
        from sgrnn.models.cache import NeuralCache
        from sgrnn.training.choosing import CACHE_GRID, try_caches

        given = self._given("weight", "flatness", "size")
        if len(given) == 3:
            return NeuralCache(**given)
        assert files is not None, "needed"
        grid = CACHE_GRID | {name: (value,) for name, value in given.items()}
        tokens = min(self.choose_on or (_FOR_DYNAMIC if dynamic else files["valid"].tokens), files["valid"].tokens)
        with _waiting(console, "caches on the validation text"):
            tried = list(try_caches(model, files, tokens, dynamic, grid))
        return NeuralCache(**_chosen("cache", tried, tokens, console))

    def _given(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


def settings_of(dynamic: "DynamicEvaluation | None", cache: "NeuralCache | None") -> dict[str, float]:
    """Return the settings of an adaptation by name, which are kept beside its score; nothing where there is none."""
    settings: dict[str, float] = {}
    if dynamic is not None:
        settings |= {name: getattr(dynamic, name) for name in ("learning_rate", "decay", "window")}
        settings |= {"sgd": 1} if dynamic.rms is None else {}
    if cache is not None:
        settings |= {name: getattr(cache, name) for name in ("weight", "flatness", "size")}
    return settings


_FOR_DYNAMIC = 10_000  # tokens: every few of them take an update of all weights


def _chosen(name: str, tried: "list[Tried]", tokens: int, console: Console) -> dict[str, Any]:
    """Print what was tried, and return the best of it.

    Raises:
        InputError: dynamic evaluation diverges by all of it.
    """
    best = min(tried, key=lambda each: each.loss if isfinite(each.loss) else inf)
    first, *others = best.settings
    title = f"{name}: perplexity of the first {tokens:,} tokens of the validation text"
    table = numbers_table(
        first.replace("_", " "), *(each.replace("_", " ") for each in others), "perplexity", title=title
    )
    for each in tried:
        table.add_row(*(f"{value:g}" for value in each.settings.values()), _shown(each.loss))
    print_table(console, table)
    if not isfinite(best.loss):
        raise InputError("dynamic evaluation diverges by all that was tried: choose a smaller --learning-rate")
    edges = []
    for setting, value in best.settings.items():
        values = sorted({each.settings[setting] for each in tried})
        if len(values) > 1 and value in (values[0], values[-1]) and value > 0:  # nothing lies beyond a decay of 0
            edges.append(f"--{setting.replace('_', '-')}")
    shown = ", ".join(f"{setting.replace('_', ' ')} {value:g}" for setting, value in best.settings.items())
    console.print(f"{name}: {shown}" + (f" (at the edge of what was tried: {', '.join(edges)})" if edges else ""))
    return best.settings


def _shown(loss: float) -> str:
    perplexity = exp(loss) if loss < 700 else inf
    return f"{perplexity:.2f}" if perplexity < 1e6 else f"{perplexity:.2g}"


@contextmanager
def _waiting(console: Console, what: str) -> Iterator[None]:
    with console.status(f"reading: {what}"):
        yield
