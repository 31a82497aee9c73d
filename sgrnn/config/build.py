"""From a recipe to the objects it describes: recipes stop here, and the library's plain classes begin."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from sgrnn import config as recipes
from sgrnn import cores, estimators, tasks
from sgrnn.all_reduce import AllReduce
from sgrnn.config.rates import cycles
from sgrnn.data import TokenFiles, TokenStream
from sgrnn.errors import InputError
from sgrnn.estimators import schedules
from sgrnn.estimators.mixed import Mixed
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.synthesizers import MLPSynthesizer
from sgrnn.synthesizers.interface import Interface

_CORES = {"lstm": cores.LSTM, "gru": cores.GRU, "rnn": cores.RNN}
_TASKS: dict[str, type[tasks.Task]] = {
    "copy": tasks.Copy,
    "repeat-copy": tasks.RepeatCopy,
    "adding": tasks.Adding,
    "recall": tasks.DelayedRecall,
    "mnist": tasks.SequentialMNIST,
}

_LONG_TOKENS = 50  # characters: no language has words of such a length

Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # images (n, 28, 28) and labels (n,)


def build_core(recipe: recipes.Recipe, input_size: int, dropout: float = 0.0) -> nn.Module:
    """The core that a recipe describes, for inputs of so many features."""
    section = recipe.model
    kind, slower = _CORES[section.core], section.slower_levels
    precision = getattr(torch, recipe.training.core_precision)
    if not slower:
        return kind(input_size, section.hidden_size, section.num_layers, dropout=dropout, precision=precision)
    sizes = [section.hidden_size, *(level.hidden_size for level in slower)]
    messages = [*(level.message_size or level.hidden_size for level in slower), 0]
    return cores.HierarchicalCore(
        [
            kind(below + told, size, precision=precision)
            for below, told, size in zip([input_size, *sizes], messages, sizes, strict=False)
        ],
        [1, *(level.period for level in slower)],
        message_sizes=[level.message_size for level in slower],
        interfaces=[
            Interface(MLPSynthesizer(below)) if level.interface else None
            for below, level in zip(sizes, slower, strict=False)
        ],
    )


def build_model(recipe: recipes.Recipe, vocabulary_size: int) -> LanguageModel:
    """The language model that a recipe describes, for so many tokens."""
    section = recipe.model
    embedding_size = section.embedding_size or section.hidden_size
    core = build_core(recipe, embedding_size, section.dropout)
    return LanguageModel(
        vocabulary_size,
        embedding_size,
        core,
        section.hidden_size,
        tied=section.tied,
        dropout=section.dropout,
        initial_range=section.initial_range,
        output_precision=getattr(torch, recipe.training.precision),
    )


def build_task(
    recipe: recipes.Recipe, batch_size: int, seed: int, digits: Digits | None = None, *, shuffle: bool = True
) -> tasks.Task:
    """The task that a recipe describes.

    Args:
        recipe: with the section `task`.
        batch_size: rows of an episode.
        seed: of the episodes.
        digits: for the task `mnist`, which has no others.
        shuffle: whether these come in an order of their own every epoch.
    """
    assert recipe.task is not None, "a recipe for a task"
    options: dict[str, Any] = recipe.task.model_dump(exclude={"kind", "episodes_per_epoch"})
    if digits is not None:
        images, labels = digits
        options |= {"images": images, "labels": labels, "shuffle": shuffle}
    return _TASKS[recipe.task.kind](batch_size=batch_size, seed=seed, **options)


def build_readout(recipe: recipes.Recipe, task: tasks.Task) -> tasks.Readout:
    """The model that a recipe describes, for a task."""
    section = recipe.model
    core = build_core(recipe, task.input_size)
    model = tasks.Readout(core, section.hidden_size, task.output_size, task.loss)
    if section.initial_range is not None:
        for parameter in model.parameters():
            nn.init.uniform_(parameter, -section.initial_range, section.initial_range)
    return model


def build_estimator(
    recipe: recipes.Recipe, model: SequenceModel, updates_per_epoch: int, all_reduce: AllReduce | None = None
) -> estimators.GradientEstimator:
    """The gradient estimator that a recipe describes, fitting the model; with the interfaces in its core as parts.

    Args:
        recipe: the recipe.
        model: the model.
        updates_per_epoch: as `Problem` gives it.
        all_reduce: sums over the processes that share a batch; None for one.
    """
    estimator = _build_estimator(recipe, model, updates_per_epoch, all_reduce)
    interfaces = list(interfaces_of(model).values())
    for interface in interfaces:
        interface.predictor.all_reduce = all_reduce
    if interfaces:
        estimator.add_module("interfaces", nn.ModuleList(interfaces))
    return estimator


def interfaces_of(model: SequenceModel) -> dict[int, Interface]:
    """The interfaces in a model's core, by the number of the level that each leads up to, from 1."""
    between = model.core.interfaces if isinstance(model.core, cores.HierarchicalCore) else []
    return {level: interface for level, interface in enumerate(between, start=1) if interface is not None}


def _build_estimator(
    recipe: recipes.Recipe, model: SequenceModel, updates_per_epoch: int, all_reduce: AllReduce | None
) -> estimators.GradientEstimator:
    section = recipe.gradient
    if isinstance(section, recipes.BPTT):
        return estimators.BPTT()
    # An interface is answered once for every window, or once for all where they run as one batch. Which is faster
    # depends on the rows of a process, and what is learned must not.
    parallel = False if section.parallel is None and interfaces_of(model) else section.parallel
    match section:
        case recipes.TruncatedBPTT():
            return estimators.TruncatedBPTT(section.window, parallel=parallel)
        case recipes.ExactAhead():
            return estimators.ExactAhead(section.window, section.lookahead, parallel=parallel)
        case recipes.SyntheticGradients():
            options = section.synthesizer.model_dump(exclude={"kind"})
            match section.synthesizer:
                case recipes.ErrorSynthesizer():
                    synthesizer = model.synthesizer(**options)
                case recipes.AdjointSynthesizer():
                    synthesizer = model.adjoint_synthesizer(section.window, **options)
                case recipes.MLPSynthesizer():
                    synthesizer = model.mlp_synthesizer(**options)
            synthetic = estimators.SyntheticGradients(
                section.window,
                synthesizer,
                run_ahead=section.run_ahead,
                trace_decay=section.trace_decay,
                discount=section.discount,
                remove_mean=section.remove_mean,
                remove_radial=section.remove_radial,
                shrinkage=section.shrinkage,
                shuffle=section.shuffle,
                parallel=parallel,
                all_reduce=all_reduce,
            )
            schedule = build_schedule(recipe)
            if schedule == schedules.Constant() and section.grounding is None:
                return synthetic
            return Mixed(
                synthetic,
                schedule,
                real_window=section.real_window,
                ground_every=section.grounding and section.grounding.every,
                ground_window=section.grounding and section.grounding.window,
                updates_per_unit=updates_per_epoch if time_unit(recipe) == "epochs" else 1,
            )


def build_schedule(recipe: recipes.Recipe) -> schedules.Schedule:
    """Who supplies the gradient at a boundary, over the time that `time_unit` counts."""
    if not isinstance(recipe.gradient, recipes.SyntheticGradients):
        return schedules.Constant(0.0)
    shares = {"real": 0.0, "synthetic": 1.0}
    match recipe.gradient.source:
        case recipes.ConstantSource(share=share):
            return schedules.Constant(share)
        case recipes.Alternate(every=every, growth=growth, first=first):
            return schedules.Alternate(schedules.WarmRestarts(every, growth), shares[first])
        case recipes.AtRestarts(first=first):
            assert isinstance(recipe.schedule, recipes.Restarts), "checked by the recipe"
            return schedules.Alternate(cycles(recipe.schedule), shares[first])
        case recipes.Ramp(start=start, stop=stop, before=before, after=after, shape=shape):
            return schedules.Ramp(stop, start, before, after, shape)
        case recipes.Bernoulli(probability=probability, seed=seed):
            return schedules.Bernoulli(probability, seed)


def time_unit(recipe: recipes.Recipe) -> str:
    """What the schedule of a recipe's gradient source counts: epochs or updates."""
    source = recipe.gradient.source if isinstance(recipe.gradient, recipes.SyntheticGradients) else None
    return "updates" if isinstance(source, recipes.Bernoulli) else getattr(source, "unit", "epochs")


def build_optimizer(section: recipes.Sgd | recipes.Adam | recipes.AdamW, module: nn.Module) -> Optimizer | None:
    """The optimizer of a module's parameters; None if it has none."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        return None
    options = section.model_dump(exclude={"kind", "learning_rate"}) | {
        "lr": section.learning_rate,
        "fused": True,
    }
    classes = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return classes[section.kind](parameters, **options)


def build_stream(recipe: recipes.Recipe, files: TokenFiles, lookahead: int = 0) -> TokenStream:
    """The spans of the train text as a recipe lays them out.

    Raises:
        InputError: the text is too short for one span per row.
    """
    assert recipe.data is not None, "a recipe for a text"
    assert recipe.span is not None, "of a text"
    file = files["train"]
    try:
        return TokenStream(
            file.array,
            files.eos_id,
            recipe.training.batch_size,
            recipe.span,
            lookahead,
            source=f"{recipe.data.corpus} train",
        )
    except InputError as error:
        if file.characters < _LONG_TOKENS * file.tokens:
            raise
        raise InputError(
            f"{error}; its tokens are {file.characters // file.tokens:,} characters long on average: for a text "
            "without blanks set data.tokenizer.kind to character or bpe"
        ) from None


def choose_device(name: str, local: int = 0, local_size: int = 1) -> torch.device:
    """The device a recipe names; `auto` takes a GPU where there is one.

    Args:
        name: auto, cpu or cuda.
        local: the number of the process on this machine, which is that of its GPU.
        local_size: how many processes there are on this machine.

    Raises:
        InputError: a GPU is asked for and there is none, or there are fewer GPUs than processes.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("training.device must be cpu or auto on this machine, got cuda, which it does not have")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    found = torch.cuda.device_count()
    if local_size > found:
        raise InputError(
            f"training.device must be cpu for more processes on a machine than it has GPUs, {found}, got {name} for "
            f"{local_size} processes: start as many as there are GPUs"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
