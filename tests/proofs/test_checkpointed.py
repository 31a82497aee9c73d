"""`Checkpointed` has the gradients of `BPTT`, with the graph of one window in memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from models import (  # fmt: skip
    CORES,
    ROWS,
    SIZE,
    gradients,
    make_core,
    make_hierarchy,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import LSTM, AdaptedCore
from sgrnn.estimators import BPTT, Checkpointed, Loss, Step, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, cut, floating_leaves

STEPS = 9
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (6, 1), (8, 2)]


def results(model: nn.Module, loss: Loss, span: Span, state: State, window: int | None) -> tuple[Any, ...]:
    """Loss, state, metrics and gradients of a span, by `BPTT` if window is None."""
    model.zero_grad()
    estimator = BPTT(model, loss) if window is None else Checkpointed(model, loss, window)
    step = estimator.backward(span, state)
    return step.loss, step.state, step.metrics, gradients(model)


@pytest.mark.parametrize("name", [*CORES, "adapted"])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_the_gradients_are_those_of_the_whole_span(name: str, window: int) -> None:
    model = AdaptedCore(nn.GRU(SIZE, SIZE, batch_first=True).double(), batch_first=True)
    model = model if name == "adapted" else make_core(name)
    mask = torch.ones(STEPS, ROWS, dtype=torch.bool)
    mask[2:3, 1], mask[6:, 0], mask[4:6] = False, False, False  # a whole window of padding among them
    span = make_span(STEPS, is_first=STARTS, mask=mask, is_last=torch.tensor([True, False, True]))
    for given in (span, make_span(STEPS)):
        state = None if name == "adapted" else make_state(model)
        expected = results(model, squared_error, given, state, None)
        assert_close(results(model, squared_error, given, state, window), expected)


@pytest.mark.parametrize("window", [STEPS, 10 * STEPS])
def test_one_window_is_full_back_propagation_to_the_bit(window: int) -> None:
    model, span = make_core("own"), make_span(STEPS, is_first=STARTS)
    expected = results(model, squared_error, span, make_state(model), None)
    assert_identical(results(model, squared_error, span, make_state(model), window), expected)


def test_the_whole_span_is_looked_at_as_one_window() -> None:
    model = make_core("GRU-1")
    assert Checkpointed(model, squared_error, 2).look(make_span(STEPS)).boundaries == [0, STEPS]


class Nested(nn.Module):
    """Reads a dict of inputs, one of them learned outside, and gives a nest of outputs, one of which no loss reads."""

    def __init__(self) -> None:
        super().__init__()
        self.core = make_core("LSTM-1")

    def forward(self, inputs: dict[str, Tensor], state: State) -> tuple[dict[str, Any], State]:
        outputs, state = self.core(inputs["vectors"] * inputs["scales"], state)
        return {"parts": (outputs, outputs.square()), "unread": (outputs - outputs).sqrt()}, state


def test_nests_and_inputs_that_are_learned() -> None:
    model, span = Nested(), make_span(STEPS)
    encoder = nn.Linear(SIZE, SIZE).double()
    scales = torch.rand(STEPS, ROWS, 1, dtype=torch.float64, requires_grad=True)

    def loss(outputs: Any, targets: Any) -> Tensor:
        return squared_error(outputs["parts"][0], targets[0]) + squared_error(outputs["parts"][1], targets[1])

    found = []
    for window in (None, 2):
        encoder.zero_grad()
        scales.grad = None
        inputs = {"vectors": encoder(span.inputs), "scales": scales}
        whole = Span(inputs, (span.targets, span.targets.cos()))
        state = make_state(model.core)
        found.append((results(model, loss, whole, state, window), gradients(encoder), scales.grad))
    assert_close(found[1], found[0])
    assert found[0][1]["weight"].any()


def window_by_window(model: Any, span: Span, state: State, window: int) -> tuple[Tensor, State]:
    """Plain autograd: the mean loss, its graph over all windows in order."""
    losses = []
    for part in span.divide(window):
        outputs, state = model(part.inputs, state)
        losses.append(model.loss(outputs, part.targets))
    return torch.cat(losses).mean(), state


class Drops(nn.Module):
    """An LSTM with torch's own dropout, whose last layer's state depends on the masks."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.drop = nn.LSTM(SIZE, SIZE, 2, dropout=0.4), nn.Dropout(0.3)

    def initial_state(self, batch_size: int) -> State:
        return (torch.zeros(2, batch_size, SIZE).double(),) * 2

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.lstm(self.drop(inputs), state)
        return self.drop(outputs), state


def ours() -> nn.Module:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=0.4), dropout=0.3)


def theirs() -> nn.Module:
    return make_language_model(Drops().double())


def of_levels() -> nn.Module:
    return make_language_model(make_hierarchy(1, 2, 3), dropout=0.3)


@pytest.mark.parametrize("make", [ours, theirs, of_levels])
def test_windows_that_run_again_draw_what_they_drew_and_later_ones_draw_anew(make: Callable[[], Any]) -> None:
    model, span = make(), make_text(STEPS)
    estimator = Checkpointed(model, model.loss, 2)
    state = make_state(model)
    torch.manual_seed(7)
    steps = []
    for _ in range(2):
        model.zero_grad()
        steps.append((estimator.backward(span, state), gradients(model), torch.get_rng_state()))
    torch.manual_seed(7)
    for step, found, random in steps:
        model.zero_grad()
        objective, after = window_by_window(model, span, state, 2)
        objective.backward()
        assert_close((step.loss, step.state, found), (objective.detach(), after, gradients(model)))
        assert_identical(random, torch.get_rng_state())
    assert not torch.equal(steps[0][0].loss, steps[1][0].loss)


class Adapting(nn.Module):
    """Scales what it reads by a running mean that it keeps, replaced or written into, and counts its calls."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.core, self.in_place = nn.GRU(SIZE, SIZE), in_place
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("table", torch.arange(3.0))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        mean = 0.5 * self.mean + inputs.detach().mean((0, 1))
        if self.in_place:
            self.mean.copy_(mean)
        else:
            self.mean = mean
        return self.core(inputs * (1 + mean), state)


@pytest.mark.parametrize("in_place", [True, False])
def test_windows_that_run_again_find_the_buffers_as_they_were(in_place: bool) -> None:
    torch.manual_seed(0)
    model, plain = Adapting(in_place).double(), Adapting(in_place).double()
    plain.load_state_dict(model.state_dict())
    span, state = make_span(STEPS), torch.zeros(1, ROWS, SIZE).double()
    Checkpointed(model, squared_error, 2).backward(span, state)
    losses = []
    for part in span.divide(2):
        outputs, state = plain(part.inputs, state)
        losses.append(squared_error(outputs, part.targets))
    torch.cat(losses).mean().backward()
    assert_close(gradients(model), gradients(plain))
    assert_close(dict(model.named_buffers()), dict(plain.named_buffers()))


class Live:
    """A tensor that some graph has saved."""

    now = most = 0

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.bytes = tensor, tensor.numel() * tensor.element_size()
        Live.now += self.bytes
        Live.most = max(Live.most, Live.now)

    def __del__(self) -> None:
        Live.now -= self.bytes


@contextmanager
def saved_tensors() -> Iterator[None]:
    Live.now = Live.most = 0
    with torch.autograd.graph.saved_tensors_hooks(Live, lambda live: live.tensor):
        yield


@pytest.mark.parametrize("name", ["LSTM-2", "hierarchy 1, 4"])
def test_the_graph_of_one_window_is_in_memory_at_a_time(name: str) -> None:
    window, most = 4, {}
    for kind, make in (("checkpointed", partial(Checkpointed, window=window)), ("full", BPTT)):
        for windows in (1, 2, 12):
            model = make_language_model(make_core(name))
            with saved_tensors():
                make(model, model.loss).backward(make_text(windows * window), model.initial_state(ROWS))
            most[kind, windows] = Live.most
    assert most["checkpointed", 12] == most["checkpointed", 2] <= 1.2 * most["full", 1]
    assert most["full", 12] > 6 * most["full", 1]


def test_processes_with_some_rows_each_have_the_mean_of_their_gradients() -> None:
    model, span, state = make_core("LSTM-2"), make_span(STEPS, 4, is_first=STARTS), None
    whole = results(model, squared_error, span, state, 2)
    halves = [results(model, squared_error, span.rows(*part), state, 2) for part in ((0, 2), (2, 4))]
    for name, gradient in whole[3].items():
        assert_close(torch.stack([half[3][name] for half in halves]).mean(0), gradient)


def test_under_autocast_the_parameters_learn() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.keep = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in inputs:
                state = torch.tanh(self.read(step) + self.keep(state))
                outputs.append(state)
            return torch.stack(outputs), state

    torch.manual_seed(0)
    model, span = Cast(), make_span(STEPS)
    span = Span(span.inputs.float(), span.targets.float())
    exact = results(model, squared_error, span, torch.zeros(ROWS, SIZE), None)[3]
    with torch.autocast("cpu", torch.bfloat16):
        low = results(model, squared_error, span, torch.zeros(ROWS, SIZE), 2)[3]
    for name, gradient in exact.items():
        assert float(F.cosine_similarity(low[name].flatten(), gradient.flatten(), dim=0)) > 0.99


class Cutting(nn.Module):
    """Cuts the state that it is given off, or the one that it returns."""

    def __init__(self, given: bool) -> None:
        super().__init__()
        self.core, self.given = nn.GRU(SIZE, SIZE), given

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs, after = self.core(inputs, state.detach() if self.given else state)
        return outputs, after if self.given else after.detach()


@pytest.mark.parametrize("given", [True, False])
def test_a_model_that_cuts_its_state_off_is_refused(given: bool) -> None:
    model = Cutting(given).double()
    with pytest.raises(ValueError, match=r"^the model cuts its state off, .*\(no detach\(\), no no_grad\(\)\)$"):
        Checkpointed(model, squared_error, 2).backward(make_span(STEPS), torch.zeros(1, ROWS, SIZE).double())


class OwnDraws(nn.Module):
    """Draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.generator = nn.GRU(SIZE, SIZE), torch.Generator()

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            inputs = inputs * torch.rand(inputs.shape, generator=self.generator, dtype=inputs.dtype)
        return self.core(inputs, state)


def test_a_model_that_does_otherwise_when_it_runs_again_is_refused() -> None:
    model = OwnDraws().double()
    with pytest.raises(ValueError, match=r"^the model comes to another state when it runs again .* no other generator"):
        Checkpointed(model, squared_error, 3).backward(make_span(STEPS))


@pytest.mark.parametrize("make", [partial(Checkpointed, window=4), partial(TruncatedBPTT, window=4, low_memory=True)])
@pytest.mark.parametrize("from_the_past", [True, False])
def test_a_loss_that_joins_steps_is_refused(make: Callable[..., Any], from_the_past: bool) -> None:
    """As one of sequences does (CTC), or a penalty on changes."""

    def smooth(outputs: Tensor, targets: Tensor) -> Tensor:
        change = (outputs[1:] - outputs[:-1]).square().sum(dim=-1)
        return squared_error(outputs, targets) + F.pad(change, (0, 0, 1, 0) if from_the_past else (0, 0, 0, 1))

    model, span = make_core("LSTM-1"), make_span(12)
    make(model, smooth).backward(make_span(4), make_state(model))
    with pytest.raises(ValueError, match="the loss of a step depends on the outputs of other steps, of which it sees"):
        make(model, smooth).backward(span, make_state(model))


@pytest.mark.parametrize("make", [partial(Checkpointed, window=4), partial(TruncatedBPTT, window=4, low_memory=True)])
@pytest.mark.parametrize("lag", [1, 2, 3])
def test_joined_steps_are_seen_at_any_lag_where_nothing_changes_yet_and_in_a_loss_that_comes_later(
    make: Callable[..., Any], lag: int
) -> None:
    def smooth(outputs: Tensor, targets: Tensor) -> Tensor:
        change = (outputs[lag:] - outputs[:-lag]).square().sum(dim=-1)
        return squared_error(outputs, targets) + F.pad(change, (0, 0, lag, 0))

    model, span = make_core("LSTM-1"), make_span(12)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    estimator = make(model, squared_error)
    estimator.backward(span)
    estimator.loss = smooth
    with pytest.raises(ValueError, match="the loss of a step depends on the outputs of other steps"):
        estimator.backward(span)


@pytest.mark.parametrize("make", [partial(Checkpointed, window=4), partial(TruncatedBPTT, window=4, low_memory=True)])
def test_a_loss_is_looked_at_once_and_memory_that_does_not_suffice_is_no_look(make: Callable[..., Any]) -> None:
    calls: list[int] = []

    def counting(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(outputs))
        if len(calls) == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return squared_error(outputs, targets)

    estimator, span = make(make_core("LSTM-1"), counting), make_span(12)
    with pytest.raises(RuntimeError, match="out of memory"):
        estimator.backward(span)
    for windows in (6, 3, 3):
        calls.clear()
        calls.append(0)
        estimator.backward(span)
        assert len(calls) - 1 == windows


@pytest.mark.parametrize("make", [partial(Checkpointed, window=4), partial(TruncatedBPTT, window=4, low_memory=True)])
def test_a_loss_of_chances_is_looked_at_as_chances_and_one_that_refuses_the_look_is_looked_at_once(
    make: Callable[..., Any],
) -> None:
    seen: list[Tensor] = []

    def of_chances(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(outputs.detach())
        return F.binary_cross_entropy(outputs, targets.sigmoid(), reduction="none").mean(dim=-1)

    def of_signs(outputs: Tensor, targets: Tensor) -> Tensor:
        seen.append(outputs.detach())
        if not bool(((outputs.detach().abs() - 1).abs() < 1e-9).all()):
            raise RuntimeError("signs, no more")
        return (outputs * targets).mean(dim=-1)

    class Squashed(nn.Module):
        def __init__(self, squash: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.core, self.squash = make_core("LSTM-1"), squash
            self.input_size = self.core.input_size

        def forward(self, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
            outputs, state = self.core(inputs, state)
            return self.squash(outputs), state

    span = make_span(12)
    for loss, squash, first in (
        (of_chances, lambda outputs: torch.sigmoid(1e6 * outputs), 6),
        (of_signs, lambda outputs: outputs + (outputs.sign() - outputs).detach(), 6),
    ):
        model = Squashed(squash)
        estimator, state = make(model, loss), make_state(model.core)
        for calls in (first, 3):
            seen.clear()
            estimator.backward(span, state)
            assert len(seen) == calls


def test_a_core_that_is_held_constant_lets_an_encoder_and_a_head_learn() -> None:
    core, head = make_core("LSTM-1").requires_grad_(False), nn.Linear(SIZE, SIZE).double()
    found: list[Any] = []
    for window in (None, 2):
        head.zero_grad()
        step: Step
        make = BPTT if window is None else partial(Checkpointed, window=window)
        step = make(core, lambda outputs, targets: squared_error(head(outputs), targets)).backward(make_span(STEPS))
        found.append((step.loss, gradients(head)))
    assert_close(found[1], found[0])
    assert not any(tensor.requires_grad for tensor in floating_leaves(cut(step.state)) if tensor.grad_fn)
