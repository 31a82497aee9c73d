"""Generation of text by a language model, one token at a time."""

from collections.abc import Iterator
from math import isnan

import torch

from sgrnn.contract.modules import evaluating, tensor_of
from sgrnn.errors import InputError
from sgrnn.models.language_model import LanguageModel


def generate(
    model: LanguageModel,
    prompt: list[int],
    length: int,
    *,
    temperature: float = 1.0,
    seed: int | None = None,
    reset_at: int | None = None,
) -> Iterator[int]:
    """Draw tokens from the model, each read before the next is drawn.

    Args:
        model: used without dropout; between two tokens and afterwards every module is in the mode it was in.
        prompt: tokens read first; at least one.
        length: tokens to draw.
        temperature: divides the logits; below 1 prefers likely tokens, 0 always takes the likeliest.
        seed: of the drawing; None for another text each time.
        reset_at: the token before which the state is reset whenever it is read, the line end for a model that has
            learned lines by themselves; None for none.

    Raises:
        InputError: an empty prompt, or a length or temperature that is negative or no number.
    """
    if not prompt:
        raise InputError("prompt must hold at least one token, got none")
    if length < 0 or temperature < 0:
        raise InputError(f"length and temperature must not be negative, got {length} and {temperature}")
    if isnan(temperature):
        raise InputError(f"temperature must be a number, got {temperature}")
    if reset_at in prompt:  # what is before the last of these has no bearing on what follows
        prompt = prompt[len(prompt) - 1 - prompt[::-1].index(reset_at) :]
    return _draw(model, prompt, length, temperature, seed, reset_at)


def _draw(
    model: LanguageModel, prompt: list[int], length: int, temperature: float, seed: int | None, reset_at: int | None
) -> Iterator[int]:
    device = tensor_of(model).device
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    state = model.initial_state(1)
    tokens = torch.tensor(prompt, device=device).unsqueeze(1)
    for _ in range(length):
        # Between two tokens the model is the caller's, and stays as it is if no more are asked for.
        with torch.no_grad(), evaluating(model):
            outputs, state = model(tokens, state)
            logits = model.logits(outputs[-1, 0]).double()
        if temperature == 0:
            tokens = logits.argmax().view(1, 1)
        else:
            # From the largest on: so no temperature is so low that a quotient overflows.
            chances = torch.softmax((logits - logits.max()) / temperature, dim=-1)
            tokens = torch.multinomial(chances, 1, generator=generator).unsqueeze(0)
        if int(tokens) == reset_at:
            state = model.initial_state(1)
        yield int(tokens)
