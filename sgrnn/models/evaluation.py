"""Exact evaluation of a language model: every token of a text counted once, the state carried from first to last."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import Any

import torch
from torch import Tensor

from sgrnn.all_reduce import AllReduce, gather_rows
from sgrnn.contract.caller import Caller
from sgrnn.contract.modules import evaluating, tensor_of
from sgrnn.errors import at_least
from sgrnn.estimators.unroll import run
from sgrnn.models.language_model import LanguageModel
from sgrnn.state import State, concatenate, leaves, map_state, rows


@dataclass(frozen=True)
class Score:
    """Score of a model on a text, in units that do and do not depend on the tokenizer.

    Args:
        nats: negative log-probability of all tokens.
        tokens: tokens predicted.
        words: words of the original text, counting one end of line each; None for a text that is not written in words.
        characters: characters of the original text, line ends included.
        bytes: the same in UTF-8; None for as many as characters.
        unknown: tokens that are `<unk>` in the place of something that the vocabulary lacks.
        unknown_nats: negative log-probability of what these stand for, given that they are `<unk>`
            (`sgrnn.data.spelling`). It counts in all metrics of the original text, or the smallest vocabulary would
            have the best.
        unknown_written: tokens that are `<unk>` written in the text itself.
    """

    nats: float
    tokens: int
    words: int | None
    characters: int
    bytes: int | None = None
    unknown: int = 0
    unknown_nats: float = 0.0
    unknown_written: int = 0

    @property
    def loss(self) -> float:
        """Loss in nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Perplexity per token, comparable only between models of one tokenizer."""
        return perplexity(self.loss)

    @property
    def unknown_share(self) -> float:
        """Share of the tokens that are `<unk>` for something that the vocabulary lacks."""
        return self.unknown / self.tokens

    @property
    def text_nats(self) -> float:
        """Negative log-probability of the original text: of all tokens, and of what every `<unk>` stands for."""
        return self.nats + self.unknown_nats

    @property
    def word_perplexity(self) -> float | None:
        """Perplexity per word of the original text, whatever the tokens were; None where it has no words."""
        return None if self.words is None else perplexity(self.text_nats / self.words)

    @property
    def bits_per_character(self) -> float:
        """Bits per character of the original text, whatever the tokens were."""
        return self.text_nats / log(2) / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the original text in UTF-8, whatever the tokens were."""
        return self.text_nats / log(2) / (self.characters if self.bytes is None else self.bytes)

    def metrics(self) -> dict[str, float]:
        """Return all that is per something by name; `word_perplexity` only of a text that has words."""
        metrics = {
            "loss": self.loss,
            "perplexity": self.perplexity,
            "word_perplexity": self.word_perplexity,
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
            "unknown_share": self.unknown_share,
        }
        return {name: value for name, value in metrics.items() if value is not None}


def evaluate(
    model: LanguageModel,
    tokens: Tensor,
    first: int,
    *,
    begins: Tensor | None = None,
    batch_size: int = 20,
    chunk: int = 50,
    rank: int = 0,
    world_size: int = 1,
    all_reduce: AllReduce | None = None,
) -> float:
    """Return the negative log-probability of a text, in nats, each token given all that came before it.

    Args:
        model: in any mode; it is evaluated without dropout, and every module of it left in the mode it was in.
        tokens: (N,) the text.
        first: the token read before the text begins, from which tokens[0] is predicted: the end of a line.
        begins: (N,) bool, the tokens before which the state is reset; None for one sequence from first to last.
        batch_size: rows run side by side, by each process; the result does not depend on it but for rounding.
        chunk: steps run at once; bounds the memory.
        rank: the number of this process, from 0, where several share the text.
        world_size: number of processes; all of them call this at once, and get the same result.
        all_reduce: sums over them (`sgrnn.all_reduce`).

    Raises:
        ValueError: no tokens, a batch_size or chunk below 1, or other numbers of tokens and of `begins`.
    """
    nats = token_nats(
        model, tokens, first, begins=begins, batch_size=batch_size, chunk=chunk,
        rank=rank, world_size=world_size, all_reduce=all_reduce,
    )  # fmt: skip
    return float(nats.sum())


def token_nats(model: LanguageModel, tokens: Tensor, first: int, **options: Any) -> Tensor:
    """Return the negative log-probability of each token of a text, (N,) float64, given all that came before it.

    Args:
        model, tokens, first, options: as in `over_tokens`.
    """
    return over_tokens(
        model, tokens, first, lambda outputs, targets: model.loss(outputs, targets).double(), **options
    )  # fmt: skip


@torch.no_grad()
def over_tokens(
    model: LanguageModel,
    tokens: Tensor,
    first: int,
    measure: Callable[[Tensor, Tensor], Any],
    *,
    begins: Tensor | None = None,
    batch_size: int = 20,
    chunk: int = 50,
    rank: int = 0,
    world_size: int = 1,
    all_reduce: AllReduce | None = None,
) -> Any:
    """Return what is measured of a model's outputs at each token of a text, given all that came before it.

    The text is cut into rows that run side by side, each beginning in the state in which the row before it ended.
    That state is computed by running all rows again until their ends no longer change: a recurrent network forgets
    its beginning, so that two passes nearly always do, and after `batch_size` passes it is exact whatever the
    network does. The result therefore does not depend on `batch_size` but for rounding.

    Args:
        model, tokens, first, begins, batch_size, chunk, rank, world_size, all_reduce: as in `evaluate`.
        measure: makes of outputs (time, batch, features) and targets (time, batch) a tensor (time, batch, ...), or
            a tuple of several.

    Returns:
        What `measure` gives, (N, ...).

    Raises:
        ValueError: as `evaluate`.
    """
    for name, value in (("tokens", len(tokens)), ("batch_size", batch_size), ("chunk", chunk)):
        at_least(name, value, 1)
    if begins is not None and begins.shape != tokens.shape:
        raise ValueError(f"begins must have {len(tokens)} entries like tokens, got {tuple(begins.shape)}")
    if all_reduce is None or len(tokens) < world_size * batch_size:  # too short to share: everyone reads all of it
        rank, world_size, all_reduce = 0, 1, None
    device = tensor_of(model).device
    tokens = tokens.to(device)
    # A hierarchy's phase is the same at both ends of a row of whole cycles, so that two passes do for it as well.
    cycle = getattr(model.core, "cycle", 1)
    all_rows = min(world_size * batch_size, len(tokens))
    first_row, last_row = rank * all_rows // world_size, (rank + 1) * all_rows // world_size
    length = -(-len(tokens) // (all_rows * cycle)) * cycle
    padding = tokens.new_zeros(all_rows * length - len(tokens))

    def own(steps: Tensor) -> Tensor:
        """Return the rows of this process, (time, batch)."""
        return steps.view(all_rows, length)[first_row:last_row].t()

    inputs = own(torch.cat([tokens.new_tensor([first]), tokens[:-1], padding]))
    targets = own(torch.cat([tokens, padding]))
    is_first = None if begins is None else own(torch.cat([begins.to(device), padding.bool()]))
    caller = Caller(model)

    def advance(start: int, state: State) -> tuple[Tensor, State]:
        """Return the outputs of a chunk of steps, and the state after them."""
        steps = slice(start, start + chunk)
        return run(caller, inputs[steps], state, None if is_first is None else is_first[steps])

    def handed_on(ends: State) -> State:
        """Return the states in which rows begin: those in which the rows before ended, the first the initial state."""
        return concatenate([model.initial_state(1), rows(gather_rows(ends, rank, world_size, all_reduce), 0, -1)])

    def in_order(*parts: Tensor) -> Tensor:
        """Return what was measured chunk by chunk, (time, batch, ...) each, of all tokens, (N, ...)."""
        own_rows = torch.cat(parts).transpose(0, 1)
        every = gather_rows(own_rows.flatten(1), rank, world_size, all_reduce)
        return every.reshape(-1, *own_rows.shape[2:])[: len(tokens)]

    with evaluating(model):
        beginnings = model.initial_state(all_rows)
        if all_rows > 1:
            state = model.initial_state(last_row - first_row)
            for start in range(0, length, chunk):
                _, state = advance(start, state)
            beginnings = handed_on(state)
        measured: list[Any] = []
        for _ in range(all_rows):
            measured, state = [], map_state(Tensor.contiguous, rows(beginnings, first_row, last_row))
            for start in range(0, length, chunk):
                outputs, state = advance(start, state)
                measured.append(measure(outputs, targets[start : start + chunk]))
            ends = handed_on(state)
            if _close(ends, beginnings):
                break
            beginnings = ends
        return map_state(in_order, *measured)


def _close(state: State, expected: State) -> bool:
    return all(_equal_but_for_rounding(a, b) for a, b in zip(leaves(state), leaves(expected), strict=True))


def _equal_but_for_rounding(found: Tensor, expected: Tensor) -> bool:
    if not found.is_floating_point():
        return torch.equal(found, expected)
    eps = torch.finfo(found.dtype).eps
    tolerance = max(eps, min(1e-4, 1000 * eps))  # a wide core that was trained for long makes 400 eps of rounding
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance / 10)


def perplexity(loss: float) -> float:
    """Return the perplexity of a loss in nats, infinite where no float can hold it."""
    return exp(loss) if loss < 700 else float("inf")
