"""A run that begins with the weights of another one: `model.start_from`.

What is taken over is written to RUN/start.safetensors before the first update, so that the run does not need the other
one from then on, not even if it is killed before its first checkpoint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.model import build_model
from sgrnn.config.gradient import SyntheticGradientsConfig
from sgrnn.config.model import ModelConfig
from sgrnn.config.recipe import Recipe
from sgrnn.config.synthesizers import AdjointSynthesizerConfig
from sgrnn.data import Tokenizer
from sgrnn.data.atomic import atomic_write
from sgrnn.data.kinds import SUBWORD_KINDS
from sgrnn.errors import InputError, quoted
from sgrnn.training.checkpoints import Checkpoint, require_best
from sgrnn.training.run import Run

FILE = "start.safetensors"
_ROWS_OF_TOKENS = ("embedding.weight", "output.weight", "output.bias")
_SAME = ("core", "hidden_size", "num_layers", "slower_levels", "embedding_size", "tied", "adaptive_softmax")
_MODEL, _ESTIMATOR = "model.", "estimator."


@final
@dataclass(frozen=True)
class Start:
    """The run that another begins from.

    Args:
        run: a run on a text.
        checkpoint: its best checkpoint.
        tokenizer: of its text.
    """

    run: Run
    checkpoint: Checkpoint
    tokenizer: Tokenizer

    @classmethod
    def open(cls, recipe: Recipe) -> "Start":
        """Open the run that a recipe with `model.start_from` names.

        Raises:
            InputError: there is no such run, it has no checkpoint, it learned a task, or its model has other sizes.
        """
        assert recipe.model.start_from is not None, "asked by the caller"
        try:
            run = Run.open(recipe.model.start_from)
            checkpoint = require_best(run.checkpoints)
        except InputError as error:
            raise InputError(f"model.start_from: {error}") from None
        if run.tokenizer is None:
            raise InputError(f"model.start_from must be a run on a text, got {run.folder}, which learned a task")
        theirs, ours = _sizes(run.recipe.model), _sizes(recipe.model)
        mistakes = [
            f"model.{name} must be {theirs[name]}, that of model.start_from {run.folder}, got {ours[name]}"
            for name in _SAME
            if theirs[name] != ours[name]
        ]
        if mistakes:
            raise InputError("\n".join(mistakes))
        return cls(run, checkpoint, run.tokenizer)

    def require_same_tokens(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer whose tokens are of another kind, so that the same name is another thing.

        Raises:
            InputError: it is.
        """
        ours, theirs = tokenizer.kind, self.tokenizer.kind
        if ours != theirs and not {ours, theirs} <= set(SUBWORD_KINDS):
            raise InputError(
                f"data.tokenizer.kind must be {theirs}, that of model.start_from {self.run.folder}, got {ours}; with "
                "data.tokenizer null it is that run's tokenizer"
            )

    def weights(self, recipe: Recipe, tokenizer: Tokenizer) -> tuple[dict[str, Tensor], str]:
        """Return what a run begins with, and a sentence that says what was taken over.

        Rows of tokens that both vocabularies hold are taken over, those of others are what the recipe's seed draws.

        Args:
            recipe: of the run that begins.
            tokenizer: of its text.

        Returns:
            Tensors of the model, and of the estimator as far as it is taken over, under names that begin with `model.`
            and `estimator.`.
        """
        with torch.random.fork_rng(devices=[]):
            theirs = build_model(self.run.recipe, self.tokenizer.vocabulary_size)
            torch.default_generator.manual_seed(recipe.training.seed)  # and not those of other devices
            model = build_model(recipe, tokenizer.vocabulary_size)
            estimator = build_estimator(recipe, model, updates_per_epoch=1)
        self.checkpoint.load_model(theirs)
        numbers = {name: number for number, name in enumerate(self.tokenizer.vocabulary)}
        kept = [(numbers[name], own) for own, name in enumerate(tokenizer.vocabulary) if name in numbers]
        before, now = torch.tensor(kept).T
        tensors = {}
        own = model.state_dict()
        for name, tensor in theirs.state_dict().items():
            if name in _ROWS_OF_TOKENS:
                own[name][now] = tensor[before]
            else:
                own[name] = tensor
            tensors[_MODEL + name] = own[name].clone()
        learned = dict(self._learned(recipe, estimator))
        tensors |= {_ESTIMATOR + name: tensor for name, tensor in learned.items()}
        new, dropped = tokenizer.vocabulary_size - len(kept), self.tokenizer.vocabulary_size - len(kept)
        tokens = f"{len(kept):,} tokens kept, {new:,} new, {dropped:,} dropped"
        helper = "taken over" if any(name.startswith("predictor.") for name in learned) else "begins anew"
        also = f"; the synthesizer {helper}" if isinstance(recipe.gradient, SyntheticGradientsConfig) else ""
        update = self.checkpoint.progress["update"]
        return tensors, f"starting from {self.run.folder}, update {update:,}: {tokens}{also}"

    def _learned(self, recipe: Recipe, estimator: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Yield what the estimator goes on with: interfaces, and a synthesizer of the same settings."""
        saved = _plain_names(self.checkpoint.load_state(torch.device("cpu"))["estimator"])
        parts = ["interfaces."]
        ours, theirs = recipe.gradient, self.run.recipe.gradient
        if isinstance(ours, SyntheticGradientsConfig) and isinstance(theirs, SyntheticGradientsConfig):
            any_window = not isinstance(ours.synthesizer, AdjointSynthesizerConfig)
            if ours.synthesizer == theirs.synthesizer and (any_window or ours.window == theirs.window):
                parts += ["predictor.", "reader."]
        for name in _plain_names(estimator.state_dict()):
            if name.startswith(tuple(parts)) and name != "predictor.begun":  # updates are those of this run
                yield name, saved[name].clone()


def keep_start(run: Run) -> str:
    """Write what a run begins with to its folder, where that was not done before.

    Returns:
        A sentence that says what was taken over.

    Raises:
        InputError: the run that it begins from is at fault, or the file cannot be written or read.
    """
    path = run.folder / FILE
    if not path.exists():
        assert run.tokenizer is not None, "a run on a text"
        tensors, told = Start.open(run.recipe).weights(run.recipe, run.tokenizer)
        with run.writing(FILE), atomic_write(path) as file:
            file.write(save(tensors, {"told": told}))
        return told
    try:
        with safe_open(path, "pt") as file:
            return file.metadata()["told"]
    except (SafetensorError, OSError, TypeError, LookupError) as error:
        raise _damaged(run, error) from None


def load_start(run: Run, model: nn.Module, estimator: nn.Module) -> None:
    """Load what a run begins with, as `keep_start` wrote it.

    Args:
        run: the run.
        model: its model, drawn anew.
        estimator: its gradient estimator.

    Raises:
        InputError: the file is damaged.
    """
    own = estimator.state_dict()
    names = dict(zip(_plain_names(own), own, strict=True))
    try:
        tensors = load_file(run.folder / FILE)
        model.load_state_dict(_beneath(tensors, _MODEL))
        taken = _beneath(tensors, _ESTIMATOR)
        estimator.load_state_dict({names[name]: tensor for name, tensor in taken.items()}, strict=False)
    except (SafetensorError, OSError, RuntimeError, LookupError) as error:
        raise _damaged(run, error) from None


def _sizes(section: ModelConfig) -> dict[str, Any]:
    """Return the fields of a model that its parameters depend on, what is left out resolved."""
    sizes = section.model_dump(mode="json", include=set(_SAME))
    return sizes | {"embedding_size": section.embedding_size or section.hidden_size}


def _plain_names(estimator: Mapping[str, Any]) -> dict[str, Any]:
    """Return an estimator's state by the names that it has without a schedule around it (`Mixed`)."""
    return {name.removeprefix("synthetic."): value for name, value in estimator.items()}


def _beneath(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _damaged(run: Run, error: Exception) -> InputError:
    return InputError(
        f"{run.folder / FILE} is damaged: {shorten(str(error), 300)}; remove it, and as long as "
        f"{run.recipe.model.start_from} is there, `sgrnn resume {quoted(run.folder)}` writes it again"
    )
