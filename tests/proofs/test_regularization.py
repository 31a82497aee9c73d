"""Every estimator trains a regularized language model as plain PyTorch does with the same masks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import as_if_trained, gradients, make_state, make_text
from tolerances import assert_close
from torch import Tensor

from sgrnn.cores import LSTM, SequentialCore
from sgrnn.estimators import (
    BPTT,
    Checkpointed,
    ExactAhead,
    GradientEstimator,
    Mixed,
    Step,
    SyntheticGradients,
    TruncatedBPTT,
    schedules,
)
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span

WORDS, EMBEDDING, HIDDEN, STEPS, ROWS, WINDOW = 11, 4, 5, 8, 3, 3
ALPHA, BETA = 0.7, 0.9
Estimate = Callable[[LanguageModel], GradientEstimator]


def awd(**options: Any) -> LanguageModel:
    """A small AWD-LSTM in float64: three layers, of which the last is as wide as the tied embedding."""
    torch.manual_seed(0)
    of_layers: dict[str, Any] = {"locked_dropout": True, "weight_dropout": 0.5}
    core = SequentialCore(
        [LSTM(EMBEDDING, HIDDEN, 2, dropout=0.3, **of_layers), LSTM(HIDDEN, EMBEDDING, **of_layers)],
        dropout=0.3, locked_dropout=True,
    )  # fmt: skip
    parts = {
        "tied": True, "dropout": 0.4, "output_dropout": 0.25, "word_dropout": 0.2, "locked_dropout": True,
        "activation_regularization": ALPHA, "temporal_activation_regularization": BETA, "initial_range": 0.8,
        "output_precision": torch.float64,
    }  # fmt: skip
    return LanguageModel(WORDS, EMBEDDING, core, EMBEDDING, **parts | options).double()


def train(model: LanguageModel, estimator: GradientEstimator, span: Span) -> tuple[Step, dict[str, Any]]:
    """One update, and the masks that were drawn in it."""
    scopes: list[Any] = []
    handle = model.register_forward_pre_hook(lambda *_: scopes.append(model.word_dropout.masks))
    torch.manual_seed(3)
    step = estimator.backward(span, make_state(model))
    handle.remove()
    assert len(set(map(id, scopes))) == 1, "all that runs belongs to one span"
    assert model.word_dropout.masks is None
    core: Any = model.core
    below, last = core.cores
    held = scopes[0]._held
    return step, {
        "word": held[model.word_dropout, 0],
        "embedding": held[model.dropout, 0],
        "between": [held[below.dropout, 1], held[core.dropout, 1]],
        "weights": [held[below.weight_dropout, 0], held[below.weight_dropout, 1], held[last.weight_dropout, 0]],
        "outputs": held[model.output_dropout, 0],
    }


def by_hand(model: LanguageModel, masks: dict[str, Any], span: Span, window: int) -> tuple[Tensor, Any]:
    """The mean loss and the parameters' gradients of the objective, in plain PyTorch, step by step."""
    model.zero_grad()
    core: Any = model.core
    below, last = core.cores
    layers = [*below.layers, *last.layers]
    (hidden, cell), (last_hidden, last_cell) = make_state(model)
    states = [(hidden[0], cell[0]), (hidden[1], cell[1]), (last_hidden[0], last_cell[0])]
    vectors = F.embedding(span.inputs, model.embedding.weight * masks["word"].unsqueeze(1)) * masks["embedding"]
    outputs, begins = [], span.marked_first()
    for step in range(span.steps):
        if step % window == 0:
            states = [(h.detach(), c.detach()) for h, c in states]
        below_it, goes_on = vectors[step], ~begins[step].unsqueeze(1)
        for number, layer in enumerate(layers):
            h, c = (part * goes_on for part in states[number])
            recurrent = layer.weight_hh_l0 * masks["weights"][number]
            gates = F.linear(below_it, layer.weight_ih_l0, layer.bias_ih_l0) + F.linear(h, recurrent, layer.bias_hh_l0)
            i, f, g, o = gates.chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states[number] = (h, c)
            below_it = h * masks["between"][number] if number < 2 else h
        outputs.append(below_it)
    raw = torch.stack(outputs)
    dropped = raw * masks["outputs"]
    logits = F.linear(dropped, model.embedding.weight, model.output.bias)
    loss = F.cross_entropy(logits.flatten(0, 1), span.targets.flatten())
    changes = (raw[1:] - raw[:-1]) * ~begins[1:].unsqueeze(-1)
    (loss + ALPHA * dropped.pow(2).mean() + BETA * changes.pow(2).mean()).backward()
    return loss.detach(), gradients(model)


def synthetic(model: LanguageModel, **options: Any) -> SyntheticGradients:
    synthesizer = model.synthesizer(4, hidden_size=8, rank=3, projection=3)
    return SyntheticGradients(model, model.loss, WINDOW, synthesizer=synthesizer, **options)


WHOLE: dict[str, Estimate] = {
    "full": lambda model: BPTT(model, model.loss),
    "one window": lambda model: TruncatedBPTT(model, model.loss, STEPS, parallel=True, low_memory=False),
    "reaching back": lambda model: TruncatedBPTT(model, model.loss, STEPS, every=STEPS),
    "checkpointed": lambda model: Checkpointed(model, model.loss, WINDOW),
    "checkpointed, each step": lambda model: Checkpointed(model, model.loss, 1),
    "exact ahead": lambda model: ExactAhead(model, model.loss, WINDOW, STEPS),
    "exact ahead, one batch": lambda model: ExactAhead(model, model.loss, WINDOW, STEPS, parallel=True),
    "traces to the end": lambda model: synthetic(model, trace_decay=1.0),
    "all real": lambda model: Mixed(synthetic(model), schedules.Constant(0.0)),
}
"""Estimators that go back through all of a span whose rows end with it."""

CUT: dict[str, Estimate] = {
    "in order": lambda model: TruncatedBPTT(model, model.loss, WINDOW),
    "one batch": lambda model: TruncatedBPTT(model, model.loss, WINDOW, parallel=True),
    "low memory": lambda model: TruncatedBPTT(model, model.loss, WINDOW, low_memory=True),
    "nothing predicted": lambda model: synthetic(model),
    "nothing predicted, one batch": lambda model: synthetic(model, parallel=True),
    "nothing predicted, low memory": lambda model: synthetic(model, low_memory=True),
}
"""Estimators that let nothing cross a boundary, or not yet."""

STARTS = {"no starts": None, "starts": [(0, 1), (2, 0), (3, 2), (6, 1)]}


@pytest.mark.parametrize("starts", STARTS)
@pytest.mark.parametrize("name", [*WHOLE, *CUT])
def test_gradients_are_those_of_plain_pytorch_and_the_loss_is_without_penalties(name: str, starts: str) -> None:
    model = awd()
    ends = torch.ones(ROWS, dtype=torch.bool)
    span = make_text(STEPS, ROWS, is_first=STARTS[starts], is_last=ends)
    step, masks = train(model, (WHOLE | CUT)[name](model).double(), span)
    found = gradients(model)
    loss, expected = by_hand(model, masks, span, STEPS if name in WHOLE else WINDOW)
    assert_close(step.loss, loss)
    assert_close(found, expected)


@pytest.mark.parametrize("name", ["one batch", "low memory"])
@pytest.mark.parametrize("ahead", ["model", "targets"])
def test_windows_in_order_are_windows_as_one_batch_where_gradients_are_predicted(name: str, ahead: str) -> None:
    found = []
    for options in ({}, {"parallel": True} if name == "one batch" else {"low_memory": True}):
        model = awd()
        estimator = as_if_trained(synthetic(model, ahead=ahead, run_ahead=2, **options), std=0.3)
        step, masks = train(model, estimator, make_text(STEPS, ROWS))
        found.append((vars(step), masks, gradients(model), gradients(estimator)))
    assert_close(found[1], found[0])


PARTS = {
    "embedding": {"dropout": 0.0},
    "words": {"word_dropout": 0.0},
    "outputs": {"output_dropout": 0.0},
    "activation": {"activation_regularization": 0.0},
    "changes": {"temporal_activation_regularization": 0.0},
}


def test_every_part_matters() -> None:
    found = {}
    for name, options in {"all": {}, **PARTS}.items():
        model = awd(**options)
        torch.manual_seed(3)
        BPTT(model, model.loss).backward(make_text(STEPS, ROWS), make_state(model))
        found[name] = gradients(model)["embedding.weight"]
    for name in PARTS:
        assert not torch.allclose(found[name], found["all"], rtol=1e-3), name


@pytest.mark.parametrize(
    ("one", "other"),
    [("in order", "one batch"), ("in order", "low memory"), ("traces to the end", "checkpointed")],
)
def test_dropout_of_each_step_beside_that_of_a_span_is_the_same_however_windows_run(one: str, other: str) -> None:
    """A window that runs again draws anew for each step what it drew before, and for the span nothing."""
    found = []
    for name in (one, other):
        torch.manual_seed(0)
        core = LSTM(EMBEDDING, EMBEDDING, 2, dropout=0.5, weight_dropout=0.5)
        model = LanguageModel(
            WORDS, EMBEDDING, core, EMBEDDING, dropout=0.5, word_dropout=0.3, activation_regularization=ALPHA,
            initial_range=0.8, output_precision=torch.float64,
        ).double()  # fmt: skip
        estimator = (WHOLE | CUT)[name](model).double()
        torch.manual_seed(2)
        step = estimator.backward(make_text(STEPS, ROWS, is_last=torch.ones(ROWS, dtype=torch.bool)), make_state(model))
        found.append((step.loss, gradients(model), torch.get_rng_state()))
    assert_close(found[1], found[0])
