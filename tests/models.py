"""Small models, spans and synthesizers that the tests share, and gradients by plain autograd to compare with."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM, RNN, HierarchicalCore, initial_state
from sgrnn.estimators import GradientEstimator, Loss, Step, SyntheticGradients
from sgrnn.models.language_model import LanguageModel
from sgrnn.span import Span
from sgrnn.state import State, cut, detach, map_state, to_matrix, where_rows
from sgrnn.synthesizers import Lookahead, Synthesizer

SIZE = 3  # features of inputs, outputs and states, so that a core alone is a model
ROWS = 3
VOCABULARY = 11


class OwnCore(nn.Module):
    """A core as a user may write it: a dict as state, steps counted in integers, a beginning that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(2 * SIZE, SIZE)
        self.keep = nn.Linear(2 * SIZE, SIZE)
        self.beginning = nn.Parameter(torch.randn(SIZE))

    def initial_state(self, batch_size: int) -> State:
        return {
            "fast": self.beginning.expand(batch_size, SIZE),
            "slow": (self.beginning.new_zeros(batch_size, SIZE),),
            "count": torch.zeros(batch_size, 1, dtype=torch.long),
        }

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        fast, (slow,), count = state["fast"], state["slow"], state["count"]
        outputs = []
        for step in inputs:
            fast = torch.tanh(self.read(torch.cat([step, fast], dim=-1)) + slow)
            kept = torch.tanh(self.keep(torch.cat([fast, slow], dim=-1)))
            slow = torch.where(count % 3 == 2, kept, slow)
            count = count + 1
            outputs.append(fast)
        return torch.stack(outputs), {"fast": fast, "slow": (slow,), "count": count}


class PlacedCore(nn.Module):
    """A core that reads its place in the sequence, and has a vector for so many places and no more."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.places, self.core = nn.Embedding(places, SIZE), nn.GRU(SIZE, SIZE)

    def initial_state(self, batch_size: int) -> State:
        return {"hidden": initial_state(self.core, batch_size), "place": torch.zeros(batch_size, 1, dtype=torch.long)}

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        places = state["place"].T + torch.arange(len(inputs)).unsqueeze(1)
        outputs, hidden = self.core(inputs + self.places(places), state["hidden"])
        return outputs, {"hidden": hidden, "place": state["place"] + len(inputs)}


def make_hierarchy(*periods: int, kind: Any = LSTM, seed: int = 0, **options: Any) -> HierarchicalCore:
    """Levels of all sizes in float64, with inputs and outputs of SIZE."""
    torch.manual_seed(seed)
    sizes = [SIZE, 2, 4][: len(periods)]
    messages = [*sizes[1:], 0]
    levels = [kind(below + up, size) for below, up, size in zip([SIZE, *sizes], messages, sizes, strict=False)]
    return HierarchicalCore(levels, periods, **options).double()


CORES = (
    "LSTM-2", "GRU-2", "RNN-3", "nn.LSTM-2", "nn.GRU-1", "nn.RNN-1", "hierarchy 1, 4", "hierarchy 1, 2, 3",
    "own",
)  # fmt: skip
"""Names of cores, at least one of each kind: a class and its number of layers, or levels with their periods."""

_LAYERED: dict[str, Callable[[int, int, int], nn.Module]] = {
    "LSTM": LSTM, "GRU": GRU, "RNN": RNN, "nn.LSTM": nn.LSTM, "nn.GRU": nn.GRU, "nn.RNN": nn.RNN,
}  # fmt: skip
_OTHERS: dict[str, Callable[[], nn.Module]] = {
    "hierarchy 1, 4": lambda: make_hierarchy(1, 4),
    "hierarchy 1, 2, 3": lambda: make_hierarchy(1, 2, 3, kind=GRU),
    "own": OwnCore,
}


def make_core(name: str, seed: int = 0) -> nn.Module:
    """A core in float64, named as in CORES but with any number of layers; always the same for a seed."""
    torch.manual_seed(seed)
    if name in _OTHERS:
        return _OTHERS[name]().double()
    kind, layers = name.split("-")
    return _LAYERED[kind](SIZE, SIZE, int(layers)).double()


def make_language_model(
    core: nn.Module | None = None, dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any
) -> LanguageModel:
    """A language model of VOCABULARY tokens, with weights so large that its losses differ; by default an LSTM."""
    torch.manual_seed(seed)
    options = {"initial_range": 0.8, "output_precision": dtype} | options
    return LanguageModel(VOCABULARY, SIZE, core or LSTM(SIZE, SIZE, 2), SIZE, **options).to(dtype)


def make_state(model: nn.Module, rows: int = ROWS, seed: int = 1) -> State:
    """A state in the midst of a sequence: random values, so that no test passes only because they are zero.

    Counters differ from row to row.
    """
    generator = torch.Generator().manual_seed(seed)

    def fill(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return torch.randn(tensor.shape, dtype=tensor.dtype, generator=generator) / 2
        return torch.randint(0, 5, tensor.shape, generator=torch.Generator().manual_seed(2))

    return map_state(fill, detach(initial_state(model, rows)))


def make_span(
    steps: int, rows: int = ROWS, *, is_first: Iterable[tuple[int, int]] | None = None, seed: int = 2, **rest: Any
) -> Span:
    """A span of random vectors; `is_first` lists (step, row)."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2, steps, rows, SIZE, dtype=torch.float64, generator=generator)
    return Span(vectors[0], vectors[1], mark(steps, rows, is_first), **rest)


def make_text(
    steps: int, rows: int = ROWS, *, is_first: Iterable[tuple[int, int]] | None = None, seed: int = 2, **rest: Any
) -> Span:
    """A span of random tokens; `is_first` lists (step, row). Unless rows end, steps of its future are known."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCABULARY, (steps + 5, rows), generator=generator)
    if "is_last" not in rest or not rest["is_last"].all():
        rest = {"future": Span(tokens[steps:-1], tokens[steps + 1 :])} | rest
    return Span(tokens[:steps], tokens[1 : steps + 1], mark(steps, rows, is_first), **rest)


def mark(steps: int, rows: int, places: Iterable[tuple[int, int]] | None) -> Tensor | None:
    """(steps, rows) bool, True at the places (step, row)."""
    if places is None:
        return None
    marked = torch.zeros(steps, rows, dtype=torch.bool)
    for step, row in places:
        marked[step, row] = True
    return marked


def divide(span: Span, lengths: Sequence[int], *, futures: bool = False) -> list[Span]:
    """Consecutive spans of these lengths.

    Where a row's next span begins a sequence, the span before says so by its `is_last`, or else by its `future`.
    """
    assert sum(lengths) == span.steps
    parts: list[Span] = []
    stop = span.steps
    for length in reversed(lengths):
        part = slice(stop - length, stop)
        is_first = None if span.is_first is None else span.is_first[part]
        if not parts:
            rest: dict[str, Any] = {"is_last": span.is_last, "future": span.future}
        else:
            after = parts[0].is_first
            blank = Span(parts[0].inputs, parts[0].targets)
            rest = (
                {"future": parts[0]} if futures else {"future": blank, "is_last": None if after is None else after[0]}
            )
        parts.insert(0, Span(span.inputs[part], span.targets[part], is_first, **rest))
        stop -= length
    return parts


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss per step and row for cores that are their own model."""
    return (outputs - targets).square().sum(dim=-1)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the gradients of all parameters, by name."""
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in module.named_parameters()
    }


def train_on(estimator: GradientEstimator, spans: list[Span], state: State) -> tuple[dict[str, Tensor], list[Step]]:
    """Gradients of the summed loss of consecutive spans, and the estimator's steps; no parameter is changed."""
    totals: dict[str, Tensor] = {}
    steps = []
    for span in spans:
        estimator.model.zero_grad()
        steps.append(estimator.backward(span, state))
        state = steps[-1].state
        for name, gradient in gradients(estimator.model).items():
            totals[name] = totals.get(name, 0) + gradient * (span.steps * span.batch_size)
    return totals, steps


def run_by_hand(
    model: nn.Module, loss: Loss, span: Span, state: State, window: int | None = None
) -> tuple[Tensor, list[State]]:
    """Step by step with plain autograd: the summed loss, and the states before every step and after the last.

    The graph is cut before every window-th step, or only before the first.
    """
    total = torch.zeros((), dtype=torch.float64)
    initial = initial_state(model, span.batch_size)
    states = []
    for step in range(span.steps):
        if step % (window or span.steps) == 0:
            state = cut(state)
        # apart from the outputs, which a core may hand on as its state, and never a constant
        state = map_state(lambda tensor: tensor.clone().requires_grad_(tensor.is_floating_point()), state)
        states.append(state)
        if span.is_first is not None:
            state = where_rows(span.is_first[step], initial, state)
        outputs, state = model(span.inputs[step : step + 1], state)
        total = total + loss(outputs, span.targets[step : step + 1]).sum()
    return total, [*states, state]


def gradients_by_hand(
    model: nn.Module, loss: Loss, spans: list[Span], state: State, window: int | None = None
) -> tuple[dict[str, Tensor], list[Tensor], State]:
    """Gradients of the summed loss of consecutive spans, each span's summed loss, and the state after them."""
    model.zero_grad()
    totals = []
    for span in spans:
        total, states = run_by_hand(model, loss, span, state, window)
        total.backward()
        totals.append(total.detach())
        state = detach(states[-1])
    return gradients(model), totals, state


class Table(Synthesizer):
    """A synthesizer whose predictions are its parameters, whatever it is asked.

    The gradient of a parameter then says what the prediction was trained towards.
    """

    def __init__(self, rows: int, features: int, heads: int = 1, seed: int = 3) -> None:
        super().__init__()
        self.state_size = features
        generator = torch.Generator().manual_seed(seed)
        values = torch.randn(rows, heads, features, dtype=torch.float64, generator=generator)
        self.values = nn.Parameter(values)

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        assert to_matrix(state).shape == (self.values.shape[0], self.values.shape[2])
        return self.values * 1  # a graph, as a true synthesizer has


def as_if_trained(estimator: SyntheticGradients, std: float = 0.5) -> SyntheticGradients:
    """Give an estimator random weights, in float64, and a shrinkage of 0.8, so that all it does shows."""
    torch.manual_seed(5)
    estimator.double()
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=std)
    estimator.predictor.shrinkage.dot.fill_(0.4)
    estimator.predictor.shrinkage.square.fill_(0.5)
    return estimator


class LinearCore(nn.Module):
    """s' = A s + u; the outputs are the states."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        rotation, _ = torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator))
        self.weight = nn.Parameter(rotation @ torch.diag(torch.tensor([0.9, 0.6, 0.3], dtype=torch.float64)))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = state @ self.weight.T + step
            outputs.append(state)
        return torch.stack(outputs), state


def half_squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss of which the output gradients are outputs - targets."""
    return (outputs - targets).square().sum(dim=-1) / 2
