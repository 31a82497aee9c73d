"""An estimator hands over the errors that the model makes ahead, as autograd finds them step by step.

An error is the gradient of a step's loss with respect to the model's outputs there. Whatever linear function of the
errors a synthesizer is, with coefficients that see no input later than the error's, its mean under the model's own
predictive distribution is zero.
"""

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from models import (
    ROWS,
    SIZE,
    VOCABULARY,
    OwnCore,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    mark,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM, initial_state
from sgrnn.cores.dropout import Dropout
from sgrnn.estimators import Loss, SyntheticGradients, TruncatedBPTT
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, detach, floating_leaves, map_state, state_size, to_matrix, where_rows
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer
from sgrnn.synthesizers.lookahead import Lookahead, look_ahead

STEPS = 7
STARTS = [(0, 0), (3, 1), (4, 2), (6, 0)]


class Layout(NamedTuple):
    """A window, how far is looked ahead, and how many steps are known after the span."""

    window: int
    lookahead: int
    future: int


LAYOUTS = {
    "future as long as the lookahead": Layout(3, 4, 4),
    "future shorter": Layout(2, 5, 2),
    "future longer": Layout(3, 2, 6),
    "window of one step": Layout(1, 3, 3),
    "window longer than the span": Layout(20, 3, 3),
    "lookahead longer than the span": Layout(2, 11, 9),
    "one step": Layout(3, 1, 1),
}
ENDS = {
    "no row starts or ends": {},
    "rows start": {"is_first": STARTS},
    "rows start, also ahead": {"is_first": STARTS, "later": [(0, 1), (1, 2)]},
    "rows start and end": {"is_first": STARTS, "is_last": torch.tensor([False, True, True])},
    "all rows end": {"is_first": STARTS, "is_last": torch.ones(ROWS, dtype=torch.bool)},
}


class TwoOutputs(nn.Module):
    """A core of which the outputs are a nest: two tensors, one of several axes, and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def initial_state(self, batch_size: int) -> State:
        return initial_state(self.core, batch_size)

    def forward(self, inputs: Tensor, state: State) -> tuple[Any, State]:
        outputs, state = self.core(inputs, state)
        pairs = torch.stack([outputs.sin(), outputs.cos()], dim=-1)
        return (outputs, {"pairs": pairs, "count": torch.ones(*outputs.shape[:2], 1, dtype=torch.long)}), state


def loss_of_two(outputs: Any, targets: Tensor) -> Tensor:
    return squared_error(outputs[0], targets) + (outputs[1]["pairs"].prod(dim=-1) * targets).sum(dim=-1)


class Single(nn.Module):
    """A core of one output without an axis of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("GRU-1")

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.core(inputs, state)
        return outputs[..., 0], state


def loss_of_single(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets[..., 0]).square()


def make(kind: str) -> tuple[nn.Module, Loss]:
    match kind:
        case "language model":
            model = make_language_model(tied=True)
            return model, model.loss
        case "language model of an own core":
            torch.manual_seed(0)
            model = make_language_model(OwnCore())
            return model, model.loss
        case "two outputs":
            return TwoOutputs(), loss_of_two
        case "single output":
            return Single(), loss_of_single
        case _:
            return make_core(kind), squared_error


def make_data(kind: str, future: int, is_first: Any = None, later: Any = None, **rest: Any) -> Span:
    builder = make_text if kind.startswith("language model") else make_span
    known = builder(future, seed=8)
    after = Span(known.inputs, known.targets, mark(future, ROWS, [one for one in later or () if one[0] < future]))
    return builder(STEPS, is_first=is_first, future=after, **rest)


class Recorder(nn.Module):
    """In the place of a synthesizer: keeps what it is asked about, and predicts nothing."""

    sees_errors = True

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.lookahead = steps
        self.seen: list[Lookahead] = []

    def forward(self, state: State, lookahead: Lookahead) -> Tensor:
        self.seen.append(lookahead)
        return torch.zeros_like(to_matrix(state)).unsqueeze(1)


def with_leaves(outputs: Any, leaves: list[Tensor]) -> Any:
    """The same nest with other floating-point tensors."""
    remaining = iter(leaves)
    return map_state(lambda one: next(remaining) if one.is_floating_point() else one, outputs)


def errors_by_hand(model: nn.Module, loss: Loss, pieces: list[Span | None], state: State) -> tuple[Tensor, State]:
    """(steps, ROWS, error size): step by step, the gradient of each row's loss; and the state after the first piece."""
    errors, states = [], []
    known = isinstance(model, nn.RNNBase) or callable(getattr(model, "initial_state", None))
    initial = initial_state(model, ROWS) if known else map_state(torch.zeros_like, state)
    for span in filter(None, pieces):
        for step in range(span.steps):
            if span.is_first is not None:
                state = where_rows(span.is_first[step], initial, state)
            outputs, state = model(span.inputs[step : step + 1], detach(state))
            leaves = [tensor.detach().requires_grad_() for tensor in floating_leaves(outputs)]
            again = with_leaves(outputs, leaves)
            rows = [
                torch.autograd.grad(loss(again, span.targets[step : step + 1])[0, row], leaves, retain_graph=True)
                for row in range(ROWS)
            ]
            errors.append(
                torch.stack([torch.cat([part[0, row].flatten() for part in rows[row]]) for row in range(ROWS)])
            )
        states.append(detach(state))
    return torch.stack(errors), states[0]


def assert_errors(seen: Lookahead, span: Span, layout: Layout, expected: Tensor, unit: Tensor) -> None:
    """Each is the one by hand in a unit, at every valid step of every boundary row."""
    edges = [*range(0, STEPS, layout.window), STEPS]
    valid = look_ahead(span, edges, layout.lookahead).valid
    assert seen.errors is not None
    assert seen.errors.shape == (layout.lookahead, len(edges) * ROWS, expected.shape[2])
    assert not seen.errors.requires_grad
    compared = 0
    for number, edge in enumerate(edges):
        for step in range(layout.lookahead):
            for row in range(ROWS):
                column = number * ROWS + row
                if valid is None or valid[step, column]:
                    assert_close(seen.errors[step, column] * unit, expected[edge + step, row])
                    compared += 1
    assert compared > 0


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("bounds", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["language model", "LSTM-2", "nn.GRU-1"])
def test_errors_handed_over_are_each_steps_gradient_at_the_outputs(
    kind: str, layout: Layout, bounds: dict[str, Any], parallel: bool
) -> None:
    model, loss = make(kind)
    span, state = make_data(kind, layout.future, **bounds), make_state(model)
    recorder = Recorder(layout.lookahead)
    SyntheticGradients(layout.window, recorder, parallel=parallel).double().backward(model, loss, span, state)
    expected, _ = errors_by_hand(model, loss, [span, span.future], state)
    (seen,) = recorder.seen
    assert_errors(seen, span, layout, expected, expected[:STEPS].square().mean().sqrt())


@pytest.mark.parametrize("kind", ["own", "language model of an own core", "nn.LSTM-3", "two outputs", "single output"])
def test_so_they_are_whatever_the_core_its_states_and_its_outputs(kind: str) -> None:
    model, loss = make(kind)
    layout, state = LAYOUTS["future shorter"], make_state(model.core if isinstance(model, Single) else model)
    span = make_data(kind, layout.future, **ENDS["rows start, also ahead"])
    recorder = Recorder(layout.lookahead)
    SyntheticGradients(layout.window, recorder).double().backward(model, loss, span, state)
    expected, _ = errors_by_hand(model, loss, [span, span.future], state)
    assert expected.shape[2] == {"two outputs": 3 * SIZE, "single output": 1}.get(kind, SIZE)
    assert_errors(recorder.seen[0], span, layout, expected, expected[:STEPS].square().mean().sqrt())


def test_without_a_future_they_are_those_within_the_span() -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 4, 0), make_state(model)
    span = make_text(STEPS, is_last=torch.ones(ROWS, dtype=torch.bool))
    assert span.future is None
    recorder = Recorder(layout.lookahead)
    SyntheticGradients(layout.window, recorder).double().backward(model, loss, span, state)
    expected, _ = errors_by_hand(model, loss, [span], state)
    assert_errors(recorder.seen[0], span, layout, expected, expected.square().mean().sqrt())


class Run(NamedTuple):
    """What an estimator asked its synthesizer, and how many steps of how many rows the core ran."""

    asked: Lookahead
    ran: list[int]


def run_policy(layout: Layout, ahead: int | None, **rest: Any) -> Run:
    model = make_language_model()
    recorder, ran = Recorder(layout.lookahead), list[int]()
    handle = model.core.register_forward_pre_hook(lambda core, arguments: ran.append(len(arguments[0])))
    estimator = SyntheticGradients(layout.window, recorder, run_ahead=ahead).double()
    estimator.backward(model, model.loss, make_data("language model", layout.future, **rest), make_state(model))
    handle.remove()
    return Run(recorder.seen[0], ran)


@pytest.mark.parametrize("bounds", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_run_so_many_steps_ahead_it_is_as_if_no_more_of_the_future_were_known(
    ahead: int, bounds: dict[str, Any]
) -> None:
    found, expected = run_policy(Layout(3, 4, 5), ahead, **bounds), run_policy(Layout(3, 4, ahead), None, **bounds)
    for name in ("inputs", "targets", "errors", "valid"):
        assert_identical(getattr(found.asked, name), getattr(expected.asked, name))
    assert found.ran == expected.ran


@pytest.mark.parametrize(("ahead", "expected"), [(None, 4), (0, 0), (1, 1), (4, 4), (9, 4)])
def test_the_model_is_run_no_further_than_it_is_told_and_is_seen(ahead: int | None, expected: int) -> None:
    assert sum(run_policy(Layout(3, 4, 6), ahead).ran) == STEPS + expected


def test_run_no_step_ahead_it_needs_no_future_and_knows_the_errors_within_the_span() -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 4, 0), make_state(model)
    whole = make_text(STEPS)
    expected, _ = errors_by_hand(model, loss, [whole], state)
    unit = expected.square().mean().sqrt()
    for span in (whole, Span(whole.inputs, whole.targets)):
        recorder = Recorder(layout.lookahead)
        SyntheticGradients(layout.window, recorder, run_ahead=0).double().backward(model, loss, span, state)
        (seen,) = recorder.seen
        assert_errors(seen, Span(whole.inputs, whole.targets), layout, expected, unit)
        assert seen.valid is not None
        assert not seen.valid[:, -ROWS:].any(), "nothing at the span's end"
        assert seen.valid[0, :-ROWS].all()


@pytest.mark.parametrize("fails", [False, True])
def test_parameters_are_as_free_or_frozen_afterwards_as_they_were(fails: bool) -> None:
    model = make_language_model()
    model.embedding.requires_grad_(False)
    model.output.bias.requires_grad_(False)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if fails and targets.shape[0] != STEPS:
            raise RuntimeError("interrupted")
        return model.loss(outputs, targets)

    estimator = SyntheticGradients(3, model.synthesizer(3)).double()
    for _ in range(2):
        if fails:
            with pytest.raises(RuntimeError, match="interrupted"):
                estimator.backward(model, loss, make_text(STEPS), make_state(model))
        else:
            estimator.backward(model, loss, make_text(STEPS), make_state(model))
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert {name for name, one in model.named_parameters() if one.grad is not None} <= {
        name for name in before if before[name]
    }


@pytest.mark.parametrize("decay", [0.3, 0.6, 0.99])
def test_their_unit_is_a_running_root_mean_square_of_those_within_the_spans(decay: float) -> None:
    model, loss = make("language model")
    layout, state = Layout(3, 2, 2), make_state(model)
    recorder = Recorder(layout.lookahead)
    estimator = SyntheticGradients(layout.window, recorder, ema_decay=decay).double()
    mean_square = torch.zeros((), dtype=torch.float64)
    for update in range(1, 5):
        span = make_text(STEPS, seed=10 + update)
        factor = 10.0**update

        def scaled(outputs: Tensor, targets: Tensor, factor: float = factor) -> Tensor:
            return factor * loss(outputs, targets)

        expected, after = errors_by_hand(model, scaled, [span, span.future], state)
        step = estimator.backward(model, scaled, span, state)
        mean_square = mean_square.lerp(expected[:STEPS].square().mean(), max(1 / update, 1 - decay))
        assert_errors(recorder.seen[-1], span, layout, expected, mean_square.sqrt())
        assert_close(step.state, after)
        state = step.state


def test_errors_of_zero_are_handed_over_as_zero() -> None:
    model = make_core("LSTM-1")
    recorder = Recorder(3)
    estimator = SyntheticGradients(2, recorder).double()
    span = make_data("LSTM-1", 3)
    step = estimator.backward(model, lambda outputs, targets: 0 * outputs.sum(dim=-1), span, make_state(model))
    errors = recorder.seen[0].errors
    assert errors is not None
    assert_identical(errors, torch.zeros_like(errors))
    assert all(figure.isfinite() for figure in step.metrics.values())


def noisy(model: LanguageModel, noise: Dropout) -> Loss:
    return lambda outputs, targets: model.loss(noise(outputs), targets)


@pytest.mark.parametrize("parallel", [False, True])
def test_running_ahead_leaves_no_trace_where_the_loss_draws_at_random_too(parallel: bool) -> None:
    """A fresh synthesizer injects nothing, so that two spans train as truncation does, bit for bit."""
    noise = Dropout(0.4)
    found = []
    for kind in ("errors ahead", "truncated"):
        model = make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.3), dropout=0.3)
        synthetic = SyntheticGradients(3, model.synthesizer(4, rank=3, hidden_size=5), parallel=parallel).double()
        estimator = synthetic if kind == "errors ahead" else TruncatedBPTT(3, parallel=parallel)
        state, steps = make_state(model), []
        loss = noisy(model, noise)
        torch.manual_seed(9)
        for seed in (2, 3):
            span = make_text(STEPS, seed=seed)
            step = estimator.backward(model, loss, span, state)
            state = step.state
            steps.append((step.loss, step.state))
        found.append((gradients(model), steps, torch.rand(3)))
    assert_identical(found[0], found[1])


def test_running_ahead_needs_no_gradient_and_leaves_none() -> None:
    """Where nothing is learned in the span, what runs ahead teaches nothing either."""
    model = make_language_model(tied=True)
    span = make_text(STEPS)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return model.loss(outputs, targets) * (0.0 if targets.shape[0] == STEPS else 1.0)

    recorder = Recorder(4)
    SyntheticGradients(3, recorder).double().backward(model, loss, span, make_state(model))
    errors = recorder.seen[0].errors
    assert errors is not None
    assert errors.any()
    assert not any(gradient.any() for gradient in gradients(model).values())


def random_weights(synthesizer: ErrorSynthesizer | MLPSynthesizer) -> None:
    torch.manual_seed(5)
    for parameter in synthesizer.parameters():
        nn.init.normal_(parameter, std=0.5)


def predicted_for_all_that_may_come(
    model: LanguageModel, synthesizer: ErrorSynthesizer | MLPSynthesizer
) -> tuple[Tensor, Tensor, tuple[State, Lookahead]]:
    """One past with every future of n tokens, one in each row: their chances, what is predicted, and from what."""
    steps = synthesizer.lookahead
    coming = torch.cartesian_prod(*[torch.arange(VOCABULARY)] * steps).view(-1, steps).T
    rows = coming.shape[1]
    past = make_text(STEPS, rows=1)
    inputs = torch.cat([past.targets[-1:].expand(1, rows), coming[:-1]])
    span = Span(past.inputs.expand(STEPS, rows), past.targets.expand(STEPS, rows), future=Span(inputs, coming))
    state = map_state(lambda one: one.expand(*one.shape[:-2], rows, -1).contiguous(), make_state(model, rows=1))
    asked, answered = [], []
    handles = [
        synthesizer.register_forward_pre_hook(lambda module, arguments: asked.append(arguments)),
        synthesizer.register_forward_hook(lambda module, arguments, result: answered.append(result.detach())),
    ]
    step = SyntheticGradients(3, synthesizer).double().backward(model, model.loss, span, state)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        logits = model.logits(model(inputs, step.state)[0])
    chances = F.softmax(logits, dim=-1).gather(2, coming.unsqueeze(2)).squeeze(2).prod(dim=0)
    assert_close(chances.sum(), torch.ones((), dtype=torch.float64))
    states, lookahead = asked[0]
    last = tuple(tensor[:, -rows:] for tensor in states)
    return chances, answered[0][-rows:, 0], (last, lookahead.rows(-rows, None))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_mean_prediction_is_zero_over_what_the_model_itself_expects_to_come(steps: int) -> None:
    model = make_language_model()
    synthesizer = model.synthesizer(steps, hidden_size=12, rank=5, projection=4).double()
    random_weights(synthesizer)
    chances, predicted, (state, lookahead) = predicted_for_all_that_may_come(model, synthesizer)
    assert predicted.abs().mean() > 0.1
    assert (chances @ predicted).abs().max() < 1e-12
    assert predicted.mean(dim=0).abs().max() > 0.01, "not so for another distribution"
    assert lookahead.errors is not None
    for step in range(steps):  # and what each error contributes has no mean of its own
        one = torch.zeros_like(lookahead.errors)
        one[step] = lookahead.errors[step]
        part = synthesizer(state, Lookahead(lookahead.inputs, lookahead.targets, lookahead.valid, one))[:, 0].detach()
        assert part.abs().mean() > 0.1
        assert (chances @ part).abs().max() < 1e-12


def test_the_mean_is_zero_given_whatever_came_before_the_error() -> None:
    """Of the second error's part, also among the futures that share their first token."""
    model = make_language_model()
    synthesizer = model.synthesizer(2, hidden_size=12, rank=5, projection=4).double()
    random_weights(synthesizer)
    chances, _, (state, lookahead) = predicted_for_all_that_may_come(model, synthesizer)
    assert lookahead.errors is not None
    one = torch.stack([torch.zeros_like(lookahead.errors[0]), lookahead.errors[1]])
    part = synthesizer(state, Lookahead(lookahead.inputs, lookahead.targets, None, one))[:, 0].detach()
    assert part.shape[1] == state_size(state)
    for token in range(VOCABULARY):
        rows = lookahead.targets[0] == token
        assert int(rows.sum()) == VOCABULARY
        assert part[rows].abs().mean() > 0.1
        assert (chances[rows] @ part[rows]).abs().max() < 1e-12


def test_a_perceptron_that_sees_the_same_tokens_has_a_mean() -> None:
    model = make_language_model()
    synthesizer = model.mlp_synthesizer(2, hidden_sizes=(12,)).double()
    random_weights(synthesizer)
    chances, predicted, _ = predicted_for_all_that_may_come(model, synthesizer)
    assert (chances @ predicted).abs().max() > 0.01
