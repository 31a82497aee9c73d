"""Estimators report what their metrics are defined as, and inject what their options make of predictions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
    as_if_trained,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close
from torch import Tensor, nn

import sgrnn
from sgrnn.estimators import BPTT, GradientEstimator, Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import leaves, state_size
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer

STEPS, WINDOW, BOUNDARIES = 6, 2, 4
ALL = torch.ones(3 * ROWS, dtype=torch.bool)


def observed_table(loss: Loss = squared_error, **options: Any) -> tuple[nn.Module, Table, SyntheticGradients]:
    """A core of one LSTM layer, and predictions that are there to be set."""
    model, table = make_core("LSTM-1"), Table(BOUNDARIES * ROWS, 2 * SIZE)
    switches: dict[str, Any] = {"remove_mean": False, "remove_radial": False, "shrinkage": False} | options
    return model, table, SyntheticGradients(model, loss, WINDOW, synthesizer=table, **switches).double()


def target_of(table: Table, estimator: SyntheticGradients, rows: Tensor, scale: Tensor | float = 1.0) -> Tensor:
    """Return what predictions in a scale were trained towards, at the marked boundary rows, read off their gradient."""
    assert table.values.grad is not None
    errors = table.values.grad[: len(rows), 0][rows] * (rows.sum() * 2 * SIZE / 2)
    return table.values.detach()[: len(rows), 0][rows] * scale - errors * estimator.predictor.scale


def test_the_metrics_are_those_of_the_rows_that_go_on_over_several_updates() -> None:
    decay = 0.6
    model, table, estimator = observed_table(shrinkage=True, ema_decay=decay)
    state = make_state(model)
    dot_mean = square_mean = 0.0
    mean_square = torch.ones((), dtype=torch.float64)
    beginnings = [[], [(0, 0), (2, 1), (3, 2)], [(0, row) for row in range(ROWS)] + [(4, 0)]]
    for update, places in enumerate(beginnings, start=1):
        span, inside = make_span(STEPS, is_first=places or None, seed=update), ALL.clone()
        for step, row in places:
            if step % WINDOW == 0:
                inside[step // WINDOW * ROWS + row] = False
        predicted = mean_square.sqrt() * table.values.detach()[: 3 * ROWS, 0][inside]
        table.zero_grad()
        step = estimator.backward(span, state)
        target = target_of(table, estimator, inside, mean_square.sqrt())

        assert_close(step.metrics["target_r2"], 1 - (predicted - target).square().sum() / target.square().sum())
        cosine = torch.cosine_similarity(predicted.flatten(), target.flatten(), dim=0)
        assert_close(step.metrics["target_cosine"], cosine)
        weight = max(1 / update, 1 - decay)
        mean_square = mean_square + weight * (target.square().mean() - mean_square)
        assert_close(step.metrics["target_rms"], mean_square.sqrt())
        dot_mean = decay * dot_mean + (1 - decay) * (predicted * target).sum()
        square_mean = decay * square_mean + (1 - decay) * predicted.square().sum()
        assert_close(step.metrics["shrinkage"], (dot_mean / square_mean).clamp(0, 1))
        state = step.state


def test_a_span_whose_every_boundary_is_a_beginning_tells_nothing_of_the_scale() -> None:
    model = make_core("LSTM-1")
    table = Table(2 * ROWS, 2 * SIZE)
    estimator = SyntheticGradients(
        model, squared_error, STEPS, synthesizer=table, remove_mean=True, shrinkage=False
    ).double()
    begun = make_span(STEPS, is_first=[(0, row) for row in range(ROWS)])
    step = estimator.backward(begun, make_state(model))
    assert estimator.predictor.mean_square.item() == 1
    assert table.values.grad is not None
    assert not table.values.grad.any()
    assert all(metric.isfinite() for metric in step.metrics.values())
    step = estimator.backward(make_span(STEPS), make_state(model))
    assert_close(target_of(table, estimator, ALL[:ROWS]).square().mean(), estimator.predictor.mean_square)
    assert step.metrics["shrinkage"].item() == 1, "without shrinkage"


def test_targets_of_zero_tell_nothing_of_quality() -> None:
    """A metric that is not a number would be one in the log, and stop the training that it describes."""
    model, _, estimator = observed_table(lambda outputs, targets: 0 * outputs.sum(dim=-1), discount=0)
    step = estimator.backward(make_span(STEPS), make_state(model))
    assert step.metrics["target_r2"] == 0
    assert all(value.isfinite() for value in step.metrics.values())


ESTIMATORS: dict[str, Callable[[nn.Module], GradientEstimator]] = {
    "truncated": lambda model: TruncatedBPTT(model, squared_error, WINDOW),
    "synthetic": lambda model: SyntheticGradients(
        model, squared_error, WINDOW, synthesizer=MLPSynthesizer(state_size(make_state(model)))
    ).double(),
}


@pytest.mark.parametrize(("name", "core"), [("truncated", "GRU-1"), ("synthetic", "LSTM-2")])
def test_the_cell_norm_is_that_of_the_last_tensor_and_nothing_of_a_step_holds_a_graph(name: str, core: str) -> None:
    model = make_core(core)
    step = ESTIMATORS[name](model).backward(make_span(STEPS), make_state(model))
    last = leaves(step.state)[-1]
    assert_close(step.metrics["cell_norm"], last.square().sum(dim=(0, 2)).sqrt().mean())
    assert not any(tensor.requires_grad for tensor in [step.loss, *leaves(step.state), *step.metrics.values()])
    assert step.loss.shape == ()
    assert all(metric.shape == () for metric in step.metrics.values())


def test_a_state_that_ends_in_a_counter_has_no_cell_norm() -> None:
    model = make_core("own")
    step = TruncatedBPTT(model, squared_error, 2).backward(make_span(STEPS), make_state(model))
    assert step.metrics == {}


@pytest.mark.parametrize("kind", ["all at once", "in turn"])
def test_the_mean_is_removed_over_all_boundaries_that_are_asked_together(kind: str) -> None:
    model = make_language_model()
    synthesizer = model.adjoint_synthesizer(WINDOW) if kind == "in turn" else model.synthesizer(lookahead=WINDOW)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter)
    estimator = SyntheticGradients(
        model, model.loss, WINDOW, synthesizer=synthesizer, remove_mean=True, remove_radial=False, shrinkage=False
    ).double()
    span = make_text(STEPS)
    state = model.initial_state(span.batch_size)
    injected = estimator.look(span, state).injected.view(STEPS // WINDOW, span.batch_size, -1)
    together, apart = (injected.mean(dim=over).abs().max() / injected.abs().max() for over in ((0, 1), 1))
    assert together < 1e-12
    assert (apart < 1e-12) == (kind == "in turn")


class Carry(nn.Module):
    """Keeps its state and gives nothing, so that what is injected is what arrives."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return 0 * state.expand(len(inputs), *state.shape), state * 1


def test_shuffling_gives_rows_the_predictions_of_others() -> None:
    rows = 60
    arrived, table = [], Table(2 * rows, 2 * SIZE)
    for shuffle in (False, True):
        table.zero_grad()
        torch.manual_seed(0)
        estimator = SyntheticGradients(
            Carry(), squared_error, 1, synthesizer=table, remove_mean=False, remove_radial=False, shrinkage=False,
            shuffle=shuffle,
        ).double()  # fmt: skip
        nothing = torch.zeros(1, rows, 2 * SIZE, dtype=torch.float64)
        estimator.backward(Span(nothing, nothing), nothing[0])
        arrived.append(target_of(table, estimator, torch.ones(rows, dtype=torch.bool)))
    predicted = table.values.detach()[rows:, 0]
    assert_close(arrived[0], predicted)
    nearest = torch.cdist(arrived[1], predicted).argmin(dim=1)
    assert_close(arrived[1], predicted[nearest])
    assert sorted(nearest.tolist()) == list(range(rows))
    assert nearest.tolist() != list(range(rows))


def test_an_error_synthesizer_learns_on_a_bare_core_that_reads_vectors() -> None:
    """As a user writes it, from public names alone."""
    torch.manual_seed(0)
    core = nn.GRU(SIZE, SIZE, num_layers=2)
    state = torch.randn(2, ROWS, SIZE)
    synthesizer = sgrnn.ErrorSynthesizer(
        sgrnn.state_size(state), SIZE, SIZE, lookahead=3, hidden_size=16, rank=6, projection=3
    )
    estimator = sgrnn.SyntheticGradients(core, squared_error, 2, synthesizer=synthesizer, shrinkage=False)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=3e-2)
    inputs, targets = torch.randn(2, STEPS + 3, ROWS, SIZE)
    span = sgrnn.Span(inputs, targets).slice(0, STEPS)
    metrics = {}
    for _ in range(100):
        optimizer.zero_grad()
        metrics = estimator.backward(span, state).metrics
        optimizer.step()
    assert metrics["target_r2"] > 0.9


def test_the_share_is_that_of_all_that_enters_the_core() -> None:
    model, seen = make_language_model(), []

    def loss(outputs, targets):
        if outputs.shape[0] == 4:
            outputs.retain_grad()
            seen.append(outputs)
        return model.loss(outputs, targets)

    estimator = SyntheticGradients(model, loss, 2, synthesizer=model.synthesizer(2), remove_radial=False).double()
    for parameter in estimator.parameters():
        parameter.data.uniform_(-1, 1)
    estimator.predictor.shrinkage.dot.fill_(1)
    estimator.predictor.shrinkage.square.fill_(1)
    span, state = make_text(4), model.initial_state(3)
    injected = estimator.look(span, state).injected / (4 * 3)
    step = estimator.backward(span, state)
    whole = (injected.square().sum() + seen[-1].grad.square().sum()).sqrt()
    assert float(step.metrics["injected_share"]) == pytest.approx(float(injected.norm() / whole))
    assert "injected_share" not in BPTT(model, model.loss).backward(span, state).metrics


def test_a_first_span_without_an_answer_says_nothing_of_the_unit_of_output_gradients() -> None:
    def answered(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) * targets.any(dim=-1)

    model, (span, future) = make_core("LSTM-1"), (make_span(STEPS), make_span(3, seed=8))
    silent = Span(span.inputs, torch.zeros_like(span.targets), future=future)
    found = []
    for spans in ([span.with_future(future)], [silent, span.with_future(future)]):
        synthesizer = ErrorSynthesizer(2 * SIZE, SIZE, SIZE, lookahead=3, hidden_size=8, rank=4)
        estimator = as_if_trained(SyntheticGradients(model, answered, WINDOW, synthesizer=synthesizer).double())
        for each in spans:
            estimator.zero_grad()
            estimator.backward(each, make_state(model))
            assert 0 < max(float(gradient.abs().max()) for gradient in gradients(estimator).values()) < 100
        found.append(estimator.reader.output_square)
    assert_close(found[1], found[0])
