"""Real-time recurrent learning gives the gradients of back-propagation through the sequence, wherever it is divided."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from models import (
    ROWS,
    SIZE,
    OwnCore,
    divide,
    gradients,
    make_core,
    make_language_model,
    make_span,
    make_state,
    make_text,
    squared_error,
    train_on,
)
from tolerances import assert_close, assert_identical
from torch import Tensor, nn
from wrapped import WithReadout

from sgrnn.cores import LSTM, AdaptedCore
from sgrnn.estimators import BPTT, ExactAhead, GradientEstimator, TruncatedBPTT
from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
from sgrnn.estimators.online.unrolled_steps import unroll_steps
from sgrnn.span import Span
from sgrnn.state import State, leaves, rows, to_matrix

STEPS = 8
STARTS = [(0, 0), (3, 1), (4, 0), (4, 2), (6, 1)]
FORWARD = (RTRL, SnAp1, UORO)


def assert_same_as_full(model: nn.Module, loss: Any, span: Span, lengths: list[int]) -> None:
    state = make_state(model)
    expected, whole = train_on(BPTT(model, loss), [span], state)
    found, steps = train_on(RTRL(model, loss), divide(span, lengths), state)
    assert_close(found, expected)
    weights = [length / STEPS for length in lengths]
    losses = [weight * step.loss for weight, step in zip(weights, steps, strict=True)]
    assert_close(torch.stack(losses).sum(), whole[0].loss)
    assert_close(steps[-1].state, whole[0].state)
    assert_close(steps[-1].metrics, whole[0].metrics)


@pytest.mark.parametrize(
    ("core", "is_first", "lengths"),
    [
        ("LSTM-1", None, [1, 4, 3]),
        ("GRU-2", STARTS, [1] * STEPS),
        ("hierarchy 1, 2, 3", None, [1] * STEPS),
        ("own", STARTS, [STEPS]),
    ],
)
def test_the_spans_of_a_sequence_add_up_to_back_propagation_through_it(
    core: str, is_first: list[tuple[int, int]] | None, lengths: list[int]
) -> None:
    assert_same_as_full(make_core(core), squared_error, make_span(STEPS, is_first=is_first), lengths)


def test_so_they_do_with_an_output_layer_in_the_model_and_in_the_loss() -> None:
    model = WithReadout(make_core("nn.LSTM-2"))
    assert_same_as_full(model, squared_error, make_span(STEPS, is_first=STARTS), [5, 3])
    tied = make_language_model(LSTM(SIZE, SIZE), tied=True)
    assert_same_as_full(tied, tied.loss, make_text(STEPS, is_first=STARTS), [5, 3])


@pytest.mark.parametrize("kind", FORWARD)
def test_a_module_that_stands_in_two_places_keeps_its_parameters(kind: type[GradientEstimator]) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.Linear(SIZE, SIZE)
            self.layers, self.beginning = nn.ModuleList([layer] * 2), layer.bias

        def initial_state(self, batch_size: int) -> Tensor:
            return self.beginning.expand(batch_size, SIZE)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in inputs:
                for layer in self.layers:
                    state = torch.tanh(step + layer(state))
                outputs.append(state)
            return torch.stack(outputs), state

    torch.manual_seed(0)
    model = Twice().double()
    parameters = dict(model.named_parameters())
    span = make_span(STEPS, is_first=STARTS)
    train_on(kind(model, squared_error), [span], make_state(model))
    after = dict(model.named_parameters())
    assert after.keys() == parameters.keys()
    assert all(after[name] is parameter for name, parameter in parameters.items())
    if kind is RTRL:
        assert_same_as_full(model, squared_error, span, [5, 3])


def test_the_influence_is_the_derivative_of_the_state() -> None:
    model = make_core("GRU-2")
    estimator, state, span = RTRL(model, squared_error), make_state(model), make_span(STEPS)
    estimator.backward(span, state)
    _, after = model(span.inputs, state)
    assert not estimator.influence.requires_grad
    for row in range(ROWS):
        for feature, entry in enumerate(to_matrix(after)[row]):
            found = torch.autograd.grad(entry, list(model.parameters()), retain_graph=True)
            assert_close(estimator.influence[row, feature], torch.cat([part.flatten() for part in found]))


def test_a_model_may_count_in_place() -> None:
    class CountsInPlace(OwnCore):
        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, after = super().forward(inputs, state)
            return outputs, {**after, "count": state["count"].add_(len(inputs))}

    model, like = CountsInPlace().double(), make_core("own")
    model.load_state_dict(like.state_dict())
    spans, state = divide(make_span(STEPS), [3, 5]), make_state(like)
    for kind in FORWARD:
        expected, _ = train_on(kind(like, squared_error), spans, state)
        assert_close(train_on(kind(model, squared_error), spans, state)[0], expected)


class Counting(OwnCore):
    """Counts its steps in a buffer, in place or not."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        if self.in_place:
            self.steps += len(inputs)
        else:
            self.steps = self.steps + len(inputs)
        return super().forward(inputs, state)


@pytest.mark.parametrize("in_place", [True, False])
def test_buffers_of_the_model_take_in_every_step_once(in_place: bool) -> None:
    span = make_span(STEPS, is_first=STARTS)
    for kind in (*FORWARD, partial(BPLambda, learning_rate=0.1)):
        model = Counting(in_place=in_place).double()
        kind(model, squared_error).double().backward(span, make_state(model))
        assert model.steps == STEPS


def test_an_adapted_core_may_read_the_batch_first() -> None:
    like = make_core("nn.LSTM-1")
    inner = nn.LSTM(SIZE, SIZE, batch_first=True).double()
    inner.load_state_dict(like.state_dict())
    model, spans, state = AdaptedCore(inner, batch_first=True), divide(make_span(STEPS), [3, 5]), make_state(like)
    for kind in FORWARD:
        expected, _ = train_on(kind(like, squared_error), spans, state)
        found, _ = train_on(kind(model, squared_error), spans, state)
        assert_close(list(found.values()), list(expected.values()))


def test_tensors_of_a_state_may_differ_in_precision() -> None:
    class Wide(OwnCore):
        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            assert state["slow"][0].dtype == torch.float32
            outputs, after = super().forward(inputs, {**state, "slow": (state["slow"][0].double(),)})
            return outputs, {**after, "slow": (after["slow"][0].float(),)}

    model = Wide().double()
    state = make_state(model)
    state = {**state, "slow": (state["slow"][0].float(),)}
    model.load_state_dict(make_core("own").state_dict())
    for kind in FORWARD[:2]:
        expected, _ = train_on(kind(make_core("own"), squared_error), [make_span(STEPS)], make_state(model))
        found, _ = train_on(kind(model, squared_error), [make_span(STEPS)], state)
        assert_close(found, expected, torch.float32)


def test_frozen_parameters_get_no_gradient() -> None:
    core = make_core("nn.LSTM-1")
    model = WithReadout(core)
    for frozen in (["weight_hh_l0"], ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]):
        for name in frozen:
            core.get_parameter(name).requires_grad_(False)
        model.zero_grad()
        assert_same_as_full(model, squared_error, make_span(STEPS), [5, 3])
        assert all(core.get_parameter(name).grad is None for name in frozen)


def test_a_model_that_learns_nothing_is_run() -> None:
    model = make_core("LSTM-1").requires_grad_(False)
    span, state = make_span(STEPS, is_first=STARTS), make_state(model)
    expected = BPTT(WithReadout(make_core("LSTM-1")), squared_error).backward(span, state)
    for kind in FORWARD:
        assert_close(kind(model, squared_error).backward(span, state).state, expected.state)


def test_nothing_goes_back_beyond_the_end_of_a_sequence() -> None:
    """With all rows ended it is as if each span were alone, though the spans say of no row that it starts."""
    model = make_core("GRU-1")
    spans = [replace(part, is_last=torch.ones(ROWS, dtype=torch.bool)) for part in divide(make_span(STEPS), [5, 3])]
    state = make_state(model)
    expected, _ = train_on(BPTT(model, squared_error), spans, state)
    found, _ = train_on(RTRL(model, squared_error), spans, state)
    assert_close(found, expected)


def test_a_span_without_a_state_begins_the_sequences_of_all_rows() -> None:
    model, spans = make_core("own"), divide(make_span(STEPS, is_first=STARTS), [5, 3])
    for kind in (*FORWARD, partial(BPLambda, learning_rate=0.1)):
        without, marked = kind(model, squared_error).double(), kind(model, squared_error).double()
        for span in spans:
            begins = torch.cat([torch.ones(1, ROWS, dtype=torch.bool), span.marked_first()[1:]])
            model.zero_grad()
            expected = marked.backward(replace(span, is_first=begins), make_state(model))
            there = gradients(model)
            model.zero_grad()
            found = without.backward(span)
            assert_identical([found.loss, found.state], [expected.loss, expected.state])
            assert_identical(gradients(model), there)
            assert_identical(without.state_dict(), marked.state_dict())


def test_a_row_with_another_state_than_the_one_handed_out_begins_anew() -> None:
    model, new = make_core("GRU-1"), torch.tensor([False, True, False])
    spans, state, other = divide(make_span(STEPS), [5, 3]), make_state(model), make_state(model, seed=9)

    def gradients_of(estimator: GradientEstimator) -> dict[str, Tensor]:
        first, steps = train_on(estimator, spans[:1], state)
        for tensor, theirs in zip(leaves(steps[0].state), leaves(other), strict=True):
            tensor[..., new, :] = theirs[..., new, :]  # in place, as a loop resets the rows that are done
        second, _ = train_on(estimator, spans[1:], steps[0].state)
        return {name: first[name] + second[name] for name in first}

    parts = []
    for row, is_new in enumerate(new.tolist()):
        own = [span.rows(row, row + 1) for span in spans]
        before, after = (rows(each, row, row + 1) for each in (state, other))
        one = [([own[0]], before), ([own[1]], after)] if is_new else [([make_span(STEPS).rows(row, row + 1)], before)]
        parts += [train_on(BPTT(model, squared_error), *each)[0] for each in one]
    assert_close(gradients_of(RTRL(model, squared_error)), {name: sum(p[name] for p in parts) for name in parts[0]})


def test_nothing_goes_on_where_all_rows_have_another_state() -> None:
    model, spans = make_core("GRU-1"), divide(make_span(STEPS), [5, 3])
    for kind in (*FORWARD, partial(BPLambda, learning_rate=0.1)):
        used, fresh = kind(model, squared_error).double(), kind(model, squared_error).double()
        used.backward(spans[0], make_state(model))
        if isinstance(used, UORO) and isinstance(fresh, UORO):
            fresh.generator.set_state(used.generator.get_state())
        if isinstance(used, BPLambda) and isinstance(fresh, BPLambda):  # the synthesizer goes on, its trace does not
            fresh.weight, fresh.bias = used.weight.clone(), used.bias.clone()
        found, expected = (train_on(each, spans[1:], make_state(model, seed=9))[0] for each in (used, fresh))
        assert_identical(found, expected)
        assert_identical(used.state_dict(), fresh.state_dict())


def test_where_loaded_rows_go_on_is_not_known() -> None:
    model, spans = make_core("GRU-1"), divide(make_span(STEPS), [5, 3])
    used, loaded = RTRL(model, squared_error).double(), RTRL(model, squared_error).double()
    state = used.backward(spans[0], make_state(model)).state
    loaded.backward(make_span(3, seed=8), make_state(model, seed=8))
    loaded.load_state_dict(used.state_dict())
    expected, found = (train_on(each, spans[1:], state)[0] for each in (used, loaded))
    assert_identical(found, expected)


def test_gradients_are_added_to_those_that_are_there() -> None:
    model = make_core("GRU-1")
    span, state = make_span(STEPS), make_state(model)
    once, _ = train_on(RTRL(model, squared_error), [span], state)
    RTRL(model, squared_error).backward(span, state)  # train_on left one
    assert_close(gradients(model), {name: 2 * gradient / (STEPS * ROWS) for name, gradient in once.items()})


def test_hooks_of_parameters_see_all_of_the_gradient() -> None:
    """A mask of weights, as pruning has it, else let through what the influence carries."""
    for kind in FORWARD:
        model = make_core("nn.GRU-1")
        model.get_parameter("weight_hh_l0").register_hook(torch.zeros_like)
        found, _ = train_on(kind(model, squared_error), [make_span(STEPS)], make_state(model))
        assert not found["weight_hh_l0"].any()
        assert found["weight_ih_l0"].any()


def test_the_first_step_of_a_sequence_has_a_direct_part_alone() -> None:
    model = make_core("LSTM-2")
    spans = [make_span(1, is_first=[(0, row) for row in range(ROWS)], seed=seed) for seed in range(3)]
    expected, _ = train_on(TruncatedBPTT(model, squared_error, 1), spans, make_state(model))
    for kind in FORWARD:
        assert_close(train_on(kind(model, squared_error), spans, make_state(model))[0], expected)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (RTRL, r"^influence must be of the same model and rows .* carried \(3, 6, 96\), got \(5, 6, 96\)$"),
        (UORO, r"^state_vector must be .* carried \(3, 6\), got \(5, 6\)$"),
    ],
)
def test_other_rows_are_refused_unless_all_begin_a_sequence(kind: type[GradientEstimator], message: str) -> None:
    model = make_core("LSTM-1")
    estimator = kind(model, squared_error)
    estimator.backward(make_span(3), make_state(model))
    before = gradients(model)
    with pytest.raises(ValueError, match=message):
        estimator.backward(make_span(3, rows=5), make_state(model, rows=5))
    assert_close(gradients(model), before)
    span, state = make_span(STEPS, rows=5, is_first=[(0, row) for row in range(5)]), make_state(model, rows=5)
    found, _ = train_on(estimator, [span], state)
    if kind is RTRL:
        assert_close(found, train_on(BPTT(model, squared_error), [span], state)[0])


@pytest.mark.parametrize("kind", FORWARD)
def test_other_parameters_that_learn_are_refused_unless_all_begin_a_sequence(kind: type[GradientEstimator]) -> None:
    model = nn.RNN(SIZE, SIZE, bias=False).double()
    first, second = model.get_parameter("weight_ih_l0"), model.get_parameter("weight_hh_l0").requires_grad_(False)
    estimator, state = kind(model, squared_error), torch.zeros(1, ROWS, SIZE).double()
    state = estimator.backward(make_span(3), state).state
    first.requires_grad_(False)
    second.requires_grad_(True)
    message = r"^the parameters that learn must be those of the span before .*: weight_hh_l0, weight_ih_l0 changed$"
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            estimator.backward(make_span(3), state)
    assert second.grad is None
    model.zero_grad()
    if isinstance(estimator, SnAp1):
        estimator.get_buffer("pattern").fill_(True)  # as if the others had reached every unit
    estimator.backward(make_span(3, is_first=[(0, row) for row in range(ROWS)]), state)
    found = gradients(model)
    if kind is not UORO:  # which draws other signs
        model.zero_grad()
        kind(model, squared_error).backward(make_span(3, is_first=[(0, row) for row in range(ROWS)]), state)
        assert_identical(found, gradients(model))
    if kind is RTRL:
        model.zero_grad()
        BPTT(model, squared_error).backward(make_span(3, is_first=[(0, row) for row in range(ROWS)]), state)
        assert_close(found, gradients(model))


@pytest.mark.parametrize("kind", FORWARD)
@pytest.mark.parametrize("case", ["warmed up", "begun anew", "loaded"])
def test_other_parameters_may_learn_where_nothing_is_carried(kind: type[GradientEstimator], case: str) -> None:
    model = nn.RNN(SIZE, SIZE, bias=False).double()
    first, second = model.get_parameter("weight_ih_l0"), model.get_parameter("weight_hh_l0").requires_grad_(False)
    first.requires_grad_(case != "warmed up")
    estimator, state = kind(model, squared_error), torch.zeros(1, ROWS, SIZE).double()
    state = estimator.backward(make_span(3), state).state
    first.requires_grad_(False)
    second.requires_grad_(True)
    if case == "begun anew":
        state = make_state(model)
    if case == "loaded":
        other = kind(model, squared_error)
        other.backward(make_span(3), make_state(model))
        estimator.load_state_dict(other.state_dict())
    estimator.backward(make_span(3), state)
    assert second.grad is not None
    assert second.grad.isfinite().all()


def test_a_complex_state_of_rows_of_odd_length_is_carried_forwards() -> None:
    class Diagonal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.write = nn.Linear(SIZE, 4), nn.Linear(8, SIZE)
            self.rates = nn.Parameter(torch.linspace(-1, 1, 8).view(4, 2))

        def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Any]:
            memory, clock = inputs.new_zeros(len(inputs), 4, dtype=torch.complex128), inputs.new_zeros(len(inputs))
            memory, clock = (memory, clock) if state is None else state
            decay, outputs = torch.exp(torch.complex(-self.rates[:, 0].exp(), self.rates[:, 1])), []
            for step in inputs.unbind(1):
                clock = 0.9 * clock + 1
                memory = decay * memory + self.read(step) / clock[:, None]
                outputs.append(self.write(torch.cat([memory.real, memory.imag], dim=1)).tanh())
            return torch.stack(outputs, dim=1), (memory, clock)

    torch.manual_seed(0)
    model = AdaptedCore(Diagonal().double(), batch_first=True)
    span = make_span(STEPS)
    expected, _ = train_on(BPTT(model, squared_error), [span], None)
    assert_close(train_on(RTRL(model, squared_error), [span], None)[0], expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's, as it compiles
def test_a_compiled_core_whose_buffers_are_given_away_is_carried_forwards() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.new = nn.Linear(2 * SIZE, SIZE), nn.Linear(2 * SIZE, SIZE)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, SIZE, dtype=torch.float64)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in inputs:
                both = torch.cat([step, state], dim=-1)
                gate = self.gate(both).sigmoid()
                state = gate * state + (1 - gate) * self.new(both).tanh()
                outputs.append(state)
            return torch.stack(outputs), state

    torch.manual_seed(0)
    core, span = Gated().double(), make_span(4)
    compiled: Any = torch.compile(core, backend="aot_eager")
    ExactAhead(compiled, squared_error, 1, 2).backward(span.slice(0, 2), None)  # of other lengths
    core.zero_grad()
    expected, _ = train_on(RTRL(core, squared_error), [span], None)
    found, _ = train_on(RTRL(compiled, squared_error), [span], None)
    assert_close([*found.values()], [*expected.values()])


def test_what_cannot_be_run_again_step_by_step_is_refused() -> None:
    for name, core in (
        ("bidirectional", nn.LSTM(SIZE, SIZE, bidirectional=True)),
        ("batch_first", nn.GRU(SIZE, SIZE, batch_first=True)),
    ):
        with pytest.raises(ValueError, match=f"^{name} must be False where .* got True in core$"):
            RTRL(WithReadout(core), squared_error).backward(make_span(STEPS), torch.zeros(1, ROWS, SIZE))

    class Normalized(OwnCore):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(SIZE)

    again = "the model is run again, step by step, row by row, "
    with pytest.raises(ValueError, match=rf"^{again}and norm takes batch statistics$"):
        RTRL(Normalized().double(), squared_error).backward(make_span(STEPS))
    model = WithReadout(nn.LSTM(SIZE, SIZE, 2, dropout=0.2).double())
    span, state = make_span(STEPS), make_state(model)
    message = rf"^{again}so that it must be without dropout, got 0\.2 in core$"
    for estimator in (RTRL(model, squared_error), BPLambda(model, squared_error, learning_rate=0.1).double()):
        model.train()
        with pytest.raises(ValueError, match=message):
            estimator.backward(span, state)
        model.eval()
        estimator.backward(span, state)


def test_what_the_state_depends_on_must_be_in_its_precision() -> None:
    class OfTwo(nn.GRU):
        def __init__(self, kind: torch.dtype) -> None:
            super().__init__(SIZE, SIZE)
            self.double().register_parameter("scale", nn.Parameter(torch.ones(SIZE, dtype=kind)))

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return super().forward(
                inputs * torch.view_as_real(self.get_parameter("scale").to(torch.complex128))[:, 0], state
            )

    for kind in (torch.complex128, torch.float32):
        for estimator in FORWARD:
            with pytest.raises(ValueError, match=rf"in the state's precision, torch\.float64, got {kind} for scale$"):
                estimator(OfTwo(kind), squared_error).backward(make_span(STEPS), torch.zeros(1, ROWS, SIZE).double())


def test_a_loss_that_averages_or_reaches_past_the_outputs_is_refused() -> None:
    class Leaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = make_core("GRU-1")
            self.seen: list[Tensor] = []

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            outputs, state = self.core(inputs, state)
            self.seen.append(outputs)
            return outputs, state

    model = Leaking()

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets) + torch.cat(model.seen[-STEPS:]).square().sum(dim=-1)

    def mean_over_rows(outputs: Tensor, targets: Tensor) -> Tensor:
        return squared_error(outputs, targets).mean(dim=1)

    with pytest.raises(ValueError, match="the loss reaches into the model's graph past its outputs"):
        RTRL(model, loss).backward(make_span(STEPS), make_state(model.core))
    with pytest.raises(ValueError, match="loss must give one number per step and row"):
        RTRL(model, mean_over_rows).backward(make_span(STEPS), make_state(model.core))


def test_a_span_that_starts_where_nothing_is_known_of_the_beginning_starts_from_zero() -> None:
    class Anonymous(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = make_core("GRU-1")

        def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
            return self.core(inputs, state)

    model, span = Anonymous(), make_span(STEPS, is_first=STARTS)
    state = make_state(model.core)
    expected, _ = train_on(BPTT(model, squared_error), [span], state)
    assert_close(train_on(RTRL(model, squared_error), [span], state)[0], expected)
    assert torch.equal(
        unroll_steps(model, span, state).initial_states[0][:, 0], torch.zeros(1, SIZE, dtype=torch.float64)
    )
