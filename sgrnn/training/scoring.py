"""The score of a text, as a whole and line by line, by a model and its tokenizer alone."""

from collections.abc import Callable
from math import isfinite
from os.path import isfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sgrnn.data import Tokenizer
from sgrnn.data.beginnings import line_beginnings
from sgrnn.data.spelling import TextCounts
from sgrnn.data.text_files import read_text
from sgrnn.data.tokenizer import Tokens
from sgrnn.errors import InputError
from sgrnn.models.cache import NeuralCache, cache_log_chances, mixed_nats
from sgrnn.models.dynamic import DynamicEvaluation, dynamic_nats
from sgrnn.models.evaluation import Score, over_tokens, perplexity, token_nats
from sgrnn.models.language_model import LanguageModel
from sgrnn.training.distributed import ALONE, Ranks

Beginnings = Callable[[Tokens, str], NDArray[np.bool_]]

_ROWS = 20  # side by side; the score does not depend on it


class LineScore(NamedTuple):
    """Score of one line of a text, given all lines before it.

    Args:
        tokens: of the line, its end included.
        nats: negative log-probability of these, without what an `<unk>` among them stands for.
        text: of the line, without its end.
    """

    tokens: int
    nats: float
    text: str

    @property
    def perplexity(self) -> float:
        """Perplexity per token; 1 for a line of none, blanks without an end."""
        return perplexity(self.nats / max(self.tokens, 1))


def score(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: str | Path,
    *,
    dynamic: DynamicEvaluation | None = None,
    cache: NeuralCache | None = None,
) -> Score:
    """Return the score of a text: what `sgrnn evaluate` shows, for any text and without a corpus.

    With `dynamic` or `cache` the model adapts to the text while it is read. Each token is scored before anything is
    learned from it, so that this is a score like any other, of a better model.

    Args:
        model: as `sgrnn.load` returns it, or trained by yourself; evaluated without dropout, and left in its mode.
        tokenizer: with the spelling of its train text, as `sgrnn.load` and `sgrnn.data.train_tokenizer` return it.
        text: a text as it stands, or the path of a file in UTF-8, whose last line is ended where it is not.
        dynamic: settings of dynamic evaluation, by a copy of the model; None for fixed weights.
        cache: settings of a neural cache; None for none. With both, it remembers the outputs of the copy that learns.

    Raises:
        InputError: no text, a file that is none, a text that the tokenizer cannot encode, a tokenizer that does not
            know its train text or is not the model's, or dynamic evaluation that diverges.
    """
    return _scored(model, tokenizer, text, "the text", dynamic, cache)[0]


def score_lines(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: str | Path,
    *,
    source: str = "the text",
    beginnings: Beginnings | None = None,
    dynamic: DynamicEvaluation | None = None,
    cache: NeuralCache | None = None,
) -> tuple[Score, list[LineScore]]:
    """Return the score of a text and that of each of its lines, which add up to it.

    Args:
        model, tokenizer, text, dynamic, cache: as in `score`.
        source: what messages call the text.
        beginnings: gives of tokens and text the tokens before which the state is reset, (N,) bool; None for lines,
            where the model was trained line by line.

    Raises:
        InputError: as `score`.
    """
    whole, nats, tokens, read = _scored(model, tokenizer, text, source, dynamic, cache, beginnings)
    lines = read.removesuffix("\n").split("\n")
    ends = np.flatnonzero(tokens == tokenizer.eos_id) + 1
    if len(ends) < len(lines):  # the last line has no end
        ends = np.append(ends, len(tokens))
    sums = [float(line.sum()) for line in nats.cpu().tensor_split(torch.from_numpy(ends[:-1]))]
    counts = np.diff(ends, prepend=0).tolist()
    return whole, [LineScore(*line) for line in zip(counts, sums, lines, strict=True)]


def score_tokens(
    model: LanguageModel,
    tokens: NDArray[np.integer],
    eos_id: int,
    counts: TextCounts,
    ranks: Ranks = ALONE,
    *,
    begins: NDArray[np.bool_] | None = None,
    dynamic: DynamicEvaluation | None = None,
    cache: NeuralCache | None = None,
) -> tuple[Score, Tensor]:
    """Return the score of an encoded text, and the nats of each token.

    Args:
        model: the model.
        tokens: (N,) of the text.
        eos_id: token of a line end, which is read first.
        counts: sizes of the text.
        ranks: the processes that share the work; all of them get the same score. Adaptation is not shared.
        begins: (N,) bool, the tokens before which the state is reset; None for none but the first.
        dynamic, cache: as in `score`.

    Raises:
        InputError: dynamic evaluation diverges.
    """
    text, marks = as_tensors(tokens, begins)
    if dynamic is None and cache is None:
        nats = token_nats(
            model, text, eos_id, begins=marks, batch_size=_ROWS,
            rank=ranks.rank, world_size=ranks.world_size, all_reduce=ranks.all_reduce,
        )  # fmt: skip
    else:
        nats, outputs = nats_and_outputs(model, text, eos_id, marks, dynamic)
        if cache is not None:
            nats = mixed_nats(nats, cache_log_chances(outputs, text, cache.flatness, cache.size, marks), cache.weight)
        if dynamic is not None and not isfinite(perplexity(float(nats.mean()))):
            raise InputError(
                f"dynamic evaluation diverges by learning_rate {dynamic.learning_rate:g} and decay {dynamic.decay:g}: "
                "choose a smaller learning rate"
            )
    words, characters, size, unknown = counts
    whole = Score(
        float(nats.sum()), len(tokens), words, characters, size, unknown.replaced, unknown.nats, unknown.written
    )
    return whole, nats


def as_tensors(tokens: NDArray[np.integer], begins: NDArray[np.bool_] | None) -> tuple[Tensor, Tensor | None]:
    """Return an encoded text and the marks of its beginnings, or None, as a model reads them."""
    return torch.from_numpy(tokens.astype("int64")), None if begins is None else torch.from_numpy(begins)


def nats_and_outputs(
    model: LanguageModel, tokens: Tensor, eos_id: int, begins: Tensor | None, dynamic: DynamicEvaluation | None
) -> tuple[Tensor, Tensor]:
    """Return the negative log-probability of each token of a text, (N,), and the outputs that predicted it.

    Args:
        model, tokens, begins: as `over_tokens` takes them.
        eos_id: read first.
        dynamic: settings of dynamic evaluation; None for fixed weights.
    """
    if dynamic is not None:
        return dynamic_nats(model, tokens, eos_id, dynamic, begins=begins)
    return over_tokens(
        model, tokens, eos_id, lambda outputs, targets: (model.loss(outputs, targets).double(), outputs),
        begins=begins, batch_size=_ROWS,
    )  # fmt: skip


def _scored(
    model: LanguageModel,
    tokenizer: Tokenizer,
    text: str | Path,
    source: str,
    dynamic: DynamicEvaluation | None,
    cache: NeuralCache | None,
    beginnings: Beginnings | None = None,
) -> tuple[Score, Tensor, Tokens, str]:
    if not hasattr(model, "logits"):  # a wrapper such as a compiled model has what is in it
        raise InputError(f"a text is scored by a LanguageModel, got a {type(model).__name__}: a run on a task has none")
    if model.embedding.num_embeddings != tokenizer.vocabulary_size:
        raise InputError(
            f"the tokenizer must be the one that the model was trained with: expected a vocabulary of "
            f"{model.embedding.num_embeddings:,}, got {tokenizer.vocabulary_size:,}"
        )
    if isinstance(text, Path):
        text, source = read_text(text), str(text)
    elif not isinstance(text, str) or isfile(text):
        got = repr(text) if isinstance(text, str) else f"a {type(text).__name__}"
        raise InputError(
            f"text must be a text, its lines joined by line ends, or the pathlib.Path of a file, got {got}"
        )
    counts, tokens = tokenizer.counts(text), tokenizer.encode(text, source=source)
    if not len(tokens):
        raise InputError("the text to score must hold at least one token, got none")
    begins = None if model.reset_at is None else line_beginnings(tokens, model.reset_at)
    if beginnings is not None:
        begins = beginnings(tokens, text)
    whole, nats = score_tokens(
        model, tokens, tokenizer.eos_id, counts, begins=begins, dynamic=dynamic, cache=cache
    )  # fmt: skip
    return whole, nats, tokens, text
