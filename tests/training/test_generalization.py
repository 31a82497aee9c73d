"""The generalization gap: the best model on as much of the train text as there is to validate on, scored alike."""

from pathlib import Path

import pytest
import torch

from sgrnn import load, score
from sgrnn.analysis.comparison import table_of
from sgrnn.analysis.report.page import facts
from sgrnn.training.generalization import best_train_part, log_train_part

from .conftest import Start


@torch.no_grad()
def loss_of_the_end(run: Path, tokens: int, *, lines: bool) -> float:
    """The loss of the last tokens of the train text, one at a time."""
    model, tokenizer = load(run)
    text = tokenizer.encode((run.parent / "train.txt").read_text()).tolist()
    state, nats, start = model.initial_state(1), 0.0, len(text) - tokens
    for at in range(start, len(text)):
        read = text[at - 1]
        if lines and read == tokenizer.eos_id:
            state = model.initial_state(1)
        outputs, state = model(torch.tensor([[read]]), state)
        nats += float(model.loss(outputs, torch.tensor([[text[at]]])))
    return nats / tokens


@pytest.mark.parametrize("reset", ["none", "line"])
def test_the_best_model_is_scored_on_the_end_of_the_train_text(start: Start, reset: str) -> None:
    training = start("mine", f"--data.reset={reset}", "--optimizer.learning_rate=1.0", "--training.max_updates=60")
    assert log_train_part(training.run, training.problem) is None, "not before there is a model"
    training()
    before = list(training.run.records())
    record = log_train_part(training.run, training.problem)
    assert record is not None
    evaluations = [each for each in before if "valid_loss" in each]
    best = min(evaluations, key=lambda each: each["valid_loss"])
    assert best["update"] < record["update"] == 60, "the test is of a best model that is not the last"
    assert list(training.run.records()) == [*before, record]
    assert (record["best_update"], record["epoch"]) == (best["update"], before[-1]["epoch"])
    tokens = training.files["valid"].tokens
    assert record["train_part_loss"] == pytest.approx(
        loss_of_the_end(training.run.folder, tokens, lines=reset == "line"), rel=1e-5
    )
    assert log_train_part(training.run, training.problem) is None, "it is logged once"
    (training.run.folder / "scores.json").unlink()  # as by a kill between the two
    assert log_train_part(training.run, training.problem) is None
    assert list(training.run.records()) == [*before, record]
    assert best_train_part(training.run) is not None, "the score is kept all the same"

    headings, (row,) = table_of([training.run])
    cells = dict(zip(headings, row, strict=True))
    gap = best["valid_loss"] - record["train_part_loss"]
    assert (cells["train loss"], cells["gap"]) == (f"{record['train_part_loss']:.4f}", f"{gap:+.4f}")
    shown = f"loss {record['train_part_loss']:.4f} on as much of the train text, {best['valid_loss']:.4f}"
    assert dict(facts(training.run))["train and validation"] == f"{shown}: a gap of {gap:.4f}"


def test_a_short_train_text_is_read_as_a_whole(start: Start, folder: Path) -> None:
    (folder / "valid.txt").write_text((folder / "train.txt").read_text() * 2)
    training = start("mine")
    training()
    record = log_train_part(training.run, training.problem)
    assert record is not None
    model, tokenizer = load(training.run)
    whole = score(model, tokenizer, folder / "train.txt")
    assert record["train_part_loss"] == pytest.approx(whole.loss, rel=1e-6)
    assert record["train_part_perplexity"] == pytest.approx(whole.perplexity, rel=1e-6)


def test_a_run_that_was_not_measured_says_how_it_is(start: Start) -> None:
    training = start("mine")
    training()
    assert best_train_part(training.run) is None
    assert "gap" not in table_of([training.run])[0]
    assert dict(facts(training.run))["train and validation"] == (
        f"not measured: `sgrnn evaluate {training.run.folder} --split train-part`"
    )
