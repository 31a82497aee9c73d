"""Building of the model that a recipe describes, of a text or for a task."""

from functools import partial
from typing import Any

import torch
from torch import nn

from sgrnn import cores
from sgrnn.config.model import ModelConfig
from sgrnn.config.recipe import Recipe
from sgrnn.cores.feedforward import FeedForward
from sgrnn.errors import InputError
from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.readout import Readout
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.synthesizers import MLPSynthesizer
from sgrnn.synthesizers.interface import Interface
from sgrnn.tasks import Task

_CORES = {"lstm": cores.LSTM, "gru": cores.GRU, "rnn": cores.RNN}


def build_core(recipe: Recipe, input_size: int) -> nn.Module:
    """Return the core that a recipe describes, for inputs of so many features."""
    section = recipe.model
    slower = section.slower_levels
    if section.core == "feedforward":
        return FeedForward(input_size, section.hidden_size, section.num_layers)
    layers = section.num_layers
    kind = partial(
        _CORES[section.core],
        weight_dropout=section.weight_dropout,
        precision=getattr(torch, recipe.training.core_precision),
    )
    if not slower:
        between: dict[str, Any] = {"dropout": section.dropout, "locked_dropout": section.locked_dropout}
        if section.output_size == section.hidden_size:
            return kind(input_size, section.hidden_size, layers, **between)
        below = kind(input_size, section.hidden_size, layers - 1, **between)
        return cores.SequentialCore([below, kind(section.hidden_size, section.output_size)], **between)
    sizes = [section.hidden_size, *(level.hidden_size for level in slower)]
    messages = [*(level.message_size or level.hidden_size for level in slower), 0]
    return cores.HierarchicalCore(
        [
            kind(below + message, size)
            for below, message, size in zip([input_size, *sizes], messages, sizes, strict=False)
        ],
        [1, *(level.period for level in slower)],
        message_sizes=[level.message_size for level in slower],
        interfaces=[
            Interface(MLPSynthesizer(below)) if level.interface else None
            for below, level in zip(sizes, slower, strict=False)
        ],
    )


def _build_adaptive(section: ModelConfig, vocabulary_size: int) -> AdaptiveSoftmax | None:
    adaptive = section.adaptive_softmax
    return adaptive and AdaptiveSoftmax(section.hidden_size, vocabulary_size, **adaptive.options())


def build_model(recipe: Recipe, vocabulary_size: int) -> LanguageModel:
    """Return the language model that a recipe describes, for so many tokens."""
    section = recipe.model
    embedding_size = section.embedding_size or section.hidden_size
    return LanguageModel(
        vocabulary_size,
        embedding_size,
        build_core(recipe, embedding_size),
        section.output_size,
        tied=section.tied,
        output=_build_adaptive(section, vocabulary_size),
        dropout=section.dropout if section.embedding_dropout is None else section.embedding_dropout,
        output_dropout=section.dropout if section.output_dropout is None else section.output_dropout,
        word_dropout=section.word_dropout,
        locked_dropout=section.locked_dropout,
        activation_regularization=section.activation_regularization,
        temporal_activation_regularization=section.temporal_activation_regularization,
        initial_range=section.initial_range,
        output_precision=getattr(torch, recipe.training.output_precision),
    )


def require_cutoffs(recipe: Recipe, vocabulary_size: int) -> None:
    """Refuse an adaptive softmax that has more cutoffs than a vocabulary has tokens for.

    Raises:
        InputError: it has.
    """
    adaptive = recipe.model.adaptive_softmax
    if adaptive is not None and adaptive.cutoffs[-1] >= vocabulary_size:
        raise InputError(
            f"model.adaptive_softmax.cutoffs must be below the vocabulary's size, {vocabulary_size:,}, got "
            f"{adaptive.cutoffs[-1]:,}"
        )


def reset_at(recipe: Recipe, eos_id: int) -> int | None:
    """Return the token at which a model that was trained by a recipe is reset when texts are scored or drawn."""
    return eos_id if recipe.data is not None and recipe.data.reset == "line" else None


def build_readout(recipe: Recipe, task: Task) -> Readout:
    """Return the model that a recipe describes, for a task."""
    section = recipe.model
    core = build_core(recipe, task.input_size)
    model = Readout(core, section.hidden_size, task.output_size, task.loss)
    if section.initial_range is not None:
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -section.initial_range, section.initial_range)
    return model


def interfaces_of(model: SequenceModel) -> dict[int, Interface]:
    """Return the interfaces in a model's core, by the number of the level that each leads up to, from 1."""
    between = model.core.interfaces if isinstance(model.core, cores.HierarchicalCore) else []
    return {level: interface for level, interface in enumerate(between, start=1) if interface is not None}
