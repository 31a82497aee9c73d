"""What a user's own model does to state and layout is honoured, or refused with the reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, make_core, make_span, make_state, squared_error
from tolerances import assert_close
from torch import Tensor, nn

from sgrnn.cores import LSTM, initial_state
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.estimators.mixed import Mixed
from sgrnn.estimators.online import RTRL, BPLambda
from sgrnn.estimators.schedules import Constant
from sgrnn.span import Span
from sgrnn.synthesizers import ErrorSynthesizer

STEPS = 6


def synthetic(state_size: int, window: int = 3, **options: Any) -> SyntheticGradients:
    synthesizer = ErrorSynthesizer(state_size, SIZE, lambda inputs: inputs, SIZE, steps=3)
    return SyntheticGradients(window, synthesizer, **options).double()


def estimators(state_size: int) -> dict[str, GradientEstimator]:
    return {
        "full": BPTT(),
        "truncated": TruncatedBPTT(3),
        "truncated, one batch": TruncatedBPTT(3, parallel=True),
        "synthetic": synthetic(state_size),
        "synthetic, one batch": synthetic(state_size, parallel=True),
        "trace": synthetic(state_size, trace_decay=0.5),
        "mixed": Mixed(synthetic(state_size), Constant(0.5)),
        "exact": ExactAhead(3, 3),
        "exact, one batch": ExactAhead(3, 3, parallel=True),
    }


def make_spans(steps: int = STEPS, rows: int = ROWS) -> Span:
    whole = make_span(steps + 3, rows)
    future = Span(whole.inputs[steps:], whole.targets[steps:])
    return Span(whole.inputs[:steps], whole.targets[:steps], future=future)


class Counted(nn.Module):
    """Counts its steps in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs, hidden = self.rnn(inputs, state["hidden"])
        steps = state["steps"]
        steps += len(inputs)
        return outputs, {"hidden": hidden, "steps": steps}


@pytest.mark.parametrize("name", estimators(SIZE))
def test_a_counter_that_is_counted_in_place_counts_every_step_once(name: str) -> None:
    estimator = estimators(SIZE)[name]
    model = Counted().double()
    state = {"hidden": torch.zeros(1, ROWS, SIZE).double(), "steps": torch.zeros(ROWS, 1, dtype=torch.long)}
    given, found = state["steps"], []
    for _ in range(3):
        state = estimator.backward(model, squared_error, make_spans(), state).state
        found.append(state["steps"].flatten().tolist())
    assert found == [[6] * ROWS, [12] * ROWS, [18] * ROWS]
    assert not given.any(), "the caller's own tensor stays what it was"


class InPlace(nn.Module):
    """Writes its state in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, after = self.rnn(inputs, state)
        state.copy_(after.detach())
        return outputs, after


@pytest.mark.parametrize("name", estimators(SIZE))
def test_a_state_that_is_written_in_place_is_refused(name: str) -> None:
    estimator = estimators(SIZE)[name]
    with pytest.raises(ValueError, match=r"writes into the state that it is given.*clone it before"):
        estimator.backward(InPlace().double(), squared_error, make_spans(), torch.zeros(1, ROWS, SIZE).double())


class Detaching(nn.Module):
    """Cuts its own state off, as many models do that handle it themselves."""

    def __init__(self, cut: str) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE)
        self.cut = cut

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        outputs, (hidden, cell) = self.lstm(inputs, state)
        if "hidden" in self.cut:
            hidden = hidden.detach()
        return outputs, (hidden, cell.detach() if "cell" in self.cut else cell)


@pytest.mark.parametrize("name", ["synthetic", "synthetic, one batch", "trace", "mixed", "exact", "exact, one batch"])
def test_a_model_that_detaches_its_state_is_refused_where_something_is_injected(name: str) -> None:
    estimator = estimators(2 * SIZE)[name]
    model = Detaching("hidden and cell").double()
    with pytest.raises(ValueError, match=r"reaches none of its parameters.*no detach\(\)"):
        estimator.backward(model, squared_error, make_spans(), make_state(model.lstm))


@pytest.mark.parametrize("estimator", [RTRL(), BPLambda(2 * SIZE, learning_rate=0.1).double()])
def test_online_policies_refuse_it_too(estimator: GradientEstimator) -> None:
    model = Detaching("hidden and cell").double()
    with pytest.raises(ValueError, match="reaches none of its parameters"):
        estimator.backward(model, squared_error, make_spans(), make_state(model.lstm))


@pytest.mark.parametrize("freeze", ["core", "state passed on"])
def test_a_model_whose_state_leads_to_nothing_that_learns_is_refused(freeze: str) -> None:
    class PassedOn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return self.linear(inputs), state

    model: nn.Module = PassedOn().double() if freeze != "core" else nn.GRU(SIZE, SIZE).double().requires_grad_(False)
    state = torch.zeros(1, ROWS, SIZE).double()
    with pytest.raises(ValueError, match="reaches none of its parameters"):
        synthetic(SIZE).backward(model, squared_error, make_spans(), state)
    TruncatedBPTT(3).backward(model, squared_error, make_spans(), state)  # which injects nothing


def test_what_is_injected_into_a_part_that_was_cut_off_is_not_counted() -> None:
    shares = {}
    for cut in ("none", "cell"):
        torch.manual_seed(0)
        model = Detaching(cut).double()
        estimator = synthetic(2 * SIZE, shrinkage=False)
        for parameter in estimator.synthesizer.parameters():
            nn.init.normal_(parameter, std=0.3)
        step = estimator.backward(model, squared_error, make_spans(), make_state(model.lstm))
        shares[cut] = float(step.metrics["injected_share"])
    assert 0 < shares["cell"] < shares["none"]


class BatchFirst(nn.Module):
    """Reads rows where others read steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE, batch_first=True)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.lstm(inputs, state)


@pytest.mark.parametrize("estimator", [BPTT(), TruncatedBPTT(4), TruncatedBPTT(4, parallel=True), RTRL()])
@pytest.mark.parametrize("option", ["batch_first", "bidirectional"])
def test_a_core_that_reads_the_batch_first_or_the_future_is_refused(option: str, estimator: GradientEstimator) -> None:
    core = nn.LSTM(SIZE, SIZE, **{option: True}).double()  # pyright: ignore[reportArgumentType]  (a bool)
    state = torch.zeros(2 if option == "bidirectional" else 1, 4, SIZE).double()
    with pytest.raises((TypeError, ValueError), match=option):
        estimator.backward(core, squared_error, make_spans(4, 4), (state, state))


def test_a_wrapper_of_one_is_found_out_where_rows_and_steps_are_as_many() -> None:
    state = torch.zeros(1, 4, SIZE).double()
    with pytest.raises(ValueError, match=r"takes the first axis for the batch \(batch_first\)"):
        TruncatedBPTT(4).backward(BatchFirst().double(), squared_error, make_spans(4, 4), (state, state))


class StateBatchFirst(nn.Module):
    """Holds its state (batch, layers, hidden)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(SIZE, SIZE, 2)

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        outputs, after = self.lstm(inputs, tuple(part.transpose(0, 1).contiguous() for part in state))
        return outputs, tuple(part.transpose(0, 1) for part in after)


def test_a_state_of_another_layout_is_refused_where_the_sizes_do_not_tell() -> None:
    model = StateBatchFirst().double()
    state = (torch.zeros(2, 2, SIZE).double(),) * 2
    with pytest.raises(ValueError, match="this model has it at axis 0"):
        TruncatedBPTT(3).backward(model, squared_error, make_spans(6, 2), state)
    with pytest.raises(ValueError, match=r"state holds 2 rows, the span 1: .* got \(1, 2, 3\)"):
        TruncatedBPTT(3).backward(model, squared_error, make_spans(6, 1), (torch.zeros(1, 2, SIZE).double(),) * 2)


class PlainCell(nn.Module):
    """Would broadcast a state of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.keep = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = torch.tanh(self.read(step) + self.keep(state))
            outputs.append(state)
        return torch.stack(outputs), state


@pytest.mark.parametrize("estimator", [BPTT(), TruncatedBPTT(3), synthetic(SIZE), ExactAhead(3, 3), RTRL()])
def test_a_state_of_other_rows_is_refused(estimator: GradientEstimator) -> None:
    with pytest.raises(ValueError, match=r"state holds 1 row, the span 3: state must be .* got \(1, 3\)"):
        estimator.backward(PlainCell().double(), squared_error, make_spans(), torch.zeros(1, SIZE).double())


def test_a_model_made_for_so_many_rows_alone_is_not_refused() -> None:
    class Fixed(PlainCell):
        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(inputs, state.view(ROWS, SIZE))

    assert TruncatedBPTT(3).backward(Fixed().double(), squared_error, make_spans(), torch.zeros(ROWS, SIZE).double())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda outputs, state: outputs, r"model must return \(outputs, state\), got a Tensor"),
        (lambda outputs, state: (outputs, state, state), r"model must return \(outputs, state\), got a tuple of 3"),
        (lambda outputs, state: (outputs[-1:], state), r"outputs \(time, batch, ...\), here \(6, 3, ...\)"),
        (lambda outputs, state: (outputs, torch.cat([state, state], dim=-1)), r"of the shape it was given, \(3, 3\)"),
        (lambda outputs, state: (outputs, (state, state)), "a state of as many tensors as it was given, 1, got 2"),
        (lambda outputs, state: (outputs, state.long()), "a state of the kind it was given, torch.float64"),
    ],
)
def test_what_a_model_hands_back_must_be_outputs_and_state(
    returned: Callable[[Tensor, Tensor], Any], message: str
) -> None:
    class Odd(PlainCell):
        def forward(self, inputs: Tensor, state: Tensor) -> Any:
            return returned(*super().forward(inputs, state))

    with pytest.raises((TypeError, ValueError), match=message):
        BPTT().backward(Odd().double(), squared_error, make_spans(), torch.zeros(ROWS, SIZE).double())


@pytest.mark.parametrize("state", [(), {}])
@pytest.mark.parametrize("estimator", [BPTT(), TruncatedBPTT(2), TruncatedBPTT(2, parallel=True)])
def test_a_model_without_a_state_is_trained(estimator: GradientEstimator, state: Any) -> None:
    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            return self.linear(inputs), state

    model = FeedForward().double()
    span = make_span(STEPS, is_first=[(0, 0), (3, 1)])
    step = estimator.backward(model, squared_error, span, state)
    loss = squared_error(model.linear(span.inputs), span.targets).mean()
    assert step.state == state
    assert_close(step.loss, loss.detach())
    assert_close(model.linear.weight.grad, torch.autograd.grad(loss, model.linear.weight)[0])
    with pytest.raises(ValueError, match="must carry a floating-point state"):
        SyntheticGradients(2, nn.Identity()).backward(model, squared_error, span, state)


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda model: Wrapped(model)])
def test_a_wrapper_does_not_hide_the_state_in_which_sequences_begin(wrap: Callable[[nn.Module], nn.Module]) -> None:
    core = make_core("own")
    wrapped = wrap(core)
    span = make_span(STEPS, is_first=[(2, 1)])
    if isinstance(wrapped, Wrapped):
        with pytest.raises(ValueError, match=r"Wrapped has no initial_state\(batch_size\) and its part inner has one"):
            TruncatedBPTT(2).backward(wrapped, squared_error, span, make_state(core))
        TruncatedBPTT(2).backward(
            Wrapped(LSTM(SIZE, SIZE).double()), squared_error, span, make_state(LSTM(SIZE, SIZE).double())
        )
    else:
        expected = TruncatedBPTT(2).backward(core, squared_error, span, make_state(core))
        assert_close(TruncatedBPTT(2).backward(wrapped, squared_error, span, make_state(core)).loss, expected.loss)
        assert_close(initial_state(wrapped, 2), initial_state(core, 2))


class Wrapped(nn.Module):
    """A model around a core, without its methods."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        return self.inner(inputs, state)
