"""A boundary in a loop of one's own: the numbers of the estimator, whatever the loop does beside."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from models import ROWS, SIZE, gradients, make_core, make_span, make_state, squared_error
from tolerances import assert_close, assert_identical
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.estimators import Boundary, SyntheticGradients, TruncatedBPTT
from sgrnn.span import Span
from sgrnn.state import State, detach, leaves, state_size, where_rows
from sgrnn.synthesizers import ErrorSynthesizer, MLPSynthesizer

WINDOW, WINDOWS = 3, 4
TOKENS = WINDOW * ROWS
KNOWN = 2  # features of a context


def randomized(module: nn.Module) -> Any:
    """In float64, with random weights."""
    torch.manual_seed(5)
    module.double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def make_boundary(core: nn.Module, **options: Any) -> Boundary:
    """A boundary as if trained."""
    example = None if isinstance(core, nn.RNNBase) else make_span(1).inputs
    boundary = randomized(Boundary(core, example=example, **options))
    predictor = boundary.interface.predictor  # in units of a mean over the tokens, the estimator in those of a sum
    predictor.shrinkage.dot.fill_(400 / TOKENS**2)
    predictor.shrinkage.square.fill_(500 / TOKENS**2)
    predictor.mean_square.fill_(0.7 / TOKENS**2)
    predictor.updates.fill_(3)
    return boundary


def make_estimator(core: nn.Module, boundary: Boundary, **options: Any) -> SyntheticGradients:
    """The estimator with the same synthesizer and running means."""
    synthesizer: Any = deepcopy(boundary.interface.predictor.synthesizer)
    estimator = SyntheticGradients(core, squared_error, WINDOW, synthesizer=synthesizer, **options).double()
    estimator.predictor.shrinkage.dot.fill_(400)
    estimator.predictor.shrinkage.square.fill_(500)
    estimator.predictor.mean_square.fill_(0.7)
    estimator.predictor.updates.fill_(3)
    return estimator


def make_spans(ended: list[tuple[int, int]]) -> list[Span]:
    """One window a span; rows end with the windows that `ended` names, (window, row)."""
    places = [((window + 1) * WINDOW, row) for window, row in ended]
    whole = make_span(WINDOW * WINDOWS + 1, is_first=places or None)
    return whole.divide(WINDOW, 1)[:WINDOWS]


def train_with_boundary(
    core: nn.Module, boundary: Boundary, spans: list[Span], state: State, contexts: Any = None, scale: float = 1.0
) -> tuple[list[Any], State]:
    """Gradients of core and synthesizer of every window, their parameters as they were, and the last state."""
    found = []
    for place, span in enumerate(spans):
        core.zero_grad()
        boundary.zero_grad()
        state = boundary.enter(state, context=None if contexts is None or place else contexts[0])
        if span.is_first is not None:
            state = where_rows(span.is_first[0], initial_state(core, ROWS), state)
        outputs, state = core(span.inputs, state)
        loss = squared_error(outputs, span.targets).mean()
        continuing = span.continuing([0, WINDOW])
        term = boundary.leave(
            state,
            context=None if contexts is None else contexts[place + 1],
            continuing=None if continuing is None else continuing[ROWS:],
        )
        assert term == 0
        ((loss + term) * scale).backward()
        found.append((gradients(core), gradients(boundary)))
    return found, detach(state)


def train_with_estimator(
    core: nn.Module, estimator: SyntheticGradients, spans: list[Span], state: State
) -> tuple[list[Any], State]:
    """The same by an estimator, the names of parameters as a boundary has them."""
    found = []
    for span in spans:
        core.zero_grad()
        estimator.zero_grad()
        state = estimator.backward(span, state).state
        named = {f"interface.{name}": gradient for name, gradient in gradients(estimator).items()}
        found.append((gradients(core), named))
    return found, state


def assert_same_means(boundary: Boundary, estimator: SyntheticGradients) -> None:
    ours, theirs = boundary.interface.predictor, estimator.predictor
    assert_close(ours.mean_square * TOKENS**2, theirs.mean_square)
    for name in ("dot", "square", "power"):
        assert_close(ours.shrinkage.get_buffer(name) * TOKENS**2, theirs.shrinkage.get_buffer(name))
    assert 0.1 < float(ours.trust) < 1, "far from both ends, where nothing of it would show"


@pytest.mark.parametrize(
    ("name", "ended"),
    [("nn.LSTM-2", [(0, 1), (2, 0), (2, 2)]), ("nn.GRU-1", []), ("own", [(1, 0)]), ("hierarchy 1, 2, 3", [(0, 2)])],
)
def test_it_is_the_estimator_with_one_window_a_span(name: str, ended: list[tuple[int, int]]) -> None:
    core, spans = make_core(name), make_spans(ended)
    boundary = make_boundary(core)
    estimator = make_estimator(core, boundary)
    found = train_with_boundary(core, boundary, spans, make_state(core))
    assert_close(found, train_with_estimator(core, estimator, spans, make_state(core)))
    assert_same_means(boundary, estimator)
    truncated = TruncatedBPTT(core, squared_error, WINDOW)
    core.zero_grad()
    truncated.backward(spans[0], make_state(core))
    injected = {key: (found[0][0][0][key] - value).abs().max() for key, value in gradients(core).items()}
    assert max(injected.values()) > 1e-3, "something crosses"


def test_a_context_is_what_a_synthesizer_sees_of_the_next_step() -> None:
    class Telling(nn.GRU):
        def step_features(self, inputs: Tensor, targets: Tensor) -> Tensor:
            return torch.cat([inputs, targets], dim=-1)[..., :KNOWN].exp()

    core, ended = Telling(SIZE, SIZE).double(), [(0, 1), (2, 0)]
    spans = make_spans(ended)
    boundary = make_boundary(core, context_size=KNOWN)
    estimator = make_estimator(core, boundary)
    assert estimator.lookahead == 1
    following = [*spans[1:], spans[-1].future]
    contexts = [core.step_features(span.inputs[0], span.targets[0]) for span in (spans[0], *following) if span]
    found = train_with_boundary(core, boundary, spans, make_state(core), contexts)
    # of rows that end the estimator sees nothing ahead, and uses it for nothing
    assert_close(found, train_with_estimator(core, estimator, spans, make_state(core)))
    assert_same_means(boundary, estimator)


def test_a_loss_may_be_scaled_by_any_factor() -> None:
    core, spans, results = make_core("nn.LSTM-1"), make_spans([(1, 0)]), []
    for factor in (1.0, 0.25, 2.0**16):
        boundary = make_boundary(core)
        found, state = train_with_boundary(core, boundary, spans, make_state(core), scale=factor)
        unscaled = [[{key: value / factor for key, value in each.items()} for each in window] for window in found]
        results.append((unscaled, state, list(boundary.buffers())))
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])


def test_gradient_scaler_and_accumulation_step_to_where_a_plain_loop_does() -> None:
    spans, results = [*make_spans([]), *make_spans([])], []
    for way in ("plain", "scaled", "accumulated"):
        core = make_core("nn.GRU-1")
        boundary = make_boundary(core)
        optimizer = torch.optim.SGD([*core.parameters(), *boundary.parameters()], lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3, enabled=way == "scaled")
        state: State = make_state(core)
        for place, span in enumerate(spans):
            state = boundary.enter(state)
            outputs, state = core(span.inputs, state)
            loss = squared_error(outputs, span.targets).mean() + boundary.leave(state)
            if way == "accumulated":
                (loss / 2).backward()
            else:
                scaler.scale(loss / 2).backward()
            if place % 2:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
        results.append((list(core.parameters()), list(boundary.state_dict().values())))
    assert_close(results[1], results[0])
    assert_close(results[2], results[0])


def test_under_autocast_it_works_in_its_own_precision() -> None:
    core = make_core("LSTM-1")  # runs under autocast on any processor
    boundary, span = make_boundary(core).float(), make_spans([])[0]
    core.float()
    state = (make_state(core)[0].bfloat16(), make_state(core)[1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        entered = boundary.enter(state)
        assert [tensor.dtype for tensor in leaves(entered)] == [torch.bfloat16, torch.float32]
        head = nn.Linear(SIZE, SIZE)  # rounds, as nothing of the boundary does
        outputs, after = core(span.inputs.float(), (entered[0].float(), entered[1]))
        assert head(outputs).dtype == torch.bfloat16
        term = boundary.leave(after)
        (squared_error(head(outputs).float(), span.targets.float()).mean() + term).backward()
        predicted = boundary.interface.predict(detach(after))
    assert_identical(predicted, boundary.interface.predict(detach(after)))
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in boundary.parameters())


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # read by the compiler, of any tensor that it is given
def test_a_compiled_core_is_a_core_and_nothing_is_compiled_to_look_at_it() -> None:
    graphs: list[Any] = []

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.input_size, self.cell = SIZE, nn.GRUCell(SIZE, SIZE)

        def initial_state(self, batch_size: int) -> Tensor:
            return torch.zeros(batch_size, SIZE, dtype=torch.float64)

        def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            outputs = []
            for step in inputs:
                state = self.cell(step, state)
                outputs.append(state)
            return torch.stack(outputs), state

    def backend(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return graph

    core, spans = Cell().double(), make_spans([(1, 1)])
    compiled: Any = torch.compile(core, backend=backend)
    boundary = make_boundary(compiled)
    assert not graphs
    state = torch.randn(ROWS, SIZE, dtype=torch.float64)
    found = train_with_boundary(compiled, boundary, spans, state)
    assert graphs
    expected = train_with_boundary(core, make_boundary(core), spans, state)
    assert_close([list(each.values()) for window in found[0] for each in window],
                 [list(each.values()) for window in expected[0] for each in window])  # fmt: skip


def test_evaluation_between_two_windows_changes_nothing() -> None:
    core, spans = make_core("nn.GRU-1"), make_spans([(1, 2)])
    contexts = torch.randn(WINDOWS + 1, ROWS, KNOWN, dtype=torch.float64)
    results = []
    for evaluates in (False, True):
        boundary, state, found = make_boundary(core, context_size=KNOWN), None, []
        for place, span in enumerate(spans):
            core.zero_grad()
            boundary.zero_grad()
            state = boundary.enter(state)
            outputs, state = core(span.inputs, state)
            going_on = torch.tensor([True, place != 1, True])
            term = boundary.leave(state, contexts[place + 1], going_on)
            (squared_error(outputs, span.targets).mean() + term).backward()
            found.append((gradients(core), gradients(boundary)))
            if evaluates:
                with torch.no_grad():
                    assert boundary.enter(None) is None
                    entered = boundary.enter(state)
                    assert boundary.leave(entered) == 0
                    assert_identical(entered, detach(state))
        results.append((found, list(boundary.state_dict().values())))
    assert_identical(results[1], results[0])


def test_saved_or_copied_it_goes_on_bit_for_bit() -> None:
    core, spans = make_core("nn.LSTM-1"), make_spans([(1, 0)])
    going_on = spans[1].continuing([0, WINDOW])
    assert going_on is not None
    boundary = make_boundary(core)
    _, state = train_with_boundary(core, boundary, spans[:2], make_state(core))
    resumed, copied = make_boundary(core), deepcopy(boundary)
    resumed.load_state_dict(deepcopy(boundary.state_dict()))
    results = []
    for each, told in ((boundary, None), (copied, None), (resumed, going_on[ROWS:])):
        core.zero_grad()
        each.zero_grad()
        outputs, after = core(spans[2].inputs, each.enter(state, continuing=told))
        (squared_error(outputs, spans[2].targets).mean() + each.leave(after)).backward()
        results.append((gradients(core), gradients(each), each.state_dict(), each.metrics()))
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


def test_no_gradient_passes_where_it_is_entered_and_none_of_a_context() -> None:
    core, (span, *_) = make_core("nn.GRU-1"), make_spans([])
    boundary = make_boundary(core, context_size=KNOWN)
    before = make_state(core).requires_grad_()
    context = torch.randn(ROWS, KNOWN, dtype=torch.float64, requires_grad=True)
    outputs, state = core(span.inputs, boundary.enter(before * 2, context * 2))
    (outputs.square().sum() + boundary.leave(state, context * 2)).backward()
    assert before.grad is None
    assert context.grad is None
    assert deepcopy(boundary), "although it holds the context"


def test_of_one_that_is_frozen_gradients_still_arrive() -> None:
    core, spans = make_core("nn.GRU-1"), make_spans([])
    expected = train_with_boundary(core, make_boundary(core), spans[:1], make_state(core))[0][0][0]
    boundary = deepcopy(make_boundary(core, all_reduce=Tensor.clone).requires_grad_(False))
    assert_close(train_with_boundary(core, boundary, spans[:1], make_state(core))[0][0][0], expected)


@pytest.mark.parametrize(
    ("options", "call", "message"),
    [
        ({}, lambda it, state: it.leave(state), "the state that a boundary is left with has no graph, so that a"),
        ({}, lambda it, state: it.enter(state[..., :2]), r"predict for the 2 features of a row .* got one for 3"),
        ({}, lambda it, state: it.enter(torch.ones(2, 3).long()), "must carry a floating-point state"),
        ({}, lambda it, state: it.enter((torch.ones(3, 2) * 1j, state)), r"state must be real, got torch.complex64: "),
        ({}, lambda it, state: it.enter(state, torch.ones(3, 2)), "a boundary needs context_size to be given a cont"),
        (
            {"context_size": 2},
            lambda it, state: it.enter(state, torch.ones(3, 3)),
            r"context must be \(3, 2\), rows and context_size, got \(3, 3\)",
        ),
        ({"context_size": 2}, lambda it, state: it.enter(state), "the synthesizer needs a context, got None: give it"),
        (
            {},
            lambda it, state: it.leave(state.requires_grad_(), continuing=torch.ones(2).bool()),
            r"continuing must be \(3,\) bool, as many rows as the state, got \(2,\) in torch.bool: begin other rows",
        ),
        ({"synthesizer": MLPSynthesizer(5)}, lambda it, state: it.enter(state), "for the 3 features .* got one for 5"),
        (
            {"synthesizer": ErrorSynthesizer(3, 3, 3)},
            lambda it, state: it.enter(state),
            "the synthesizer needs a context, got None",
        ),
        ({"context_size": -1}, lambda it, state: None, "context_size must be at least 0, got -1"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], call: Any, message: str) -> None:
    core = make_core("nn.GRU-1")
    with pytest.raises(ValueError, match=message):
        call(Boundary(core, **options), make_state(core))


def test_a_synthesizer_of_ones_own_is_told_what_the_loop_tells() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(2 * SIZE, SIZE)

        def forward(self, state: Tensor, known: Any) -> Tensor:
            assert state_size(state) == SIZE
            return self.last(torch.cat([state[0], known["label"]], dim=1)).unsqueeze(1)

    core, (span, *_) = make_core("nn.GRU-1"), make_spans([])
    boundary = randomized(Boundary(core, synthesizer=Own()))
    known = {"label": torch.randn(ROWS, SIZE, dtype=torch.float64)}
    outputs, state = core(span.inputs, boundary.enter(make_state(core), known))
    (outputs.sum() + boundary.leave(state, known)).backward()
    assert all(parameter.grad is not None for parameter in boundary.parameters())


def test_for_a_core_in_half_precision_it_works_in_float32() -> None:
    core, (span, *_) = nn.LSTM(SIZE, SIZE).bfloat16(), make_spans([])
    boundary = Boundary(core)
    for parameter in boundary.parameters():
        nn.init.normal_(parameter, std=0.5)
    assert {parameter.dtype for parameter in boundary.parameters()} == {torch.float32}
    state = core(span.inputs.bfloat16())[1]
    for _ in range(2):
        state = boundary.enter(state)
        assert {tensor.dtype for tensor in leaves(state)} == {torch.bfloat16}
        outputs, state = core(span.inputs.bfloat16(), state)
        (squared_error(outputs.float(), span.targets).mean() + boundary.leave(state)).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in boundary.parameters())
    assert float(boundary.interface.predictor.updates) == 2


@pytest.mark.parametrize("core", ["nn.GRU-1", "nn.LSTM-1", "GRU-2"])
def test_a_loop_may_write_into_the_state_it_enters_with(core: str) -> None:
    model = make_core(core)
    boundary = make_boundary(model)
    state, found = make_state(model), []
    for _ in range(2):
        entered = boundary.enter(state)
        for tensor in leaves(entered):
            tensor[:, 1] = 0  # as a reset may do
        outputs, state = model(make_span(WINDOW).inputs, entered)
        (outputs.square().mean() + boundary.leave(state)).backward()
        found.append(gradients(boundary))
    assert any(bool(gradient.any()) for gradient in found[1].values())


def test_a_context_size_is_for_the_synthesizer_that_it_makes() -> None:
    synthesizer = MLPSynthesizer(SIZE, lookahead=1, feature_size=KNOWN)
    with pytest.raises(ValueError, match=r"^context_size must be 0 with a synthesizer, which reads .*, got 2$"):
        Boundary(make_core("nn.GRU-1"), context_size=KNOWN, synthesizer=synthesizer)


def test_a_second_backward_pass_at_a_boundary_is_refused() -> None:
    core = make_core("nn.GRU-1")
    boundary = make_boundary(core)
    state = boundary.enter(make_state(core))
    outputs, state = core(make_span(WINDOW).inputs, state)
    (outputs.square().sum() + boundary.leave(state)).backward(retain_graph=True)
    with pytest.raises(ValueError, match=r"two backward passes reach one boundary, .*: add the losses up"):
        outputs.sum().backward()
