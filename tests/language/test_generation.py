"""Generation: what it draws is what the model predicts, one token after another."""

from itertools import islice

import pytest
import torch
from models import SIZE, VOCABULARY, make_language_model
from tolerances import assert_identical
from torch import Tensor

from sgrnn.cores import LSTM
from sgrnn.models.generation import generate
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import to_matrix

PROMPT = [3, 1, 4]


def make_model(dropout: float = 0.0) -> LanguageModel:
    return make_language_model(LSTM(SIZE, SIZE, 2, dropout=dropout), dropout=dropout, initial_range=3.0)


@torch.no_grad()
def next_logits(model: LanguageModel, tokens: list[int]) -> Tensor:
    """Read a text from its beginning, token by token, and predict the next."""
    model.eval()
    state = model.initial_state(1)
    logits = torch.empty(0)
    for token in tokens:
        outputs, state = model(torch.tensor([[token]]), state)
        logits = model.logits(outputs)[0, 0]
    return logits


@pytest.mark.parametrize("prompt", [PROMPT, [7]])
def test_at_temperature_0_or_near_it_the_likeliest_token_is_taken_and_read(prompt: list[int]) -> None:
    model = make_model()
    text = list(prompt)
    for _ in range(20):
        text.append(int(next_logits(model, text).argmax()))
    for temperature in (0, 5e-324, 1e-300):
        assert list(generate(model, prompt, 20, temperature=temperature, seed=1)) == text[len(prompt) :]


def test_the_state_is_reset_at_each_token_that_says_so() -> None:
    model, read = make_model(), []
    model.register_forward_pre_hook(
        lambda module, arguments: read.append((arguments[0].flatten().tolist(), float(to_matrix(arguments[1]).norm())))
    )
    drawn = list(generate(model, [3, 5, 1, 5, 4], 60, temperature=float("inf"), seed=1, reset_at=5))
    assert drawn.count(5) > 2
    (prompt, begins), *rest = read
    assert (prompt, begins) == ([5, 4], 0.0), "what is before has no bearing"
    assert [tokens for tokens, _ in rest] == [[token] for token in drawn[:-1]]
    assert [size == 0.0 for _, size in rest] == [token == 5 for token in drawn[:-1]]


def test_at_the_highest_temperatures_all_tokens_are_as_likely() -> None:
    for temperature in (1e308, float("inf")):
        drawn = list(generate(make_model(), PROMPT, 150, temperature=temperature, seed=1))
        assert set(drawn) == set(range(VOCABULARY))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_tokens_are_drawn_by_their_chances_at_the_temperature(temperature: float) -> None:
    model = make_model()
    generator = torch.Generator().manual_seed(6)
    text = list(PROMPT)
    for _ in range(20):
        chances = torch.softmax(next_logits(model, text) / temperature, dim=0)
        text.append(int(torch.multinomial(chances, 1, generator=generator)))
    assert list(generate(model, PROMPT, 20, temperature=temperature, seed=6)) == text[len(PROMPT) :]


def test_the_same_seed_gives_the_same_text_and_another_another() -> None:
    model = make_model()
    first, second, other = (list(generate(model, PROMPT, 30, seed=seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert list(generate(model, PROMPT, 30, temperature=9.0)) != list(generate(model, PROMPT, 30, temperature=9.0))


def test_a_longer_text_begins_with_the_shorter() -> None:
    model = make_model()
    assert list(generate(model, PROMPT, 30, seed=1))[:10] == list(generate(model, PROMPT, 10, seed=1))
    assert list(islice(generate(model, PROMPT, 30, seed=1), 10)) == list(generate(model, PROMPT, 10, seed=1))
    assert list(generate(model, PROMPT, 0)) == []


def test_neither_dropout_nor_the_programs_own_random_numbers_are_used() -> None:
    model = make_model(dropout=0.5)
    before = torch.get_rng_state()
    assert list(generate(model, PROMPT, 30, seed=1)) == list(generate(model.eval(), PROMPT, 30, seed=1))
    list(generate(model, PROMPT, 5))
    assert_identical(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("prompt", "length", "temperature", "message"),
    [
        ([], 5, 1.0, "prompt must hold at least one token, got none"),
        (PROMPT, 5, -0.5, "length and temperature must not be negative, got 5 and -0.5"),
        (PROMPT, 5, float("nan"), "temperature must be a number, got nan"),
    ],
)
def test_what_cannot_be_done_is_refused(prompt: list[int], length: int, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        list(generate(make_model(), prompt, length, temperature=temperature))
