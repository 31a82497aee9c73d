"""The neural cache: equal to a loop over steps and words, and never a glance at what is still to come."""

import re
from math import exp, inf, log
from typing import Any

import pytest
import torch
from tolerances import assert_close, assert_identical
from torch import Tensor

from sgrnn.errors import InputError
from sgrnn.models.cache import NeuralCache, cache_log_chances, mixed_nats

VOCABULARY, FEATURES = 7, 4


def make_text(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits over all words of every step, the outputs beside them, and the tokens."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, VOCABULARY, dtype=torch.float64, generator=generator)
    outputs = torch.randn(count, FEATURES, dtype=torch.float64, generator=generator)
    return logits, outputs, torch.randint(VOCABULARY, (count,), generator=generator)


def nats_of(logits: Tensor, tokens: Tensor) -> Tensor:
    return -logits.log_softmax(1).gather(1, tokens.unsqueeze(1)).squeeze(1)


def by_hand(logits: Tensor, outputs: Tensor, tokens: Tensor, cache: NeuralCache, begins: set[int]) -> list[float]:
    """The whole distribution of every step, word by word; it must add up to 1."""
    found = []
    for now in range(len(tokens)):
        first = max([0, now - cache.size, *(begin for begin in begins if begin <= now)])
        chances = logits[now].softmax(0).tolist()
        likeness = [exp(cache.flatness * float(outputs[now] @ outputs[then])) for then in range(first, now)]
        if likeness:
            kept = [0.0] * VOCABULARY
            for then, value in zip(range(first, now), likeness, strict=True):
                kept[int(tokens[then])] += value / sum(likeness)
            chances = [(1 - cache.weight) * p + cache.weight * q for p, q in zip(chances, kept, strict=True)]
        assert sum(chances) == pytest.approx(1.0, rel=1e-12)
        found.append(-log(chances[int(tokens[now])]))
    return found


@pytest.mark.parametrize("size", [1, 5, 300, 1000])
def test_losses_are_those_of_a_loop_over_steps_and_words(size: int) -> None:
    logits, outputs, tokens = make_text(600 if size == 300 else 40)
    for cache in (NeuralCache(0.3, 0.7, size), NeuralCache(0.95, 0.0, size)):
        for begins in (set(), {0, 3, 4, 30}):
            marks = torch.zeros(len(tokens), dtype=torch.bool)
            marks[list(begins)] = True
            chances = cache_log_chances(outputs, tokens, cache.flatness, size, marks if begins else None)
            found = mixed_nats(nats_of(logits, tokens), chances, cache.weight)
            assert_close(found, torch.tensor(by_hand(logits, outputs, tokens, cache, begins), dtype=torch.float64))


def test_with_a_weight_of_0_nothing_is_changed() -> None:
    logits, outputs, tokens = make_text(30)
    nats = nats_of(logits, tokens)
    assert_identical(mixed_nats(nats, cache_log_chances(outputs, tokens, 1.0, 10), 0.0), nats)


def test_nothing_is_told_of_what_is_still_to_come() -> None:
    logits, outputs, tokens = make_text(30)
    expected = mixed_nats(nats_of(logits, tokens), cache_log_chances(outputs, tokens, 1.0, 10), 0.2)
    for changed in (0, 11, 29):
        others = tokens.clone()
        others[changed] = (others[changed] + 1) % VOCABULARY
        found = mixed_nats(nats_of(logits, others), cache_log_chances(outputs, others, 1.0, 10), 0.2)
        assert_identical(found[:changed], expected[:changed])
        assert_identical(found[changed + 11 :], expected[changed + 11 :])
        assert changed == 29 or (found != expected)[changed + 1 : changed + 11].any()


def test_what_the_cache_holds_is_told_by_its_chances() -> None:
    outputs = torch.zeros(4, FEATURES, dtype=torch.float64)
    chances = cache_log_chances(outputs, torch.tensor([1, 2, 1, 1]), 1.0, 10)
    assert chances.isnan().tolist() == [True, False, False, False]
    assert chances[1:].tolist() == pytest.approx([-inf, log(1 / 2), log(2 / 3)])


def test_large_outputs_are_no_harm() -> None:
    _, outputs, tokens = make_text(30)
    chances = cache_log_chances(1e3 * outputs.float(), tokens, 1.0, 10)
    assert not chances[1:].isnan().any()
    assert (mixed_nats(torch.full((30,), 800.0, dtype=torch.float64), chances, 0.5) <= 801).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.0}, "weight must be at least 0 and below 1, got 1.0"),
        ({"weight": -0.1}, "weight must be at least 0 and below 1, got -0.1"),
        ({"flatness": -1.0}, "flatness must be at least 0, got -1.0"),
        ({"size": 0}, "size must be at least 1 step, got 0"),
        ({"size": 2.5}, "size must be a whole number, got 2.5"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        NeuralCache(**options)
