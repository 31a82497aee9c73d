"""Estimators: the figures they report, what they save, what they refuse."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    Table,
    divide,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

import sgrnn
from sgrnn.cores import initial_state
from sgrnn.estimators import BPTT, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, leaves, state_size
from sgrnn.synthesizers import MLPSynthesizer

STEPS, WINDOW, BOUNDARIES = 6, 2, 4
ESTIMATORS: dict[str, Callable[[nn.Module], GradientEstimator]] = {
    "full": lambda model: BPTT(),
    "truncated": lambda model: TruncatedBPTT(WINDOW),
    "synthetic": lambda model: SyntheticGradients(
        WINDOW, MLPSynthesizer(state_size(make_state(model))), remove_mean=True
    ).double(),
}


def observed_table(**options: Any) -> tuple[nn.Module, Table, SyntheticGradients]:
    """A core of one LSTM layer, and predictions that are there to be set.

    With a follower the synthesizer is asked about all boundaries but the last, the follower about all but the first.
    """
    model = make_core("LSTM-1")
    asked = BOUNDARIES - 1 if "follow_rate" in options else BOUNDARIES
    table = Table(asked * ROWS, 2 * SIZE)
    switches: dict[str, Any] = {"remove_mean": False, "remove_radial": False, "shrinkage": False} | options
    return model, table, SyntheticGradients(WINDOW, table, **switches).double()


def target_of(table: Table, estimator: SyntheticGradients, rows: Tensor) -> Tensor:
    """What the predictions of the marked boundary rows were trained towards, read off their gradient."""
    assert table.values.grad is not None
    errors = table.values.grad[: len(rows), 0][rows] * (rows.sum() * 2 * SIZE / 2)
    return (table.values.detach()[: len(rows), 0][rows] - errors) * estimator.mean_square.sqrt()


ALL = torch.ones(3 * ROWS, dtype=torch.bool)


def spans_and_rows() -> list[tuple[Span, Tensor]]:
    """Three spans, and the boundary rows of each at which a sequence goes on."""
    is_first = [[], [(0, 0), (2, 1), (3, 2)], [(0, row) for row in range(ROWS)] + [(4, 0)]]
    found = []
    for number, places in enumerate(is_first):
        inside = ALL.clone()
        for step, row in places:
            if step % WINDOW == 0:
                inside[step // WINDOW * ROWS + row] = False
        found.append((make_span(STEPS, is_first=places or None, seed=number), inside))
    return found


@pytest.mark.parametrize("decay", [0.3, 0.6, 0.99])
def test_figures_are_those_of_their_definitions_over_several_updates(decay: float) -> None:
    model, table, estimator = observed_table(shrinkage=True, ema_decay=decay)
    state = make_state(model)
    dot_mean = square_mean = 0.0
    mean_square = torch.ones((), dtype=torch.float64)
    for update, (span, inside) in enumerate(spans_and_rows(), start=1):
        predicted = mean_square.sqrt() * table.values.detach()[: 3 * ROWS, 0][inside]
        table.zero_grad()
        step = estimator.backward(model, squared_error, span, state)
        target = target_of(table, estimator, inside)

        power = target.square().sum()
        assert_close(step.metrics["target_r2"], 1 - (predicted - target).square().sum() / power)
        assert_close(
            step.metrics["target_cosine"], torch.cosine_similarity(predicted.flatten(), target.flatten(), dim=0)
        )
        weight = max(1 / update, 1 - decay)
        mean_square = mean_square + weight * (target.square().mean() - mean_square)
        assert_close(step.metrics["target_rms"], mean_square.sqrt())
        dot_mean = decay * dot_mean + (1 - decay) * (predicted * target).sum()
        square_mean = decay * square_mean + (1 - decay) * predicted.square().sum()
        assert_close(step.metrics["shrinkage"], (dot_mean / square_mean).clamp(0, 1))
        state = step.state


def test_the_scale_is_a_plain_mean_first_and_a_running_mean_later() -> None:
    model, table, estimator = observed_table(ema_decay=0.75)
    with torch.no_grad():
        table.values.zero_()
    state, span = make_state(model), make_span(STEPS)
    estimator.backward(model, squared_error, span, state)
    once = estimator.mean_square.clone()
    for _ in range(3):  # a target twice as large
        estimator.backward(model, lambda outputs, targets: 2 * squared_error(outputs, targets), span, state)
    # plain means of 1, 4, 4, 4 in units of the first: the weights 1, 1/2, 1/3, 1/4 are not below 1 - decay yet
    assert_close(estimator.mean_square, once * (1 + 4 + 4 + 4) / 4)
    estimator.backward(model, squared_error, span, state)
    assert_close(estimator.mean_square, once * (0.75 * 13 / 4 + 0.25 * 1))


def test_a_span_whose_every_boundary_is_a_beginning_says_nothing_of_the_scale() -> None:
    model = make_core("LSTM-1")
    table = Table(2 * ROWS, 2 * SIZE)
    estimator = SyntheticGradients(STEPS, table, remove_mean=True, shrinkage=False).double()
    begun = make_span(STEPS, is_first=[(0, row) for row in range(ROWS)])
    step = estimator.backward(model, squared_error, begun, make_state(model))
    assert estimator.mean_square.item() == 1
    assert table.values.grad is not None
    assert not table.values.grad.any()
    assert all(figure.isfinite() for figure in step.metrics.values())
    estimator.backward(model, squared_error, make_span(STEPS), make_state(model))
    assert_close(target_of(table, estimator, ALL[:ROWS]).square().mean(), estimator.mean_square)


def test_without_a_gate_its_figure_is_1() -> None:
    model, _, estimator = observed_table()
    step = estimator.backward(model, squared_error, make_span(STEPS), make_state(model))
    assert step.metrics["shrinkage"].item() == 1


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("core", ["LSTM-2", "GRU-1"])
def test_the_cell_norm_is_the_mean_over_rows_of_the_norm_of_the_last_tensor(core: str, name: str) -> None:
    model = make_core(core)
    step = ESTIMATORS[name](model).backward(model, squared_error, make_span(STEPS), make_state(model))
    last = leaves(step.state)[-1]
    assert_close(step.metrics["cell_norm"], last.square().sum(dim=(0, 2)).sqrt().mean())


def test_a_state_that_ends_in_a_counter_has_no_cell_norm() -> None:
    model = make_core("own")
    step = TruncatedBPTT(2).backward(model, squared_error, make_span(STEPS), make_state(model))
    assert step.metrics == {}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_nothing_of_a_step_holds_a_graph(name: str) -> None:
    model = make_core("LSTM-1")
    step = ESTIMATORS[name](model).backward(model, squared_error, make_span(STEPS), make_state(model))
    assert not any(tensor.requires_grad for tensor in [step.loss, *leaves(step.state), *step.metrics.values()])
    assert step.loss.shape == ()
    assert all(figure.shape == () for figure in step.metrics.values())


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda outputs, targets: (outputs - targets).square().mean(), r"\(\)"),
        (lambda outputs, targets: (outputs - targets).square(), r"\(6, 3, 3\)"),
        (lambda outputs, targets: (outputs - targets).square().sum(-1).mean(0), r"\(3,\)"),
        (lambda outputs, targets: (outputs - targets).square().sum(-1).flatten(), r"\(18,\)"),
    ],
    ids=["scalar", "per feature", "per row", "flat"],
)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loss_that_is_not_one_number_per_step_and_row_is_refused(
    name: str, loss: Callable[[Tensor, Tensor], Tensor], shape: str
) -> None:
    model = make_core("LSTM-1")
    message = (
        rf"^loss must give one number per step and row, \(6, 3\), got {shape}: "
        r"switch off its own averaging \(reduction='none'\)$"
    )
    with pytest.raises(ValueError, match=message):
        ESTIMATORS[name](model).backward(model, loss, make_span(STEPS), make_state(model))
    assert not any(gradient.any() for gradient in gradients(model).values())


class Leaky(nn.Module):
    """Keeps its activations for a loss to find."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        self.activations, state = self.core(inputs, state)
        return self.activations, state


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_loss_that_reaches_into_the_graph_past_the_outputs_is_refused(name: str) -> None:
    model = Leaky()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) + model.activations.square().mean()

    with pytest.raises(ValueError, match=r"^the loss reaches into the model's graph past its outputs: "):
        ESTIMATORS[name](model).backward(model, loss, make_span(STEPS), make_state(model))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_outputs_that_are_no_tensors_are_refused(name: str) -> None:
    class Odd(Leaky):
        def forward(self, inputs: Tensor, state: State) -> tuple[Any, State]:
            outputs, state = super().forward(inputs, state)
            return SimpleNamespace(outputs=outputs), state

    model = Odd()
    with pytest.raises(
        TypeError, match=r"^states and outputs are tensors, or tuples, lists or dicts of them, got Simple"
    ):
        ESTIMATORS[name](model).backward(model, squared_error, make_span(STEPS), make_state(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"window": -3}, "window must be at least 1 step, got -3"),
        ({"discount": -0.1}, r"discount must be in \[0, 1\], got -0.1"),
        ({"discount": 1.1}, r"discount must be in \[0, 1\], got 1.1"),
        ({"trace_decay": 1.1}, r"trace_decay must be in \[0, 1\], got 1.1"),
        ({"ema_decay": 0.0}, r"ema_decay must be in \(0, 1\), got 0.0"),
        ({"run_ahead": -1}, "run_ahead must be at least 0 steps, got -1"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \(0, 1\), got 1.0"),
        ({"follow_rate": 0.0}, r"rate must be in \(0, 1\], got 0.0"),
        ({"follow_every": 0}, "every must be at least 1 update, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        SyntheticGradients(**{"window": 5, "synthesizer": nn.Identity()} | options)


def test_a_truncation_of_no_steps_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^window must be at least 1 step, got 0$"):
        TruncatedBPTT(0)


def test_a_policy_wants_to_see_as_far_as_its_synthesizer() -> None:
    model = make_language_model()
    assert BPTT().lookahead == TruncatedBPTT(3).lookahead == 0
    assert SyntheticGradients(3, model.mlp_synthesizer(0)).lookahead == 0
    assert SyntheticGradients(3, model.mlp_synthesizer(7)).lookahead == 7
    assert SyntheticGradients(3, model.synthesizer(6)).lookahead == 6
    assert [SyntheticGradients(3, model.synthesizer(6), run_ahead=ahead).lookahead for ahead in (0, 2, 6, 9)] == [
        0,
        2,
        6,
        6,
    ]
    assert SyntheticGradients(3, model.mlp_synthesizer(6), run_ahead=2).lookahead == 6, "one that sees no errors"
    assert SyntheticGradients(3, Table(1, 1)).lookahead == 0


def test_the_parameters_of_a_policy_are_its_synthesizers() -> None:
    model = make_language_model()
    for synthesizer in (model.synthesizer(2), model.mlp_synthesizer(2, own_embedding=3, recurrent=4)):
        estimator = SyntheticGradients(3, synthesizer, follow_rate=0.1)
        assert [id(one) for one in estimator.parameters()] == [id(one) for one in synthesizer.parameters()]
    assert list(BPTT().parameters()) == list(TruncatedBPTT(3).parameters()) == []


@pytest.mark.parametrize(("rate", "every"), [(1.0, 3), (0.5, 1), (0.25, 2)])
def test_a_follower_bootstraps_and_the_synthesizer_itself_is_scored_and_trained(rate: float, every: int) -> None:
    """What is injected comes from the copy: it is what another estimator would inject whose synthesizer is the copy."""
    model, table, estimator = observed_table(follow_rate=rate, follow_every=every)
    span, state = make_span(STEPS), make_state(model)
    copy = table.values.detach().clone()
    for update in range(1, 6):
        with torch.no_grad():
            table.values.add_(torch.linspace(-update, 1, table.values.numel()).view_as(table.values))
        other_model, other_table, other = observed_table()
        saved = estimator.state_dict()
        kept = {name for name in saved if not name.startswith(("follower", "synthesizer"))}
        other.load_state_dict({name: saved[name] for name in kept}, strict=False)
        with torch.no_grad():
            other_table.values[ROWS:] = copy
        model.zero_grad()
        table.zero_grad()
        predicted = estimator.mean_square.sqrt() * table.values.detach()[:, 0]
        step = estimator.backward(model, squared_error, span, state)
        other.backward(other_model, squared_error, span, state)
        assert_close(gradients(model), gradients(other_model))
        target = target_of(table, estimator, ALL)
        assert_close(target, target_of(other_table, other, ALL))
        error = (predicted - target).square().sum()
        assert_close(step.metrics["target_r2"], 1 - error / target.square().sum())
        if update % every == 0:
            copy = copy + rate * (table.values.detach() - copy)
    assert not torch.allclose(copy, table.values)


def test_rates_of_1_and_1_need_no_copy() -> None:
    assert observed_table()[2].follower is None
    assert not any("follower" in name for name in observed_table()[2].state_dict())


@pytest.mark.parametrize("kind", ["all at once", "in turn"])
def test_centering_is_over_all_boundaries_that_are_asked_together(kind: str) -> None:
    model = make_language_model()
    synthesizer = model.adjoint_synthesizer(WINDOW) if kind == "in turn" else model.synthesizer(lookahead=WINDOW)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter)
    estimator = SyntheticGradients(WINDOW, synthesizer, remove_mean=True, remove_radial=False, shrinkage=False).double()
    span = make_text(STEPS)
    state = model.initial_state(span.batch_size)
    injected = estimator.look(model, model.loss, span, state).injected.view(STEPS // WINDOW, span.batch_size, -1)
    together, apart = (injected.mean(dim=over).abs().max() / injected.abs().max() for over in ((0, 1), 1))
    assert together < 1e-12
    assert (apart < 1e-12) == (kind == "in turn")


class Carry(nn.Module):
    """Keeps its state and gives nothing, so that what is injected is what arrives."""

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return 0 * state.expand(len(inputs), *state.shape), state * 1


def test_shuffling_gives_rows_the_predictions_of_others() -> None:
    rows = 60
    arrived = []
    for shuffle in (False, True):
        table = Table(2 * rows, 2 * SIZE)
        torch.manual_seed(0)
        estimator = SyntheticGradients(
            1, table, remove_mean=False, remove_radial=False, shrinkage=False, shuffle=shuffle
        ).double()
        nothing = torch.zeros(1, rows, 2 * SIZE, dtype=torch.float64)
        estimator.backward(Carry(), squared_error, Span(nothing, nothing), nothing[0])
        arrived.append(target_of(table, estimator, torch.ones(rows, dtype=torch.bool)))
    predicted = table.values.detach()[rows:, 0]
    assert_close(arrived[0], predicted)
    nearest = torch.cdist(arrived[1], predicted).argmin(dim=1)
    assert_close(arrived[1], predicted[nearest])
    assert sorted(nearest.tolist()) == list(range(rows))
    assert nearest.tolist() != list(range(rows))


def test_a_synthesizer_sees_the_lookahead_of_every_boundary() -> None:
    class Watching(Table):
        lookahead = 3

        def forward(self, state: Any, lookahead: Any = None) -> Tensor:
            seen.append(lookahead)
            return super().forward(state)

    seen: list[Any] = []
    model = make_language_model()
    first, second = divide(make_text(STEPS + 5), [STEPS, 5], futures=True)
    table = Watching(BOUNDARIES * ROWS, state_size(make_state(model)))
    SyntheticGradients(WINDOW, table).double().backward(model, model.loss, first, make_state(model))
    tokens = torch.cat([first.targets, second.targets])
    expected = torch.cat([tokens[edge : edge + 3] for edge in (0, 2, 4, 6)], dim=1)
    assert_identical(seen[0].targets, expected)
    assert seen[0].valid is None


@pytest.mark.parametrize("kind", ["synthesizer", "mlp_synthesizer"])
def test_a_lookahead_without_a_future_is_refused(kind: str) -> None:
    model = make_language_model()
    estimator = SyntheticGradients(WINDOW, getattr(model, kind)(lookahead=2)).double()
    text = make_text(STEPS)
    blind = Span(text.inputs, text.targets)
    with pytest.raises(ValueError, match="looks 2 steps ahead, so a span needs its future"):
        estimator.backward(model, model.loss, blind, make_state(model))
    ended = Span(text.inputs, text.targets, is_last=torch.ones(ROWS, dtype=torch.bool))
    estimator.backward(model, model.loss, ended, make_state(model))


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_an_error_synthesizer_learns_on_a_bare_core_that_reads_vectors(make: Callable[..., nn.Module]) -> None:
    """As a user writes it, from public names alone."""
    torch.manual_seed(0)
    core = make(SIZE, SIZE, num_layers=2)
    state = torch.randn(2, ROWS, SIZE) if make is not nn.LSTM else (torch.randn(2, ROWS, SIZE),) * 2
    synthesizer = sgrnn.ErrorSynthesizer(
        state_size=sgrnn.state_size(state),
        error_size=SIZE,
        features=lambda inputs: inputs,
        feature_size=SIZE,
        steps=3,
        hidden_size=16,
        rank=6,
        projection=3,
    )
    estimator = sgrnn.SyntheticGradients(2, synthesizer, shrinkage=False)
    optimizer = torch.optim.Adam(estimator.parameters(), lr=3e-2)
    inputs, targets = torch.randn(2, STEPS + 3, ROWS, SIZE)
    span = sgrnn.Span(inputs[:STEPS], targets[:STEPS], future=sgrnn.Span(inputs[STEPS:], targets[STEPS:]))
    metrics = {}
    for _ in range(150):
        optimizer.zero_grad()
        metrics = estimator.backward(core, squared_error, span, state).metrics
        optimizer.step()
    assert metrics["target_r2"] > 0.9


def test_targets_of_zero_say_nothing_of_quality() -> None:
    """A figure that is not a number would be one in the log, and stop the training that it describes."""
    model, _, estimator = observed_table()
    step = estimator.backward(
        model, lambda outputs, targets: 0 * outputs.sum(dim=-1), make_span(STEPS), make_state(model)
    )
    estimator.discount = 0
    step = estimator.backward(
        model, lambda outputs, targets: 0 * outputs.sum(dim=-1), make_span(STEPS), make_state(model)
    )
    assert step.metrics["target_r2"] == 0
    assert all(value.isfinite() for value in step.metrics.values())
