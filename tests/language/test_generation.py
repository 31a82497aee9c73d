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


@pytest.mark.parametrize("prompt", [PROMPT, PROMPT[:1], [7, 0, 9, 2], [10, 5]])
def test_at_temperature_0_the_likeliest_token_is_taken_and_read(prompt: list[int]) -> None:
    model = make_model()
    text = list(prompt)
    for _ in range(20):
        text.append(int(next_logits(model, text).argmax()))
    assert list(generate(model, prompt, 20, temperature=0)) == text[len(prompt) :]


@pytest.mark.parametrize("temperature", [5e-324, 1e-320, 1e-300, 1e-40])
def test_at_temperatures_near_0_it_is_as_at_0(temperature: float) -> None:
    model = make_model()
    coldest = list(generate(model, PROMPT, 20, temperature=0))
    assert list(generate(model, PROMPT, 20, temperature=temperature, seed=1)) == coldest


@pytest.mark.parametrize("temperature", [1e308, float("inf")])
def test_at_the_highest_temperatures_all_tokens_are_as_likely(temperature: float) -> None:
    drawn = list(generate(make_model(), PROMPT, 400, temperature=temperature, seed=1))
    assert set(drawn) == set(range(VOCABULARY))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_by_their_chances_at_the_temperature(temperature: float) -> None:
    model = make_model()
    generator = torch.Generator().manual_seed(6)
    text = list(PROMPT)
    for _ in range(20):
        chances = torch.softmax(next_logits(model, text) / temperature, dim=0)
        text.append(int(torch.multinomial(chances, 1, generator=generator)))
    assert list(generate(model, PROMPT, 20, temperature=temperature, seed=6)) == text[len(PROMPT) :]


def test_frequencies_are_the_models_chances() -> None:
    model = make_model()
    draws = [next(generate(model, PROMPT, 1, seed=seed)) for seed in range(2000)]
    found = torch.bincount(torch.tensor(draws), minlength=VOCABULARY) / len(draws)
    chances = torch.softmax(next_logits(model, PROMPT), dim=0)
    assert (found - chances).abs().max() < 0.04  # one standard deviation is at most 0.011
    assert chances.max() > 2 * 0.04 + 1 / VOCABULARY, "they say more than equal chances"


def test_the_same_seed_gives_the_same_text_and_another_another() -> None:
    model = make_model()
    first, second, other = (list(generate(model, PROMPT, 30, seed=seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert list(generate(model, PROMPT, 30, temperature=9.0)) != list(generate(model, PROMPT, 30, temperature=9.0))


def test_the_programs_own_random_numbers_are_left_alone() -> None:
    model = make_model()
    before = torch.get_rng_state()
    list(generate(model, PROMPT, 5))
    list(generate(model, PROMPT, 5, seed=1))
    assert_identical(torch.get_rng_state(), before)


def test_a_longer_text_begins_with_the_shorter() -> None:
    model = make_model()
    assert list(generate(model, PROMPT, 30, seed=1))[:10] == list(generate(model, PROMPT, 10, seed=1))
    assert list(islice(generate(model, PROMPT, 30, seed=1), 10)) == list(generate(model, PROMPT, 10, seed=1))
    assert list(generate(model, PROMPT, 0)) == []


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_not_used_and_the_mode_left_as_it_was(training: bool) -> None:
    model = make_model(dropout=0.5).train(training)
    first, second = (list(generate(model, PROMPT, 30, seed=1)) for _ in range(2))
    assert first == second
    assert all(module.training is training for module in model.modules())


def test_the_mode_is_left_as_it_was_when_the_text_is_not_read_to_its_end() -> None:
    model = make_model()
    tokens = generate(model, PROMPT, 30)
    next(tokens)
    del tokens
    assert model.training


def test_grad_mode_is_on_again_between_two_tokens() -> None:
    for _ in generate(make_model(), PROMPT, 2):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("prompt", "length", "temperature", "message"),
    [
        ([], 5, 1.0, "prompt must hold at least one token, got none"),
        (PROMPT, -1, 1.0, "length and temperature must not be negative, got -1 and 1.0"),
        (PROMPT, 5, -0.5, "length and temperature must not be negative, got 5 and -0.5"),
        (PROMPT, 5, float("nan"), "temperature must be a number, got nan"),
    ],
)
def test_what_cannot_be_done_is_refused(prompt: list[int], length: int, temperature: float, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        list(generate(make_model(), prompt, length, temperature=temperature))
