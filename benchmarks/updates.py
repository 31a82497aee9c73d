"""Training update by update, where no run is to be recorded: timed, counted, or of a model without a recipe."""

import math
import time
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sgrnn import State
from sgrnn.config.build.gradient import build_estimator
from sgrnn.config.build.optimizer import build_optimizer
from sgrnn.config.recipe import Recipe
from sgrnn.data import data_folder
from sgrnn.estimators import GradientEstimator, Step
from sgrnn.span import Span
from sgrnn.synthesizers.predictor import FIRST
from sgrnn.training.problems.opening import new_problem
from sgrnn.training.train_all import prepare_process

Key = TypeVar("Key", bound=Hashable)


class Updates:
    """A training loop: every call is an update.

    Args:
        estimator: of the gradients.
        optimizers: of model and synthesizer; None for one that has nothing to train.
        clipped: parameters whose gradient is shrunk together.
        clip: to this norm.
    """

    def __init__(
        self,
        estimator: GradientEstimator,
        optimizers: Sequence[Optimizer | None],
        clipped: Iterable[nn.Parameter],
        clip: float,
    ) -> None:
        self.estimator, self.clip = estimator, clip
        self.optimizers = [optimizer for optimizer in optimizers if optimizer is not None]
        self.clipped = list(clipped)

    def __call__(self, span: Span, state: State) -> Step:
        step = self.estimator.backward(span, state)
        nn.utils.clip_grad_norm_(self.clipped, self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return step


class RecipeUpdates:
    """The training of a recipe, update by update, without what a run records.

    A synthesizer learns in the first, and then as rarely as it does in an ordinary run later.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.problem, _ = new_problem(recipe, data_folder())
        self.model = self.problem.build_model()
        estimator = build_estimator(recipe, self.model, self.problem.updates_per_epoch)
        for name, buffer in estimator.named_buffers():
            if name.endswith("predictor.begun"):
                buffer.fill_(FIRST - 1)
        optimizers = [
            build_optimizer(recipe.optimizer, self.model), build_optimizer(recipe.synthesizer_optimizer, estimator)
        ]  # fmt: skip
        clip = recipe.training.clip or math.inf
        self.update = Updates(estimator, optimizers, self.model.parameters(), clip)
        self.problem.start(estimator.lookahead)
        self.state = self.model.initial_state(recipe.training.batch_size)

    def __call__(self) -> None:
        step = self.update(self.problem.draw(), self.state)
        self.state = step.state
        self.problem.observe(step)


def seconds_per_update(recipes: Mapping[Key, Recipe], rounds: int = 12, updates: int = 8) -> dict[Key, float]:
    """Return medians over interleaved rounds, all recipes side by side on one thread."""
    return {key: median(values) for key, values in seconds_by_round(recipes, rounds, updates).items()}


def seconds_by_round(recipes: Mapping[Key, Recipe], rounds: int, updates: int) -> dict[Key, list[float]]:
    """Return what an update took in each of some interleaved rounds, all recipes side by side on one thread.

    Args:
        recipes: by what tells them apart.
        rounds: how often everybody has a turn.
        updates: of a turn.
    """
    prepare_process(1)
    loops = {key: RecipeUpdates(recipe) for key, recipe in recipes.items()}
    times: dict[Key, list[float]] = {key: [] for key in loops}
    for number in range(rounds + 1):  # the first round warms up
        for key, update in loops.items():
            began = time.perf_counter()
            for _ in range(updates):
                update()
            if number:
                times[key].append((time.perf_counter() - began) / updates)
    return times


def calls_and_bytes(call: Callable[[], object]) -> tuple[int, int]:
    """Count the operators that a call calls, those inside others too, and the bytes of tensors that it adds at most.

    Every allocation of torch's own memory on a CPU counts when it is made and when it is freed, also those inside an
    operator. What a kernel of another library takes for itself, and what was held before, do not.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    calls = sum(row.count for row in profiler.key_averages() if row.key.startswith("aten::"))
    held = most = 0
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()  # pyright: ignore
            most = max(most, held)
    return calls, most


def round_of(recipe: Recipe) -> int:
    """Return the number of updates after which a recipe's begin anew to cost the same."""
    return getattr(recipe.gradient, "learn_every", 1)


def weigh(recipe: Recipe, before: int = 2) -> tuple[float, int]:
    """Return `calls_and_bytes` of an update after so many others: activations, gradients and what is in between.

    Where the synthesizer learns in one of several, calls are their mean.
    """
    update, updates = RecipeUpdates(recipe), round_of(recipe)
    for _ in range(before):
        update()
    calls, size = calls_and_bytes(lambda: [update() for _ in range(updates)])
    return calls / updates, size


class _Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products inside its context."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def count(recipe: Recipe) -> dict[str, float]:
    """Count what the second update of a text's recipe takes, per token.

    Returns:
        `operations`, floating-point ones of matrix products; `steps forward` of the core; and `steps backward`, those
        of the former that have a graph and are gone through again.
    """
    torch.manual_seed(0)
    update = RecipeUpdates(recipe)
    update()
    steps = {True: 0, False: 0}

    def note(core: nn.Module, arguments: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        steps[torch.is_grad_enabled()] += results[0].shape[0] * results[0].shape[1]

    handle = update.model.core.register_forward_hook(note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a TF32 that no CPU has
        # Fused kernels hide their products from the counter.
        with torch.backends.mkldnn.flags(enabled=False), _Operations() as counter:
            update()
    handle.remove()
    assert recipe.span is not None, "of a text"
    tokens = recipe.span * recipe.training.batch_size
    return {
        "operations": counter.total / tokens,
        "steps forward": sum(steps.values()) / tokens,
        "steps backward": steps[True] / tokens,
    }


def operator_calls(update: Callable[[], object], updates: int = 3) -> float:
    """Count torch's operator calls in an update, those that one makes inside another too, past the first updates."""
    for _ in range(3):
        update()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(updates):
            update()
    return sum(event.name.startswith("aten::") for event in profiler.events() or []) / updates
