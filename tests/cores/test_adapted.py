"""An adapted core has the numbers of the module that it is made of, and refuses declarations that do not fit it."""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from models import ROWS, SIZE, gradients, make_span, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn import BPTT, RTRL, AdaptedCore, GradientEstimator, SyntheticGradients, TruncatedBPTT
from sgrnn.cores import first_state, initial_state
from sgrnn.span import Span


class Carried(NamedTuple):
    """A state with all that states of other packages hold."""

    parts: dict[str, Any]
    unused: None


@dataclass(frozen=True)
class Inner:
    memory: Tensor
    steps: Tensor


class Foreign(nn.Module):
    """A complex linear memory with the batch first, a counter, a buffer, and three things returned."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.write = nn.Linear(SIZE, 2 * SIZE), nn.Linear(2 * SIZE, SIZE)
        self.decay = nn.Parameter(torch.tensor([0.5 + 0.3j] * SIZE))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, cache: Carried | None = None, use_cache: bool = False) -> tuple[Any, ...]:
        self.calls += 1
        memory, count = x.new_zeros(len(x), SIZE, 2), torch.zeros(len(x), dtype=torch.long)
        if cache is not None:
            memory, count = cache.parts["inner"].memory, cache.parts["inner"].steps
        memory, outputs = torch.view_as_complex(memory.contiguous()), []
        for step in self.read(x).unflatten(-1, (SIZE, 2)).unbind(1):
            memory = self.decay * memory + torch.view_as_complex(step.contiguous())
            outputs.append(self.write(torch.view_as_real(memory).flatten(1)))
        after = Carried({"inner": Inner(torch.view_as_real(memory), count + x.shape[1])}, None)
        return torch.stack(outputs, 1), torch.zeros(len(x)), *([after] if use_cache else [])


class Complex(nn.Module):
    """The same memory, held complex."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign = Foreign()

    def forward(self, x: Tensor, cache: Tensor | None = None) -> dict[str, Tensor]:
        own = None
        if cache is not None:
            own = Carried({"inner": Inner(torch.view_as_real(cache), torch.zeros(len(x)))}, None)
        outputs, _, after = self.foreign(x, own, True)
        return {"outputs": outputs, "cache": torch.view_as_complex(after.parts["inner"].memory)}


def foreign(**changes: Any) -> AdaptedCore:
    torch.manual_seed(0)
    declared = {"batch_first": True, "state": "cache", "returned": (0, 2), "use_cache": True} | changes
    return AdaptedCore(Foreign().double(), **declared)


def test_the_state_becomes_the_tensors_of_the_modules_own_with_the_batch_before_the_last_axis() -> None:
    core, inputs = foreign(), torch.randn(6, ROWS, SIZE).double()
    outputs, (memory, steps) = core(inputs, None)
    assert (memory.shape, steps.tolist()) == ((SIZE, ROWS, 2), [[6]] * ROWS)
    expected, _, own = core.adapted(inputs.transpose(0, 1), use_cache=True)
    assert_identical(outputs, expected.transpose(0, 1))
    assert_identical(memory, own.parts["inner"].memory.movedim(0, 1))

    first, state = core(inputs[:2])
    second, state = core(inputs[2:], state)
    assert_close(torch.cat([first, second]), outputs)
    assert_close(state, (memory, steps))


def test_a_complex_state_is_carried_as_real_and_imaginary_parts() -> None:
    torch.manual_seed(0)
    core = AdaptedCore(Complex().double(), batch_first=True, returned=("outputs", "cache"))
    inputs = torch.randn(6, ROWS, SIZE).double()
    _, (expected, _) = foreign()(inputs)
    assert_close(core(inputs[2:], core(inputs[:2])[1])[1], expected)


def test_a_module_is_left_as_it_is_when_it_is_looked_at() -> None:
    core = foreign()
    random = torch.get_rng_state()
    core(torch.zeros(2, ROWS, SIZE).double())
    assert core.adapted.get_buffer("calls") == 1
    assert_identical(torch.get_rng_state(), random)


def test_dropout_does_not_look_like_another_first_state() -> None:
    core = AdaptedCore(nn.LSTM(SIZE, SIZE, 2, dropout=0.5, batch_first=True), batch_first=True)
    assert core(torch.randn(5, ROWS, SIZE))[0].shape == (5, ROWS, SIZE)


def test_sequences_begin_in_the_zeros_that_none_stands_for_as_soon_as_the_module_was_called() -> None:
    core = foreign()
    with pytest.raises(TypeError, match="AdaptedCore has no initial_state"):
        initial_state(core, 2)
    state = first_state(core, torch.randn(1, ROWS, SIZE).double())
    assert_identical(state, (torch.zeros(SIZE, ROWS, 2).double(), torch.zeros(ROWS, 1, dtype=torch.long)))
    assert_identical(initial_state(core, ROWS), state)


def test_a_first_state_of_ones_own_follows_the_module_and_is_put_back_where_a_sequence_begins() -> None:
    core = AdaptedCore(nn.GRU(SIZE, SIZE, batch_first=True), batch_first=True,
                       initial_state=lambda rows: torch.ones(1, rows, SIZE)).double()  # fmt: skip
    assert_identical(initial_state(core, 2), torch.ones(1, 2, SIZE).double())
    span = make_span(6, is_first=[(3, 1)])
    estimator = TruncatedBPTT(core, squared_error, window=3)
    state = estimator.backward(span).state
    core.zero_grad()
    assert_close(state[:, 1:2], core(span.inputs[3:, 1:2])[1].detach())


def test_a_first_state_of_zeros_follows_the_module_to_another_precision() -> None:
    core = AdaptedCore(nn.GRU(SIZE, SIZE, batch_first=True), batch_first=True)
    estimator = TruncatedBPTT(core, squared_error, window=3)
    for kind in (torch.float32, torch.bfloat16, torch.float64, torch.float32):
        core.to(kind).zero_grad()
        vectors = make_span(6).inputs.to(kind)
        assert estimator.backward(Span(vectors, vectors)).state.dtype == kind


def test_a_state_that_is_written_into_is_cloned() -> None:
    def step(cell: nn.Module, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = torch.zeros_like(inputs) if state is None else state
        state.mul_(0.5).add_(inputs)
        return cell(inputs) * state, state

    torch.manual_seed(0)
    core = AdaptedCore(nn.Linear(SIZE, SIZE), step, by_step=True)
    inputs = torch.randn(5, ROWS, SIZE)
    state = torch.ones(ROWS, SIZE)
    core(inputs, state)[0].sum().backward()
    assert_identical(state, torch.ones(ROWS, SIZE))
    assert core.adapted.weight.grad is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda core: TruncatedBPTT(core, squared_error, 2, parallel=True),
        lambda core: SyntheticGradients(core, squared_error, window=2, run_ahead=0),
    ],
    ids=["windows as one batch", "SyntheticGradients"],
)
def test_estimators_take_it_as_any_core(make: Callable[[nn.Module], GradientEstimator]) -> None:
    own, other = nn.LSTM(SIZE, SIZE).double(), nn.LSTM(SIZE, SIZE, batch_first=True).double()
    other.load_state_dict(own.state_dict())
    one, another = make(own), make(AdaptedCore(other, batch_first=True))
    another.load_state_dict(one.state_dict())
    span = make_span(6, is_first=[(3, 1)])
    expected, step = one.backward(span), another.backward(span)
    assert_close((step.loss, step.state), (expected.loss, expected.state))
    assert_close(gradients(other), gradients(own))


def test_rtrl_goes_through_a_cell_step_by_step() -> None:
    core, span = (
        AdaptedCore(nn.GRUCell(SIZE, SIZE), lambda cell, x, h: (h := cell(x, h), h), by_step=True),
        make_span(6),
    )
    core.double()
    BPTT(core, squared_error).backward(span)
    expected = gradients(core)
    core.zero_grad()
    RTRL(core, squared_error).backward(span)
    assert_close(gradients(core), expected)


def test_a_copy_is_of_the_copied_module() -> None:
    core = foreign()
    core(torch.zeros(1, 1, SIZE).double())
    copied = copy.deepcopy(core)
    nn.init.zeros_(copied.adapted.get_parameter("write.weight"))
    inputs = torch.ones(2, ROWS, SIZE).double()
    assert not torch.equal(copied(inputs)[0], core(inputs)[0])


class Odd(nn.Module):
    """A module that does with its state what it is told to."""

    def __init__(self, do: Callable[[Tensor, Any], Any]) -> None:
        super().__init__()
        self.weight, self.do = nn.Parameter(torch.ones(())), do

    def forward(self, inputs: Tensor, hidden: Any = None, *, ask: bool = False) -> Any:
        return self.do(self.weight * inputs, hidden)


def late(inputs: Tensor, state: Any) -> Any:
    state = torch.ones_like(inputs[0]) if state is None else state
    return inputs + state, inputs[-1] + state


def grown(inputs: Tensor, state: Any) -> Any:
    return inputs, inputs[-1].repeat(2, 1) if state is None else state


REFUSED: list[tuple[Callable[[], AdaptedCore], type[Exception], str]] = [
    (lambda: AdaptedCore(Odd(late), output_final_state=True), TypeError,
     "^Odd takes no keyword output_final_state: it takes inputs, hidden, ask$"),
    (lambda: AdaptedCore(Odd(late), state="cache"), TypeError,
     "^Odd takes no keyword cache: it takes inputs, hidden, ask$"),
    (lambda: AdaptedCore(Odd(late), batch_first=True, by_step=True), ValueError,
     "^batch_first is for a module that reads many steps, by_step for one that reads a single$"),
    (lambda: AdaptedCore(nn.GRU(SIZE, SIZE, bidirectional=True)), TypeError,
     "^a core reads forwards only: bidirectional must be False$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: inputs)), TypeError,
     r"^Odd must return \(outputs, state\), got a Tensor: ask for the state by a keyword \(inputs, hidden, ask\)$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, None))), TypeError,
     r"^Odd must return a state, got None: ask for it by a keyword \(inputs, hidden, ask\)$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, 1, inputs))), TypeError,
     r"^Odd must return \(outputs, state\), got a tuple of 3: name the two, returned=\(0, 2\)$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: {"out": inputs}), returned=("out", "cache")), TypeError,
     r"^Odd must return outputs and state at \('out', 'cache'\), got a dict of out: returned must hold their places"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, {"a": 1})), state=("hidden", "ask")), TypeError,
     "^Odd must return the 2 parts of its state, hidden, ask, got a dict of a$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, {"steps": 3}))), TypeError,
     "^Odd must carry a state of tensors, in tuples, lists, dicts or dataclasses, got a int: hand over a function"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, []))), ValueError,
     r"^Odd must return a state that holds a tensor, got \[\]$"),
    (lambda: AdaptedCore(nn.LSTM(SIZE, SIZE, batch_first=True)), ValueError,
     r"^LSTM must carry a state with one axis that counts rows, got \(1, 8, 3\) of 2 rows and \(1, 8, 3\) of 3: is "
     r"batch_first right\?$"),
    (lambda: AdaptedCore(nn.LSTM(SIZE, SIZE), batch_first=True), ValueError, r": is batch_first right\?$"),
    (lambda: AdaptedCore(Odd(grown)), ValueError,
     r"got \(4, 3\) of 2 rows and \(6, 3\) of 3: hand over a function, call=, that reshapes it$"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs.sum(0), inputs[-1]))), ValueError,
     r"^Odd must give outputs \(time, batch, \.\.\.\), here \(8, 2, \.\.\.\), got \(2, 3\): is batch_first right\?"),
    (lambda: AdaptedCore(Odd(lambda inputs, state: (inputs, inputs[-1]))), ValueError,
     "^Odd takes no notice of the state that it is given: name the keyword that it is for, state=, one of inputs, hid"),
    (lambda: AdaptedCore(Odd(late)), ValueError,
     "^Odd does not begin in zeros where it is given None: hand over a function, initial_state=, from the number"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), REFUSED)
def test_a_wrong_declaration_is_refused_with_cause_and_remedy(
    make: Callable[[], AdaptedCore], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make()(torch.randn(2, ROWS, SIZE))


def test_a_state_of_other_tensors_is_refused() -> None:
    core, inputs = AdaptedCore(nn.LSTM(SIZE, SIZE)), torch.randn(2, ROWS, SIZE)
    with pytest.raises(ValueError, match=r"^state must hold 2 tensors, as LSTM has, got 1$"):
        core(inputs, torch.zeros(1, ROWS, SIZE))
    odd = Odd(lambda inputs, state: (inputs + (0 if state is None else state), inputs[-1]))
    core = AdaptedCore(odd)
    core(inputs)
    odd.do = lambda inputs, state: (inputs, (inputs[-1], inputs[-1]))
    message = "Odd must return a state as in its first call, (2, 3), got (3, 3), (3, 3)"
    with pytest.raises(ValueError, match=re.escape(message)):
        core(inputs)


def test_an_error_inside_the_module_says_how_it_was_called() -> None:
    with pytest.raises(ValueError, match="Expected input to be 1D or 2D") as caught:
        AdaptedCore(nn.LSTMCell(SIZE, SIZE))(torch.randn(2, ROWS, SIZE))
    assert caught.value.__notes__ == [
        "sgrnn.AdaptedCore called LSTMCell with None for a state: batch_first, by_step, state and call say how"
    ]


class Named(nn.Module):
    """A cell whose state is a dict, in any order, that does not begin in zeros."""

    def __init__(self, *order: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.order = nn.LSTMCell(SIZE, SIZE), order

    def forward(self, inputs: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        hidden, cell = self.cell(inputs, (state["hidden"], state["cell"]))
        both = {"hidden": hidden, "cell": cell}
        return hidden, {key: both[key] for key in self.order}


def test_a_dict_is_read_by_its_keys() -> None:
    def found(*order: str, given: bool) -> Any:
        def begin(rows: int) -> dict[str, Tensor]:
            return {"hidden": torch.zeros(rows, SIZE), "cell": torch.full((rows, SIZE), 2.0)}

        core = AdaptedCore(Named(*order).double(), by_step=True, initial_state=begin)
        span = make_span(5)
        step = TruncatedBPTT(core, squared_error, 2).backward(span, initial_state(core, ROWS) if given else None)
        return step.loss, gradients(core)

    for given in (True, False):
        assert_close(found("cell", "hidden", given=given), found("hidden", "cell", given=given))


class Normalizing(nn.Module):
    """A cell that is blind to what is added to all of its state alike."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.norm = nn.Linear(SIZE, SIZE), nn.LayerNorm(SIZE)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = torch.zeros_like(inputs) if state is None else state
        after = torch.tanh(self.read(inputs) + self.norm(state))
        return after, after


class Flagged(nn.Module):
    """A core that begins anew where its last input says so, as agents have it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(SIZE - 1, SIZE)

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = inputs.new_zeros(len(inputs), SIZE) if state is None else state
        after = self.cell(inputs[:, 1:], state * (1 - inputs[:, :1]))
        return after, after


class Masked(Flagged):
    """The same by the other convention: its last input is 0 where a sequence begins."""

    def forward(self, inputs: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward(torch.cat([1 - inputs[:, :1], inputs[:, 1:]], dim=1), state)


@pytest.mark.parametrize("module", [Normalizing, Flagged, Masked])
def test_a_core_that_takes_notice_of_its_state_only_sometimes_is_adapted(module: type[nn.Module]) -> None:
    torch.manual_seed(0)
    core = AdaptedCore(module().double(), by_step=True)
    span = make_span(4)
    begins = torch.tensor([1.0, 0, 0, 0]).unsqueeze(1)  # as in the first span of an episode
    span.inputs[:, :, 0] = 1 - begins if module is Masked else begins
    assert TruncatedBPTT(core, squared_error, 2).backward(span).loss.isfinite()
