"""A text as what a run learns."""

from collections.abc import Mapping
from typing import Any, final

from sgrnn.config.build.model import build_model
from sgrnn.config.build.problem import build_stream
from sgrnn.config.recipe import Recipe
from sgrnn.data import TokenFiles, TokenStream
from sgrnn.models.evaluation import Score
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.span import Span
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.problems.problem import Problem
from sgrnn.training.problems.scoring import score_metrics, score_split


@final
class TextProblem(Problem):
    """Predict each token of a text from those before it.

    Args:
        recipe: with the section `data`.
        files: its corpus, encoded.

    Raises:
        InputError: the text is too short for one span per row.
    """

    kind = "text"

    def __init__(self, recipe: Recipe, files: TokenFiles) -> None:
        assert recipe.data is not None, "a recipe for a text"
        self.files, self._recipe = files, recipe
        self._stream: TokenStream = build_stream(recipe, files)
        self.identity = files.folder.name
        self.name = recipe.data.corpus
        self.description = f"{self.name}, {files['train'].tokens:,} tokens, vocabulary {files.vocabulary_size:,}"
        self.updates_per_epoch = self._stream.spans_per_epoch
        self.texts = {split: file.digest for split, file in files.splits.items()}

    def build_model(self) -> LanguageModel:
        """See `Problem.build_model`."""
        return build_model(self._recipe, self.files.vocabulary_size)

    def start(self, lookahead: int) -> None:
        """See `Problem.start`."""
        self._stream = build_stream(self._recipe, self.files, lookahead)

    def draw(self) -> Span:
        """See `Problem.draw`."""
        return next(self._stream)

    def score(self, model: SequenceModel, split: str, ranks: Ranks = ALONE) -> dict[str, float]:
        """Loss and perplexity, every token counted once; see `Problem.score`."""
        return score_metrics(self.exact_score(model, split, ranks=ranks))

    def exact_score(self, model: SequenceModel, split: str, batch_size: int = 20, ranks: Ranks = ALONE) -> Score:
        """The score as counts and nats; it does not depend on the batch size, the rows side by side.

        Raises:
            InputError: the corpus has no such split.
        """
        assert isinstance(model, LanguageModel), "as build_model makes it"
        return score_split(model, self.files, split, batch_size, ranks)

    def state_dict(self) -> dict[str, Any]:
        """See `Problem.state_dict`."""
        return {"position": self._stream.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Problem.load_state_dict`."""
        self._stream.position = state["position"]
