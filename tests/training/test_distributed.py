"""Real processes that train one run together: the run of one process, whatever their number, stopped and resumed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from together import run_together
from tolerances import assert_close

from sgrnn.config.build.model import build_model
from sgrnn.config.build.optimizer import choose_device
from sgrnn.config.files import parse_recipe
from sgrnn.config.recipe import Recipe
from sgrnn.cores.locked import LockedDropout, one_span
from sgrnn.cores.stacked import StackedCore
from sgrnn.errors import InputError, ProcessLost
from sgrnn.models.language_model import LanguageModel
from sgrnn.training import loop
from sgrnn.training.distributed import Ranks, joined
from sgrnn.training.problems import text_problem
from sgrnn.training.problems.opening import problem_of
from sgrnn.training.run import Run

from .tiny import REGULARIZED, AnyTraining, Practice, Training, same

Start = Callable[..., Training]

TEXTS = {
    "errors ahead, diagnosed": (
        "--gradient.remove_mean=true", "--average.kind=exponential", "--average.decay=0.7",
        "--training.diagnosis={every: 5, horizon: 4, spans: 3}", "--data.reset=line",
    ),
    "a hierarchy with an interface": (
        "--model.slower_levels=[{period: 2, hidden_size: 5, interface: true}]",
    ),
    "a level that rows of one process alone come to, now and then": (
        "--model.slower_levels=[{period: 9, hidden_size: 5}]", "--gradient.kind=bptt", "--data.reset=line",
        "--training.span=3", "--training.batch_size=2", "--optimizer.kind=sgd", "--optimizer.learning_rate=0.1",
    ),
    "adjoint, windows as a batch, two layers": (
        "--gradient.synthesizer.kind=adjoint",
        "--gradient.parallel=true", "--model.num_layers=2", "--training.varying_span={deviation: 2, least: 3}",
    ),
}  # fmt: skip
RECIPE = """
task: {kind: copy, bits: 2, vectors: 2, threshold: 10, episodes_per_epoch: 3}
model: {core: gru, hidden_size: 8}
gradient: {kind: synthetic, window: 2, synthesizer: {kind: error, lookahead: 2, hidden_size: 8, rank: 4, projection: 3}}
optimizer: {kind: adam, learning_rate: 1e-2}
training: {epochs: 100, max_updates: 13, batch_size: 4, span: 5, log_every: 3, device: cpu}
"""


def precise(recipe: Recipe, vocabulary_size: int) -> LanguageModel:
    """As `build_model`, all products in the default precision."""
    model = build_model(recipe, vocabulary_size)
    model.output_precision = None
    for module in model.modules():
        if isinstance(module, StackedCore):
            module.precision = None
    return model


def learn(folder: Path, data: Path, stop_after: int | None, dtype: torch.dtype) -> None:
    """One process of a run, in a precision that shows what is equal."""
    torch.set_default_dtype(dtype)
    made = 0

    def stop() -> bool:
        nonlocal made
        made += 1
        return made == stop_after

    with joined() as ranks, patch.object(text_problem, "build_model", precise):
        run = Run.open(folder)
        torch.rand(ranks.rank)  # whatever the caller does to the random generator
        try:
            loop.train(run, problem_of(run, data), lambda record: None, stop, ranks)
        except loop.Interrupted:
            assert stop_after is not None


@pytest.fixture
def train(folder: Path) -> Callable[..., None]:
    """`train(training, processes, stop_after)`: go on with a run by so many processes."""

    def go_on(
        training: AnyTraining, size: int, stop_after: int | None = None, dtype: torch.dtype = torch.float64
    ) -> None:
        run_together(size, learn, training.run.folder, folder / "data", stop_after, dtype)

    return go_on


def practice(folder: Path, name: str) -> Practice:
    recipe = parse_recipe(RECIPE, "recipe.yaml")
    return Practice(Run.create(folder / name, recipe, None), folder / "data")


def assert_same_run(found: AnyTraining, expected: AnyTraining) -> None:
    """But for rounding."""
    for one, other in zip(found.metrics, expected.metrics, strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)
    for part in ("average", "estimator", "optimizer", "synthesizer_optimizer", "state"):
        assert_close(flat(found.saved["state"][part]), flat(expected.saved["state"][part]))


def flat(nest: Any) -> list[torch.Tensor]:
    """The tensors in it."""
    if isinstance(nest, torch.Tensor):
        return [nest]
    parts = nest.values() if isinstance(nest, dict) else nest if isinstance(nest, list | tuple) else []
    return [tensor for part in parts for tensor in flat(part)]


@pytest.mark.parametrize("overrides", TEXTS.values(), ids=TEXTS)
def test_two_processes_with_half_the_rows_make_the_run_of_one_on_a_text(
    start: Start, train: Callable[..., None], overrides: tuple[str, ...]
) -> None:
    one, two = (start(name, *overrides, "--model.dropout=0", "--training.max_updates=13") for name in ("one", "two"))
    train(one, 1)
    train(two, 2)
    assert any("valid_loss" in record for record in one.metrics)
    assert torch.float64 in {tensor.dtype for tensor in flat(one.saved["state"]["state"])}
    assert_same_run(two, one)


def test_they_begin_with_the_weights_of_another_run(start: Start, train: Callable[..., None]) -> None:
    old = start("old", "--training.max_updates=9")
    train(old, 1)
    begins = ("--model.dropout=0", f"--model.start_from={old.run.folder}", "--training.max_updates=3")
    one, two = (start(name, *begins) for name in ("one", "two"))
    train(one, 1)
    train(two, 2)
    assert one.metrics[0]["loss"] < old.metrics[0]["loss"]
    assert_same_run(two, one)


def test_they_make_the_run_of_one_on_a_task(folder: Path, train: Callable[..., None]) -> None:
    one, two = practice(folder, "one"), practice(folder, "two")
    train(one, 1)
    train(two, 2)
    assert_same_run(two, one)


def test_a_run_goes_on_with_another_number_of_processes(start: Start, train: Callable[..., None]) -> None:
    whole, parts = (start(name, "--model.dropout=0") for name in ("whole", "parts"))
    train(whole, 1)
    for size, stop_after in ((4, 3), (1, 2), (2, None)):
        train(parts, size, stop_after)
    assert_same_run(parts, whole)


def test_clusters_of_which_one_process_alone_has_seen_a_token_are_trained_alike(
    start: Start, train: Callable[..., None]
) -> None:
    options = (
        "--model.adaptive_softmax={cutoffs: [4, 9], div_value: 2}", "--training.span=1", "--gradient.kind=bptt",
        "--model.dropout=0",
    )  # fmt: skip
    one, two = (start(name, *options) for name in ("one", "two"))
    train(one, 1)
    train(two, 2)
    assert_same_run(two, one)


def test_they_begin_to_average_at_the_same_update(start: Start, train: Callable[..., None]) -> None:
    options = (
        "--average.kind=triggered", "--average.non_monotone=0", "--optimizer.learning_rate=0.5", "--model.dropout=0",
        "--training.max_updates=21",
    )  # fmt: skip
    one, two = (start(name, *options) for name in ("one", "two"))
    train(one, 1)
    train(two, 2, 19)
    train(two, 2)
    assert any("averaged" in record for record in one.metrics)
    assert_same_run(two, one)


@pytest.mark.parametrize(
    "overrides", [("--gradient.shuffle=true",), REGULARIZED], ids=["shuffled", "all regularization"]
)
def test_with_the_same_number_it_goes_on_bit_for_bit_dropout_and_all(
    start: Start, train: Callable[..., None], overrides: tuple[str, ...]
) -> None:
    whole, parts = (start(name, *overrides) for name in ("whole", "parts"))
    train(whole, 2, dtype=torch.float32)
    train(parts, 2, 4, dtype=torch.float32)
    train(parts, 2, dtype=torch.float32)
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)
    assert len({tuple(state.tolist()) for state in whole.saved["state"]["random"]}) == 2, "each drops other units"


def test_penalties_of_two_processes_with_half_the_rows_are_those_of_one(
    start: Start, train: Callable[..., None]
) -> None:
    penalties = ("--model.activation_regularization=2", "--model.temporal_activation_regularization=1")
    one, two = (start(name, *penalties, "--model.dropout=0", "--training.max_updates=5") for name in ("one", "two"))
    train(one, 1)
    train(two, 2)
    assert_same_run(two, one)


def test_every_process_has_masks_of_its_own() -> None:
    drawn = []
    for rank in range(2):
        torch.manual_seed(0)
        Ranks(rank, 2).reseed(0, update=5)
        dropout = LockedDropout(0.5)
        with one_span(dropout, 8):
            drawn.append(dropout(torch.ones(3, 8, 20)))
    assert not torch.equal(drawn[0], drawn[1])


def test_no_two_of_several_processes_draw_the_same_and_the_first_draws_as_one_alone() -> None:
    drawn = []
    for ranks in (Ranks(), *(Ranks(rank, 3) for rank in range(3))):
        torch.manual_seed(0)
        ranks.reseed(0, update=5)
        drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def average_and_fail_alone() -> None:
    with joined() as ranks:
        own = 1.0 + 2 * ranks.rank  # 1 and 3
        tensors = [
            torch.full((2, 3), own).t(),
            torch.tensor(own, dtype=torch.float64),
            torch.full((4,), own).bfloat16(),
        ]
        ranks.average(tensors)
        assert [tensor.dtype for tensor in tensors] == [torch.float32, torch.float64, torch.bfloat16]
        assert all(bool((tensor == 2).all()) for tensor in tensors)
        everywhere, somewhere, nowhere = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
        everywhere.grad = torch.full((2,), own)
        somewhere.grad = torch.full((2,), own) if ranks.leads else None
        ranks.average(tensors, [somewhere, nowhere, everywhere])
        assert everywhere.grad.tolist() == [2, 2]
        assert somewhere.grad is not None
        assert somewhere.grad.tolist() == [0.5, 0.5]
        assert nowhere.grad is None
        if not ranks.leads:
            os._exit(0)
        with pytest.raises(ProcessLost, match="process 0 has lost another process"):
            ranks.any(False)
        with pytest.raises(InputError, match="its own"), ranks.leader_first():
            raise InputError("its own")
        os._exit(0)


def test_messages_arrive_and_an_error_of_ones_own_is_not_taken_for_the_loss_of_another() -> None:
    run_together(2, average_and_fail_alone)


def test_an_environment_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text, least in (("WORLD_SIZE", "two", 1), ("WORLD_SIZE", "0", 1), ("LOCAL_RANK", "-1", 0)):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv(name, text)
        message = rf"^the environment variable {name} must be a whole number of at least {least}, got '{text}'$"
        with pytest.raises(InputError, match=message), joined():
            pass


def test_more_processes_than_gpus_or_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"training\.device must be cpu for more processes .* GPUs, 2, got auto for 3"):
        choose_device("auto", 0, 3)
    assert choose_device("cpu", 0, 3) == torch.device("cpu")

    message = r"^training\.batch_size must be a multiple of the number of processes, 4, got 30$"
    with pytest.raises(InputError, match=message):
        Ranks(1, 4).local_rows(30)
