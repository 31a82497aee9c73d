"""A model's score on a split of a run's corpus."""

import torch

from sgrnn.data import TokenFiles
from sgrnn.evaluation import Score, evaluate
from sgrnn.language_model import LanguageModel
from sgrnn.training.distributed import ALONE, Ranks


def score_split(
    model: LanguageModel, files: TokenFiles, split: str, batch_size: int = 20, ranks: Ranks = ALONE
) -> Score:
    """Evaluate a model on a split of the corpus."""
    file = files[split]
    tokens = torch.from_numpy(file.array.astype("int64"))
    nats = evaluate(
        model, tokens, files.eos_id, batch_size=batch_size, part=ranks.index, parts=ranks.size, total=ranks.total
    )
    return Score(nats, file.tokens, file.words, file.characters)


def score_figures(score: Score) -> dict[str, float]:
    """A score as figures by name."""
    return {
        "loss": score.loss,
        "perplexity": score.perplexity,
        "word_perplexity": score.word_perplexity,
        "bits_per_character": score.bits_per_character,
    }
