"""A synthesizer that is made where none is given fits the model, whatever that is, or the model is refused by name."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from models import ROWS, SIZE, make_core, make_language_model, make_span, squared_error
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.cores import initial_state
from sgrnn.estimators import Boundary, SyntheticGradients
from sgrnn.estimators.online import RTRL
from sgrnn.models.language_model import LanguageModel
from sgrnn.sequences import spans
from sgrnn.state import state_size
from sgrnn.synthesizers import ErrorSynthesizer

STEPS, WINDOW = 7, 3


class Tagger(nn.Module):
    """A model as people write it: no method but forward, None for a first state, the head registered first."""

    def __init__(self, heads_first: bool = False, batch_norm: bool = False) -> None:
        super().__init__()
        if heads_first:
            self.head = nn.Linear(SIZE, 2)
        self.embedding = nn.Embedding(10, 5)
        self.norm = nn.BatchNorm1d(5) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(5, SIZE, num_layers=2)
        if not heads_first:
            self.head = nn.Linear(SIZE, 2)

    def forward(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        vectors = self.dropout(self.norm(self.embedding(inputs).flatten(0, 1)).unflatten(0, inputs.shape[:2]))
        outputs, state = self.lstm(vectors, state)
        return self.head(outputs), state


class Driven(nn.Module):
    """Reads a dict of vectors and controls."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(SIZE + 2, SIZE)

    def initial_state(self, batch_size: int) -> Tensor:
        return next(self.parameters()).new_zeros(1, batch_size, SIZE)

    def forward(self, inputs: dict[str, Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
        return self.core(torch.cat([inputs["seen"], inputs["done"]], dim=-1), state)


def train(model: nn.Module, loss: Any, inputs: Any, targets: Any, **options: Any) -> SyntheticGradients:
    """Two spans by an estimator that is made of model and loss alone, and left with random weights before."""
    estimator = SyntheticGradients(model, loss, window=WINDOW, **options)
    for parameter in estimator.parameters():
        nn.init.normal_(parameter, std=0.3)
    state = None
    for span in spans(inputs, targets, steps=4, lookahead=estimator.lookahead):
        step = estimator.backward(span, state)
        state = step.state
        assert bool(step.loss.isfinite())
    assert all(parameter.grad is not None for parameter in estimator.parameters()), "fits, and learned"
    return estimator


@pytest.mark.parametrize("name", ["LSTM-2", "nn.LSTM-2", "nn.GRU-1", "nn.RNN-1", "hierarchy 1, 2, 3", "own"])
def test_a_synthesizer_fits_every_core_and_leaves_it_as_it_is(name: str) -> None:
    core, span = make_core(name), make_span(STEPS)
    before = {key: value.clone() for key, value in core.state_dict().items()}
    example = span.inputs if name == "own" else None  # its first layer reads the state beside the inputs
    made = train(core, squared_error, span.inputs, span.targets, example=example).synthesizer
    assert made.state_size == state_size(initial_state(core, 1))
    assert (made.feature_size, made.lookahead) == (SIZE, 8)
    assert next(made.parameters()).dtype == torch.float64
    assert_identical(core.state_dict(), before)


class Noisy(nn.LSTM):
    """Draws at random, in evaluation too."""

    def forward(self, inputs: Tensor, state: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(inputs + torch.rand(()), state)


def test_its_weights_are_those_that_the_same_seed_gives_by_hand() -> None:
    core = Noisy(4, SIZE, 2)
    for example in (None, torch.randn(2, 2, 4)):
        torch.manual_seed(3)
        made = SyntheticGradients(core, squared_error, 5, lookahead=4, example=example).synthesizer
        torch.manual_seed(3)
        by_hand = ErrorSynthesizer(2 * 2 * SIZE, SIZE, 4, lookahead=4, aligned_size=2 * 2 * SIZE)
        assert_identical(made.state_dict(), by_hand.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_precision_is_the_models_float32_at_least(dtype: torch.dtype) -> None:
    core, span = nn.LSTM(SIZE, SIZE).to(dtype), make_span(STEPS)
    made = train(core, squared_error, span.inputs.to(dtype), span.targets.to(dtype)).synthesizer
    assert {parameter.dtype for parameter in made.parameters()} == {torch.float32}


def test_a_language_model_makes_its_own() -> None:
    model = make_language_model()
    tokens = torch.randint(0, 11, (STEPS + 1, ROWS))
    made = train(model, model.loss, tokens[:-1], tokens[1:], lookahead=2)
    assert isinstance(model, LanguageModel)
    assert type(made.synthesizer) is type(model.synthesizer(2))
    assert made.lookahead == 2
    assert Boundary(model).interface.message_size == made.synthesizer.state_size


@pytest.mark.parametrize(("heads_first", "batch_norm"), [(False, True), (True, False)])
def test_a_users_model_of_tokens_needs_nothing_but_forward(heads_first: bool, batch_norm: bool) -> None:
    model = Tagger(heads_first, batch_norm)
    buffers = {key: value.clone() for key, value in model.named_buffers()}
    random = torch.get_rng_state()
    SyntheticGradients(model, squared_error, WINDOW, lookahead=1)
    assert_identical(dict(model.named_buffers()), buffers)
    assert model.training
    assert not torch.equal(random, torch.get_rng_state()), "the weights are drawn"

    def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs.movedim(-1, 1), targets, reduction="none")

    tokens = torch.randint(0, 10, (STEPS, ROWS))
    made = train(model, cross_entropy, tokens, tokens % 2, parallel=False).synthesizer
    assert (made.state_size, made.feature_size) == (2 * 2 * SIZE, 5)


def test_several_inputs_a_step_are_told_by_an_example() -> None:
    model = Driven().double()
    inputs = {"seen": torch.randn(STEPS, ROWS, SIZE).double(), "done": torch.randn(STEPS, ROWS, 2).double()}
    targets = torch.randn(STEPS, ROWS, SIZE).double()
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    made = train(model, squared_error, inputs, targets, example=arrays)
    assert made.synthesizer.feature_size == SIZE + 2
    assert Boundary(model, example=inputs).interface.message_size == SIZE
    message = (
        r"^Driven cannot be run on \(1, 1, 5\), as a layer reads \(.*\): mend that, or give some of its inputs "
        r"\(example=inputs\), or a synthesizer$"
    )
    with pytest.raises(ValueError, match=message):
        SyntheticGradients(model, squared_error, WINDOW)
    with pytest.raises(ValueError, match=r"^inputs must be one tensor for an online estimator, got a dict:"):
        RTRL(model, squared_error).backward(next(spans(inputs, targets, steps=3)))


class Bare(nn.Module):
    """Tells nothing of what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(SIZE, SIZE))

    def initial_state(self, batch_size: int) -> Tensor:
        return self.weight.new_zeros(batch_size, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = []
        for step in inputs:
            state = torch.tanh(step + state @ self.weight)
            outputs.append(state)
        return torch.stack(outputs), state


class Flat(Bare):
    """Has one number a row as its state."""

    def initial_state(self, batch_size: int) -> Tensor:
        return self.weight.new_zeros(batch_size)


def test_a_model_that_does_not_tell_what_it_reads_needs_an_example() -> None:
    for make in (partial(SyntheticGradients, Bare(), squared_error, WINDOW), partial(Boundary, Bare())):
        with pytest.raises(
            ValueError, match=r"^Bare does not tell what a step of its inputs is: give some of its inputs"
        ):
            make()
        with pytest.raises(ValueError, match=r"^example must be \(time, batch, ...\), got \(3,\)$"):
            make(example=np.zeros(3))
        make(example=torch.zeros(2, 2, SIZE))


@pytest.mark.parametrize(
    ("model", "options", "kind", "message"),
    [
        (nn.LSTM(SIZE, SIZE, batch_first=True), {}, TypeError, "^a core reads time first: hand over sgrnn.AdaptedCore"),
        (
            nn.GRU(SIZE, SIZE, bidirectional=True),
            {},
            TypeError,
            "^a core reads forwards only: bidirectional must be False",
        ),
        (
            nn.LSTM(SIZE, SIZE),
            {"synthesizer": ErrorSynthesizer(6, 3, 3), "lookahead": 3},
            ValueError,
            "lookahead and example are for the synthesizer that is made where none is given",
        ),
        (
            nn.LSTM(SIZE, SIZE),
            {"example": torch.zeros(2, 2, SIZE).double()},
            ValueError,
            r"inputs must be in the model's precision, torch.float32, got torch.float64: convert them$",
        ),
        (Flat(), {"example": torch.zeros(2, 2, SIZE)}, ValueError, r"^state must be .*batch, features\)?.*got \(1,\)$"),
        (nn.LSTM(SIZE, SIZE, device="meta"), {}, ValueError, "^model lies on the device meta, which holds no numbers"),
        (nn.LSTM(SIZE, SIZE), {"lookahead": 0}, ValueError, "lookahead must be at least 1 step, got 0"),
    ],
)
def test_what_no_synthesizer_can_be_made_for_is_refused(
    model: nn.Module, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        SyntheticGradients(model, squared_error, WINDOW, **options)
