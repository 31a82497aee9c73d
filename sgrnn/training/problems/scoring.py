"""A model's score on a split of a run's corpus."""

from collections.abc import Iterator
from math import log

import torch

from sgrnn.data import TokenFiles
from sgrnn.data.spelling import Unknown
from sgrnn.models.evaluation import Score, evaluate
from sgrnn.models.language_model import LanguageModel
from sgrnn.training.distributed import ALONE, Ranks


def score_split(
    model: LanguageModel, files: TokenFiles, split: str, batch_size: int = 20, ranks: Ranks = ALONE
) -> Score:
    """Evaluate a model on a split of the corpus."""
    file = files[split]
    tokens = torch.from_numpy(file.array.astype("int64"))
    nats = evaluate(
        model,
        tokens,
        files.eos_id,
        batch_size=batch_size,
        rank=ranks.index,
        world_size=ranks.size,
        all_reduce=ranks.all_reduce,
    )
    words = file.words if file.has_words else None
    unknown = file.unknown
    return Score(nats, file.tokens, words, file.characters, file.bytes, unknown.replaced, unknown.nats)


def score_metrics(score: Score) -> dict[str, float]:
    """A score as figures by name; perplexity per word is left out where the text has no words."""
    metrics = {
        "loss": score.loss,
        "perplexity": score.perplexity,
        "word_perplexity": score.word_perplexity,
        "bits_per_character": score.bits_per_character,
        "bits_per_byte": score.bits_per_byte,
        "unknown_share": score.unknown_share,
    }
    return {name: value for name, value in metrics.items() if value is not None}


def score_lines(score: Score, text: str, unknown: Unknown) -> Iterator[str]:
    """A score in words.

    Args:
        score: the score.
        text: what was evaluated.
        unknown: its `<unk>`.
    """
    words = "" if score.words is None else f"{score.words:,} words, "
    yield f"{text}: {score.tokens:,} tokens, {words}{score.characters:,} characters, {score.bytes:,} bytes"
    yield f"{score.loss:.4f} nats per token, perplexity {score.perplexity:.2f} per token"
    if unknown.written:
        yield f"<unk> is a word of the text itself: {unknown.written / score.tokens:.2%} of the tokens"
    if unknown.nats:
        bits = unknown.nats / log(2) / score.characters
        yield f"{bits:.4f} of the bits per character spell what <unk> stands for"
    per_word = "" if score.word_perplexity is None else f"{score.word_perplexity:.2f} per word, "
    yield (
        f"{per_word}{score.bits_per_character:.4f} bits per character, {score.bits_per_byte:.4f} bits per byte, "
        f"<unk> {score.unknown_share:.2%} of the tokens"
    )
