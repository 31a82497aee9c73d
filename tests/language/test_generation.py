"""Generation: what it draws is what the model predicts, one token after another."""

from itertools import islice
from math import exp
from typing import Any

import numpy as np
import pytest
import torch
from models import SIZE, VOCABULARY, make_language_model
from tolerances import assert_identical
from torch import Tensor

from sgrnn.cores import LSTM
from sgrnn.errors import InputError
from sgrnn.models.generation import chances_of, draw_rows, generate
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


@pytest.mark.parametrize("reset_at", [None, 4])
def test_a_prompt_may_be_an_array_as_a_tokenizer_gives_it_or_a_tensor(reset_at: int | None) -> None:
    model = make_model()
    model.reset_at = reset_at
    expected = list(generate(model, [5, 4, 7], 5, seed=1))
    for prompt in (np.array([5, 4, 7], np.uint16), torch.tensor([5, 4, 7]), (5, 4, 7)):
        assert list(generate(model, prompt, 5, seed=1)) == expected


@pytest.mark.parametrize("prompt", [PROMPT, [7]])
def test_at_temperature_0_or_near_it_the_likeliest_token_is_taken_and_read(prompt: list[int]) -> None:
    model = make_model()
    text = list(prompt)
    for _ in range(20):
        text.append(int(next_logits(model, text).argmax()))
    for temperature in (0, 5e-324, 1e-300):
        assert list(generate(model, prompt, 20, temperature=temperature, seed=1)) == text[len(prompt) :]


def test_the_state_is_reset_at_each_token_that_the_model_says() -> None:
    model, read = make_model(), []
    model.reset_at = 5
    model.register_forward_pre_hook(
        lambda module, arguments: read.append((arguments[0].T.tolist(), to_matrix(arguments[1]).norm(dim=1).tolist()))
    )
    drawn = list(draw_rows(model, [3, 5, 1, 5, 4], 60, 2, temperature=float("inf"), seed=1))
    assert sum(5 in tokens for tokens in drawn) > 2
    (prompt, begins), *rest = read
    assert (prompt, begins) == ([[5, 4]] * 2, [0.0, 0.0]), "what is before has no bearing"
    for tokens, (inputs, sizes) in zip(drawn[:-1], rest, strict=True):
        assert inputs == [[token] for token in tokens]
        assert [size == 0.0 for size in sizes] == [token == 5 for token in tokens]


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


def plain_chances(logits: list[float], temperature: float, top_k: int | None, top_p: float | None) -> list[float]:
    """The probabilities by their definition: the likeliest k, of these the likeliest that reach p, renormalized."""
    weights = [exp(logit / temperature) for logit in logits]
    kept = sorted(range(len(weights)), key=lambda token: -weights[token])[:top_k]
    enough, reached = [], 0.0
    for token in kept:
        if top_p is not None and reached >= top_p * sum(weights[each] for each in kept):
            break
        enough.append(token)
        reached += weights[token]
    return [weights[token] / reached if token in enough else 0.0 for token in range(len(weights))]


CUTS: list[tuple[float, int | None, float | None]] = [
    (1.0, None, None), (0.5, None, 1.0), (1.0, 1, None), (2.0, 4, None), (1.0, 99, None), (1.0, None, 1e-9),
    (0.7, None, 0.5), (1.5, None, 0.9), (1.0, None, 0.999), (1.0, 4, 0.6), (3.0, 5, 0.8),
]  # fmt: skip


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), CUTS)
def test_chances_are_those_of_the_likeliest_tokens_renormalized(
    temperature: float, top_k: int | None, top_p: float | None
) -> None:
    logits = torch.randn(6, VOCABULARY, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2
    found = chances_of(logits.clone(), temperature, top_k, top_p)
    for row, chances in zip(logits.tolist(), found.tolist(), strict=True):
        assert chances == pytest.approx(plain_chances(row, temperature, top_k, top_p), rel=1e-12)


def test_of_equally_likely_tokens_no_more_than_k_are_kept() -> None:
    assert (chances_of(torch.zeros(2, 9), 1.0, 4, None) > 0).sum(-1).tolist() == [4, 4]
    assert chances_of(torch.zeros(8).double(), 1.0, None, 0.5).tolist() == [0.25] * 4 + [0.0] * 4


def test_tokens_are_drawn_by_the_chances_of_what_was_read_in_every_row() -> None:
    model, options = make_model(), {"temperature": 1.5, "top_k": 5, "top_p": 0.9}
    drawn = list(draw_rows(model, PROMPT, 12, 4, **options, seed=6))
    generator = torch.Generator().manual_seed(6)
    texts = [list(PROMPT) for _ in range(4)]
    for tokens in drawn:
        logits = torch.stack([next_logits(model, text) for text in texts])
        chances = chances_of(logits.double(), *options.values())
        assert tokens == torch.multinomial(chances, 1, generator=generator).squeeze(1).tolist()
        for text, token in zip(texts, tokens, strict=True):
            text.append(token)
    assert len({tuple(text) for text in texts}) > 1
    alone = list(generate(model, PROMPT, 12, **options, seed=6))
    assert [[token] for token in alone] == list(draw_rows(model, PROMPT, 12, 1, **options, seed=6))


def test_the_likeliest_alone_is_what_temperature_0_takes() -> None:
    model = make_model()
    greedy = list(generate(model, PROMPT, 20, temperature=0))
    cuts: list[dict[str, Any]] = [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 0, "top_k": 3, "top_p": 0.5}]
    for options in cuts:
        assert list(generate(model, PROMPT, 20, **options)) == greedy


def test_a_text_ends_before_the_first_token_to_stop_at() -> None:
    model = make_model()
    whole = list(generate(model, PROMPT, 30, seed=1))
    for stop in ({whole[7]}, [whole[3], whole[12]], {whole[0]}):
        end = min(whole.index(token) for token in stop)
        assert list(generate(model, PROMPT, 30, stop=stop, seed=1)) == whole[:end]
    assert list(generate(model, PROMPT, 30, stop={VOCABULARY + 1}, seed=1)) == whole


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
    ("changed", "message"),
    [
        ({"prompt": []}, "prompt must hold at least one token, got none"),
        ({"prompt": None}, "prompt must hold at least one token, got none"),
        ({"prompt": ["a"]}, r"prompt must be whole numbers one after another, got \['a'\]"),
        ({"prompt": [2**70]}, rf"prompt must hold tokens from 0 to \d+, got \[{2**70}\]"),
        ({"prompt": "a"}, r"prompt must be tokens, got a text: tokenizer.encode\(text\)"),
        ({"prompt": np.array([], np.uint16)}, "prompt must hold at least one token, got none"),
        ({"prompt": [True]}, r"prompt must be whole numbers one after another, got \[True\]"),
        ({"prompt": [1.5]}, r"prompt must be whole numbers one after another, got \[1.5\]"),
        ({"prompt": torch.tensor([[1]])}, r"prompt must be whole numbers one after another, got tensor\(\[\[1\]\]\)"),
        ({"prompt": [1, 99]}, r"prompt must hold tokens from 0 to \d+, got \[1, 99\]"),
        ({"temperature": -0.5}, "length and temperature must not be negative, got 5 and -0.5"),
        ({"temperature": float("nan")}, "temperature must be a number, got nan"),
        ({"top_k": 0}, "top_k must be at least 1, got 0"),
        *(
            ({"top_p": value}, f"top_p must be above 0 and at most 1, got {value}")
            for value in (0.0, 1.5, float("nan"))
        ),
        ({"samples": 0}, "samples must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_done_is_refused(changed: dict[str, Any], message: str) -> None:
    given = {"prompt": PROMPT, "length": 5, **changed}
    draw = draw_rows if "samples" in changed else generate
    with pytest.raises(ValueError, match=f"^{message}$"):
        draw(make_model(), **given)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_predicts_what_is_not_finite_is_refused(temperature: float, value: float) -> None:
    model = make_model()
    with torch.no_grad():
        model.output.bias[0] = -torch.inf  # a token that is never drawn
        assert 0 not in list(generate(model, PROMPT, 9, temperature=temperature, seed=1))
        model.output.bias[1] = value
    message = rf"^the model's largest logit must be finite, got {value}: see whether its parameters are$"
    with pytest.raises(InputError, match=message):
        list(generate(model, PROMPT, 9, temperature=temperature))
