"""Averaged weights: what is evaluated, kept and loaded is the mean; what training goes on with is not."""

import json
from collections.abc import Callable
from math import log

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import sgrnn
from sgrnn.analysis.diagnosis import diagnose
from sgrnn.config.build.model import build_model
from sgrnn.data.atomic import file_digest, json_digest
from sgrnn.errors import InputError
from sgrnn.training import loop
from sgrnn.training.averaging import stalls
from sgrnn.training.best import best_record
from sgrnn.training.checkpoints import latest_checkpoint
from sgrnn.training.run import Run

from .tiny import Training, same

Start = Callable[..., Training]
Weights = dict[str, Tensor]

EXPONENTIAL = ("--average.kind=exponential", "--average.decay=0.8")
TRIGGERED = (
    "--average.kind=triggered", "--average.non_monotone=1", "--optimizer.learning_rate=0.4",
    "--schedule.kind=constant", "--training.max_updates=49",
)  # fmt: skip


def kept(training: Training) -> Weights:
    """The weights that lie in the latest checkpoint for others to use."""
    checkpoint = latest_checkpoint(training.run.checkpoints)
    assert checkpoint is not None
    return load_file(checkpoint.folder / "model.safetensors")


def in_training(training: Training) -> Weights:
    """The weights that training goes on with."""
    average = training.saved["state"]["average"]
    return kept(training) if average is None else average["training"]


def history(training: Training, updates: int) -> list[Weights]:
    """Train with a stop after every update, and return the weights after each."""
    after = []
    for update in range(1, updates + 1):
        training(update)
        after.append(in_training(training))
    return after


def assert_weights(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-6), name


def assert_others(found: Weights, others: Weights) -> None:
    assert all(not torch.allclose(found[name], tensor, rtol=1e-3) for name, tensor in others.items())


def of_valid(training: Training) -> list[tuple[int, float]]:
    return [(record["update"], record["valid_loss"]) for record in training.metrics if "valid_loss" in record]


def test_an_exponential_mean_is_its_recursion_and_training_does_not_see_it(start: Start) -> None:
    schedule = "--schedule.kind=constant"
    plain = start("plain", schedule)
    averaged, whole = (start(name, schedule, *EXPONENTIAL) for name in ("mean", "whole"))
    plain()
    whole()
    mean: Weights = {}
    for weights in history(averaged, 10):
        mean = {name: 0.8 * mean.get(name, tensor) + 0.2 * tensor for name, tensor in weights.items()}
    assert_weights(kept(averaged), mean)
    assert_others(mean, in_training(averaged))
    assert same(in_training(averaged), kept(plain))
    assert averaged.metrics == whole.metrics
    assert same(averaged.saved, whole.saved)
    assert averaged.metrics[-1]["averaged"] == 10


def test_a_mean_begins_when_the_validation_loss_stalls_and_takes_in_all_weights_from_there_on(start: Start) -> None:
    parts, whole = start("parts", *TRIGGERED), start("whole", *TRIGGERED)
    whole()
    after = history(parts, 49)
    assert parts.metrics == whole.metrics
    assert same(parts.saved, whole.saved)
    losses = [loss for _, loss in of_valid(whole)]
    stalled = next(number for number in range(2, len(losses)) if losses[number] > min(losses[: number - 1]))
    began = 9 * (stalled + 1)
    assert began < 40, "the test means to go on for more than an epoch"
    since = after[began - 1 :]
    assert [record.get("averaged") for record in whole.metrics if "valid_loss" in record] == [
        None if update <= began else update - began + 1 for update, _ in of_valid(whole)
    ]
    mean = {name: torch.stack([weights[name] for weights in since]).mean(0) for name in since[0]}
    assert_weights(kept(whole), mean)
    assert_others(mean, since[-1])
    model = build_model(whole.run.recipe, whole.files.vocabulary_size)
    model.load_state_dict(kept(whole))
    assert whole.problem.score(model, "valid")["loss"] == losses[-1]


def test_what_is_loaded_evaluated_and_exported_is_the_mean(start: Start) -> None:
    training = start("run", *EXPONENTIAL, "--training.max_updates=9", "--model.dropout=0")
    training()
    model, tokenizer = sgrnn.load(training.run.folder)
    assert same(dict(model.state_dict()), kept(training))
    assert_others(kept(training), in_training(training))
    best = best_record(training.run)
    assert best is not None
    assert training.problem.score(model, "valid")["loss"] == best["valid_loss"]
    sgrnn.export(training.run.folder, training.run.folder / "exported")
    again, _ = sgrnn.load(training.run.folder / "exported")
    assert same(dict(again.state_dict()), kept(training))
    assert best["valid_loss"] < log(tokenizer.vocabulary_size)


def test_training_hands_back_the_mean(start: Start) -> None:
    training = start("run", *EXPONENTIAL, "--training.max_updates=3")
    model = loop.train(training.run, training.problem, lambda record: None)
    assert same(dict(model.state_dict()), kept(training))


def test_a_diagnosis_is_of_the_weights_in_training(start: Start) -> None:
    found = []
    for name, options in (("plain", ()), ("mean", EXPONENTIAL)):
        training = start(name, "--model.dropout=0", "--training.max_updates=9", *options)
        training()
        found.append(diagnose(training.run, training.run.folder.parent / "data", horizon=4, spans=6))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("scores", "non_monotone", "expected"),
    [
        ([], 0, False),
        ([3.0], 0, False),
        ([3.0, 3.0], 0, False),
        ([3.0, 3.1], 0, True),
        ([3.0, 3.1], 1, False),
        ([3.0, 2.0, 2.9], 1, False),
        ([3.0, 2.0, 3.1], 1, True),
        ([2.0, 9.0, 9.0, 9.0, 9.0, 9.0], 5, False),
        ([2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 2.1], 5, True),
        ([2.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.9], 5, False),
    ],
)
def test_it_stalls_where_merity_says_so(scores: list[float], non_monotone: int, expected: bool) -> None:
    """`t > n and v > min(logs[: t - n])` before v is logged, as the t-th from 0 on (algorithm 1)."""
    assert stalls(scores, non_monotone) == expected
    if scores:
        *logs, v = scores
        t = len(logs)
        assert stalls(scores, non_monotone) == (t > non_monotone and v > min(logs[: t - non_monotone]))


def test_evaluations_inside_an_epoch_begin_no_mean(start: Start) -> None:
    plain, often = start("plain", *TRIGGERED), start("often", *TRIGGERED, "--training.evaluate_every=2")
    plain()
    often()
    for part in ("model", "state"):
        assert same(often.saved[part], plain.saved[part])


def test_a_checkpoint_of_before_averages_goes_on(trained: Training, whole: Training) -> None:
    folder = trained.run.checkpoints / "update-000000004"
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state.pop("average", 0) is None
    torch.save(state, folder / "state.pt")
    progress = json.loads((folder / "progress.json").read_text())
    del progress["digest"]
    progress["files"]["state.pt"] = file_digest(folder / "state.pt")
    (folder / "progress.json").write_text(json.dumps({**progress, "digest": json_digest(progress)}))
    trained()
    assert trained.metrics == whole.metrics
    assert same(trained.saved, whole.saved)


def test_a_run_keeps_its_average(start: Start, trained: Training) -> None:
    for name, options in (("first", EXPONENTIAL), ("second", ("--average.kind=triggered",))):
        recipe = start(name, *options).run.recipe
        with pytest.raises(
            InputError, match=r"average must stay null in a run that goes on, got .*: the evaluations so"
        ):
            Training(Run(trained.run.folder, recipe, trained.run.tokenizer), trained.files)()


def test_numbers_out_of_range_are_refused(start: Start) -> None:
    for options, message in (
        (("--average.kind=exponential", "--average.decay=1"), "average.decay must be less than 1, got 1"),
        (("--average.kind=triggered", "--average.non_monotone=-1"), "average.non_monotone must be greater than or eq"),
        (("--average.kind=mean",), "average.kind must be one of triggered, exponential, got 'mean'"),
        (("--average.decay=0.9",), "average.kind is missing; expected one of triggered, exponential"),
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            start("run", *options)
        assert message in str(refused.value)
