"""Generation of text by a language model, one token at a time."""

from collections.abc import Collection, Iterator, Sequence
from math import isnan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.contract.modules import evaluating, tensor_of
from sgrnn.errors import InputError, at_least
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import where_rows

Tokens = Sequence[int] | NDArray[np.integer] | Tensor


def generate(
    model: LanguageModel,
    prompt: Tokens,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Collection[int] = (),
    seed: int | None = None,
) -> Iterator[int]:
    """Draw tokens from the model, each read before the next is drawn.

    Args:
        model: used without dropout; between two tokens and afterwards every module is in the mode it was in.
        prompt: tokens read first, at least one: numbers in a list, an array or a tensor (n,).
        length: tokens to draw, at most.
        temperature: divides the logits; below 1 prefers likely tokens, 0 always takes the likeliest.
        top_k: draw from so many of the likeliest tokens; None for all.
        top_p: of these, draw from the likeliest that together have at least this probability (Holtzman et al. 2020);
            None for all.
        stop: tokens before which the text ends.
        seed: of the drawing; None for another text each time.

    Raises:
        InputError: an empty prompt, or one of other things than the model's tokens, an argument that is out of range
            or no number, or a model that predicts what is not finite.
    """
    rows = draw_rows(model, prompt, length, 1, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    return _until(rows, stop)


def draw_rows(
    model: LanguageModel,
    prompt: Tokens,
    length: int,
    samples: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Iterator[list[int]]:
    """Draw the next token of several texts at a time, which run as the rows of one batch.

    Args:
        model: as in `generate`, and so all arguments but one.
        prompt: the same for all texts.
        length: of each.
        samples: number of texts.
        temperature, top_k, top_p, seed: of all texts.

    Raises:
        InputError: as `generate`, and for fewer than one text.
    """
    prompt = _tokens(prompt)
    if not 0 <= min(prompt) <= max(prompt) < model.output.out_features:
        raise InputError(f"prompt must hold tokens from 0 to {model.output.out_features - 1}, got {prompt}")
    if length < 0 or temperature < 0:
        raise InputError(f"length and temperature must not be negative, got {length} and {temperature}")
    if isnan(temperature):
        raise InputError(f"temperature must be a number, got {temperature}")
    at_least("samples", samples, 1, kind=InputError)
    if top_k is not None:
        at_least("top_k", top_k, 1, kind=InputError)
    if top_p is not None and not 0 < top_p <= 1:
        raise InputError(f"top_p must be above 0 and at most 1, got {top_p}")
    if model.reset_at in prompt:  # what is before the last of these has no bearing on what follows
        prompt = prompt[len(prompt) - 1 - prompt[::-1].index(model.reset_at) :]
    return _draw(model, prompt, length, samples, temperature, top_k, top_p, seed)


def chances_of(logits: Tensor, temperature: float, top_k: int | None, top_p: float | None) -> Tensor:
    """Return the probabilities (..., tokens) with which tokens are drawn, those that may not be drawn 0.

    Args:
        logits: (..., tokens) of the model.
        temperature: above 0.
        top_k, top_p: as in `generate`.

    >>> chances_of(torch.tensor([0.5, 0.3, 0.15, 0.05]).log(), 1.0, 3, 0.6)
    tensor([0.6250, 0.3750, 0.0000, 0.0000])
    """
    # From the largest on: so no temperature is so low that a quotient overflows.
    chances = torch.softmax((logits - logits.amax(-1, keepdim=True)) / temperature, dim=-1)
    if top_k is None and (top_p is None or top_p == 1):
        return chances
    likely, places = chances.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        likely[..., top_k:] = 0
    if top_p is not None and top_p < 1:
        likely = likely / likely.sum(-1, keepdim=True)
        likely[likely.cumsum(-1) - likely >= top_p] = 0  # the likelier ones are enough
    chances = torch.zeros_like(chances).scatter_(-1, places, likely)
    return chances / chances.sum(-1, keepdim=True)


def _tokens(prompt: Tokens) -> list[int]:
    """Return a prompt as a list of numbers.

    Raises:
        InputError: it is empty, or of other things than whole numbers.
    """
    if isinstance(prompt, str):
        raise InputError("prompt must be tokens, got a text: tokenizer.encode(text)")
    if prompt is None or not len(prompt):
        raise InputError("prompt must hold at least one token, got none")
    tokens = prompt if isinstance(prompt, Sequence) else prompt.tolist()
    if not all(isinstance(token, int | np.integer) and not isinstance(token, bool) for token in tokens):
        raise InputError(f"prompt must be whole numbers one after another, got {prompt}")
    return [int(token) for token in tokens]


def _until(rows: Iterator[list[int]], stop: Collection[int]) -> Iterator[int]:
    for (token,) in rows:
        if token in stop:
            return
        yield token


def _draw(
    model: LanguageModel,
    prompt: list[int],
    length: int,
    samples: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
) -> Iterator[list[int]]:
    device = tensor_of(model).device
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    state = model.initial_state(samples)
    tokens = torch.tensor(prompt, device=device).unsqueeze(1).repeat(1, samples)
    for _ in range(length):
        # Between two tokens the model is the caller's, and stays as it is if no more are asked for.
        with torch.no_grad(), evaluating(model):
            outputs, state = model(tokens, state)
            logits = model.logits(outputs[-1]).double()
        largest = logits.amax(-1)  # some may be minus infinity, tokens that are never drawn
        if not bool(largest.isfinite().all()):
            raise InputError(
                f"the model's largest logit must be finite, got {float(largest[~largest.isfinite()][0])}: see whether "
                "its parameters are"
            )
        if temperature == 0:
            drawn = logits.argmax(-1)
        else:
            drawn = torch.multinomial(chances_of(logits, temperature, top_k, top_p), 1, generator=generator).squeeze(1)
        tokens = drawn.unsqueeze(0)
        if model.reset_at is not None:
            state = where_rows(drawn == model.reset_at, model.initial_state(samples), state)
        yield drawn.tolist()
