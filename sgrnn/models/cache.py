"""The neural cache: a memory of the last steps that makes a text's own words likelier.

Grave, Joulin and Usunier (2017), "Improving neural language models with a continuous cache". Beside each of the last
`size` outputs h_i stands the token y_i that followed it. A token is as likely as the outputs that it followed are like
the present one, and a share λ of the probability is given by that (`NeuralCache` has the equation).
"""

from dataclasses import dataclass
from math import inf, log, log1p
from typing import final

import torch
from torch import Tensor

from sgrnn.errors import InputError, at_least

_BLOCK = 256  # steps whose likeness to the memory is computed at once


@final
@dataclass(frozen=True)
class NeuralCache:
    """Settings of a neural cache (Grave et al. 2017); the defaults are those published for AWD-LSTM on Penn Treebank.

        p(w) = (1 - λ) p_model(w) + λ p_cache(w),   p_cache(w) ∝ Σ_i exp(θ h_t · h_i) [y_i = w]

    with h_t the present outputs, h_i those of the last `size` steps, and y_i the token that followed h_i.

    Args:
        weight: λ, the part of the probability that is the cache's; 0 for none.
        flatness: θ, how sharply likeness tells; the smaller, the flatter, and at 0 all in the cache counts alike.
        size: steps that are remembered.

    Raises:
        InputError: a setting is out of range.
    """

    weight: float = 0.1
    flatness: float = 1.0
    size: int = 500

    def __post_init__(self) -> None:
        at_least("size", self.size, 1, "step", kind=InputError)
        if not 0 <= self.weight < 1:
            raise InputError(f"weight must be at least 0 and below 1, got {self.weight}")
        if not 0 <= self.flatness < inf:
            raise InputError(f"flatness must be at least 0, got {self.flatness}")


@torch.no_grad()
def cache_log_chances(
    outputs: Tensor, tokens: Tensor, flatness: float, size: int, begins: Tensor | None = None
) -> Tensor:
    """Return the log-probability of each token of a text by the cache alone.

    Args:
        outputs: (N, features), of which each predicts the token of its number.
        tokens: (N,) the text.
        flatness, size: as in `NeuralCache`.
        begins: (N,) bool, the tokens that begin a sequence of their own, before which the cache is emptied; None for
            one sequence from first to last.

    Returns:
        (N,) float64: -inf for a token that is not in the cache, NaN where there is nothing in it.
    """
    tokens = tokens.to(outputs.device)
    sequence = torch.zeros_like(tokens) if begins is None else begins.to(outputs.device).cumsum(0)
    at = torch.arange(len(tokens), device=outputs.device)
    chances = []
    for start in range(0, len(tokens), _BLOCK):
        now, memory = slice(start, start + _BLOCK), slice(max(0, start - size), start + _BLOCK)
        likeness = flatness * (outputs[now] @ outputs[memory].t()).double()
        age = at[now].unsqueeze(1) - at[memory]
        there = (age > 0) & (age <= size) & (sequence[now].unsqueeze(1) == sequence[memory])
        same = there & (tokens[now].unsqueeze(1) == tokens[memory])
        whole, own = (likeness.masked_fill(~kept, -torch.inf).logsumexp(1) for kept in (there, same))
        chances.append(own - whole)
    return torch.cat(chances)


def mixed_nats(nats: Tensor, chances: Tensor, weight: float) -> Tensor:
    """Return the negative log-probabilities of a model and a cache together.

    Args:
        nats: (N,) float64, of each token by the model.
        chances: (N,), as `cache_log_chances` gives them. Where the cache is empty, the model's word is all there is.
        weight: as in `NeuralCache`.
    """
    if weight == 0:
        return nats
    return torch.where(chances.isnan(), nats, -torch.logaddexp(log1p(-weight) - nats, log(weight) + chances))
