"""Evaluation: exact, every token counted once, whatever the batch."""

from collections.abc import Callable
from math import exp, inf, log
from typing import Any

import pytest
import torch
from models import SIZE, VOCABULARY, make_language_model
from tolerances import assert_identical
from torch import Tensor, nn

from sgrnn.cores import GRU, LSTM
from sgrnn.models.evaluation import Score, evaluate
from sgrnn.models.language_model import LanguageModel

TOKENS = 41
FIRST = 3


class Counter(nn.Module):
    """Never forgets: its outputs say how many steps there were, counted in integers."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, 1, dtype=torch.long)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        counts = state + torch.arange(1, len(inputs) + 1).view(-1, 1, 1)
        return torch.sin(counts * torch.tensor([1.0, 0.1, 0.01], dtype=inputs.dtype)), counts[-1]


class Accumulator(nn.Module):
    """Never forgets: its state is the sum of all that it has read."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, SIZE, dtype=torch.float64)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        sums = state + inputs.cumsum(dim=0)
        return torch.tanh(sums), sums[-1]


class Beside(nn.Module):
    """A small sum that is never forgotten, beside large numbers in the same units of another layer."""

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.tensor([1e15, 0.0], dtype=torch.float64).view(2, 1, 1).expand(2, batch_size, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        sums = state[1] + 0.02 * torch.arange(1, len(inputs) + 1, dtype=torch.float64).view(-1, 1, 1)
        return inputs + torch.sin(sums), torch.stack([state[0], sums[-1]])


def lstm(forget_bias: float) -> LanguageModel:
    """One that keeps a share sigmoid(forget_bias) of its memory at every step."""
    core = LSTM(SIZE, SIZE, 2)
    model = make_language_model(core)
    with torch.no_grad():
        for layer in core.layers:
            layer.get_parameter("bias_ih_l0")[SIZE : 2 * SIZE] += forget_bias
    return model


MODELS: dict[str, Callable[[], LanguageModel]] = {
    "forgets": lambda: lstm(0.0),
    "forgets slowly": lambda: lstm(2.0),
    "never forgets": lambda: lstm(20.0),
    "GRU, dropout": lambda: make_language_model(GRU(SIZE, SIZE, 2, dropout=0.5), dropout=0.5),
    "counts": lambda: make_language_model(Counter()),
    "accumulates": lambda: make_language_model(Accumulator()),
    "accumulates little": lambda: make_language_model(Beside()),
}


def make_tokens(count: int = TOKENS) -> Tensor:
    return torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(4))


@torch.no_grad()
def nats_by_hand(model: LanguageModel, tokens: Tensor, first: int) -> float:
    """Token by token, the state carried along."""
    model.eval()
    state = model.initial_state(1)
    nats, read = 0.0, first
    for token in tokens.tolist():
        outputs, state = model(torch.tensor([[read]]), state)
        logits = model.logits(outputs)[0, 0].tolist()
        largest = max(logits)
        nats += largest + log(sum(exp(logit - largest) for logit in logits)) - logits[token]
        read = token
    return nats


@pytest.mark.parametrize("name", MODELS)
def test_the_result_is_the_sum_token_by_token_whatever_the_batch_size(name: str) -> None:
    model, tokens = MODELS[name](), make_tokens()
    expected = nats_by_hand(model, tokens, FIRST)
    for batch_size in (1, 2, 7, TOKENS + 5):
        assert evaluate(model, tokens, FIRST, batch_size=batch_size) == pytest.approx(expected, rel=1e-11)


def test_the_result_does_not_depend_on_how_many_steps_run_at_once() -> None:
    model, tokens = MODELS["forgets slowly"](), make_tokens()
    expected = nats_by_hand(model, tokens, FIRST)
    for batch_size, chunk in [(1, 1), (7, 1), (7, 2), (1, 5), (7, 5), (7, 6), (7, 100)]:
        assert evaluate(model, tokens, FIRST, batch_size=batch_size, chunk=chunk) == pytest.approx(expected, rel=1e-11)


def test_in_float32_only_rounding_is_left_of_the_batch_size() -> None:
    model, tokens = MODELS["forgets slowly"]().float(), make_tokens(150)
    expected = nats_by_hand(model, tokens, FIRST)
    for batch_size in (1, 20, 133):
        assert evaluate(model, tokens, FIRST, batch_size=batch_size) == pytest.approx(expected, rel=1e-6)


def test_every_token_counts_once() -> None:
    """A model that finds all tokens alike gives each log V, also those it sees beside padding."""
    model = make_language_model()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    for tokens, batch_size in [(1, 1), (1, 7), (2, 2), (5, 3), (TOKENS, 2), (TOKENS, TOKENS - 1), (TOKENS, TOKENS)]:
        nats = evaluate(model, make_tokens(tokens), FIRST, batch_size=batch_size)
        assert nats == pytest.approx(tokens * log(VOCABULARY), rel=1e-12)


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (0, {}, "tokens must be at least 1, got 0"),
        (5, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        (5, {"chunk": 0}, "chunk must be at least 1, got 0"),
    ],
)
def test_nothing_to_read_is_refused(tokens: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate(make_language_model(), make_tokens(tokens), FIRST, **options)


def test_no_parameter_and_no_gradient_is_touched() -> None:
    model = make_language_model(dropout=0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    evaluate(model, make_tokens(), FIRST)
    assert_identical(dict(model.state_dict()), before)
    assert_identical(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert evaluate(model, make_tokens(), FIRST) == evaluate(model.eval(), make_tokens(), FIRST), "without dropout"


@pytest.mark.parametrize(("name", "batch_size"), [("forgets", 10), ("accumulates", 2)])
def test_a_model_that_forgets_and_any_model_in_two_rows_reads_the_text_twice(name: str, batch_size: int) -> None:
    model = MODELS[name]()
    calls = []
    model.core.register_forward_pre_hook(lambda core, arguments: calls.append(arguments[0].shape[0]))
    evaluate(model, make_tokens(100 * batch_size), FIRST, batch_size=batch_size, chunk=60)
    assert calls == [60, 40] * 2


class Rounded(nn.Module):
    """Forgets at once, and has the rounding of wide layers in float32: an error of its own each time it is run."""

    def __init__(self) -> None:
        super().__init__()
        self.error = 4e-6

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(batch_size, SIZE)

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        self.error = -self.error
        return inputs, inputs[-1] + self.error


def test_rounding_where_a_unit_is_near_zero_is_no_reason_to_read_the_text_again() -> None:
    model = make_language_model(Rounded(), torch.float32)
    calls = []
    model.core.register_forward_pre_hook(lambda core, arguments: calls.append(arguments[0].shape[0]))
    evaluate(model, make_tokens(8 * 20), FIRST, batch_size=8, chunk=20)
    assert calls == [20] * 2


def test_a_score_is_in_the_units_it_names() -> None:
    score = Score(nats=120.0, tokens=60, words=40, characters=200, bytes=240, unknown=3, unknown_nats=20.0)
    assert score.loss == 2.0
    assert score.perplexity == pytest.approx(exp(2))
    assert score.text_nats == 140
    assert score.word_perplexity == pytest.approx(exp(3.5))
    assert score.bits_per_character == pytest.approx(140 / log(2) / 200)
    assert score.bits_per_byte == pytest.approx(140 / log(2) / 240)
    assert score.unknown_share == 0.05
    plain = Score(nats=120.0, tokens=60, words=None, characters=200)
    assert (plain.word_perplexity, plain.bits_per_byte) == (None, plain.bits_per_character)
    hopeless = Score(nats=1e6, tokens=1000, words=10, characters=10)
    assert hopeless.perplexity == hopeless.word_perplexity == inf, "as no float can hold it"
