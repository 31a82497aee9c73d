"""A text as a problem: its stream of spans, its model, and its exact score."""

from collections.abc import Mapping
from typing import Any, final

from sgrnn.config.build.model import build_model, require_cutoffs, reset_at
from sgrnn.config.build.problem import build_stream
from sgrnn.config.recipe import Recipe
from sgrnn.data import TokenFiles
from sgrnn.models.cache import NeuralCache
from sgrnn.models.dynamic import DynamicEvaluation
from sgrnn.models.evaluation import Score, token_nats
from sgrnn.models.language_model import LanguageModel
from sgrnn.models.sequence_model import SequenceModel
from sgrnn.span import Span
from sgrnn.training.distributed import ALONE, Ranks
from sgrnn.training.problems.problem import Problem
from sgrnn.training.scoring import as_tensors, score_tokens


@final
class TextProblem(Problem):
    """Predict each token of a text from those before it.

    Args:
        recipe: with the section `data`.
        files: its corpus, encoded.

    Raises:
        InputError: the text is too short for one span per row, or its vocabulary too small for the model.
    """

    kind = "text"

    def __init__(self, recipe: Recipe, files: TokenFiles) -> None:
        assert recipe.data is not None, "a recipe for a text"
        require_cutoffs(recipe, files.vocabulary_size)
        self.files, self._recipe = files, recipe
        self._stream = build_stream(recipe, files)
        self.identity = files.folder.name
        self.name = recipe.data.corpus
        self.description = f"{self.name}, {files['train'].tokens:,} tokens, vocabulary {files.vocabulary_size:,}"
        self.updates_per_epoch = self._stream.spans_per_epoch
        self.texts = {split: file.digest for split, file in files.splits.items()}
        train = files["train"]
        words = "" if train.counts.words is None else f", {train.counts.words:,} words and line ends"
        self.sizes = (
            f"{self.name}: {train.tokens:,} tokens{words}, {train.counts.characters:,} characters to train on, "
            f"vocabulary {files.vocabulary_size:,}"
        )

    def build_model(self) -> LanguageModel:
        """Build the language model; see `Problem.build_model`."""
        model = build_model(self._recipe, self.files.vocabulary_size)
        model.reset_at = reset_at(self._recipe, self.files.eos_id)
        return model

    def start(self, lookahead: int) -> None:
        """Go back to the beginning of the text; see `Problem.start`."""
        self._stream.lookahead, self._stream.position = lookahead, 0

    def draw(self) -> Span:
        """Return the next span of the stream; see `Problem.draw`."""
        return next(self._stream)

    def score(self, model: SequenceModel, split: str, ranks: Ranks = ALONE) -> dict[str, float]:
        """Return loss and perplexity, every token counted once; see `Problem.score`.

        Perplexity per word is left out where the text has no words.
        """
        return self.exact_score(model, split, ranks).metrics()

    def exact_score(
        self,
        model: SequenceModel,
        split: str,
        ranks: Ranks = ALONE,
        *,
        dynamic: DynamicEvaluation | None = None,
        cache: NeuralCache | None = None,
    ) -> Score:
        """Return the score of a split as counts and nats.

        Args:
            model, split, ranks: as in `Problem.score`.
            dynamic, cache: as in `sgrnn.score`.

        Raises:
            InputError: the corpus has no such split.
        """
        assert isinstance(model, LanguageModel), "as build_model makes it"
        file = self.files[split]
        return score_tokens(
            model, file.array, self.files.eos_id, file.counts, ranks, begins=file.begins, dynamic=dynamic, cache=cache
        )[0]

    def train_part_loss(self, model: LanguageModel) -> float:
        """Return the loss per token on the end of the train text, as many tokens as the validation text has.

        The state is that before the first of them as if the text began there, but for the token that is read.
        """
        train, start = self.files["train"], max(0, self.files["train"].tokens - self.files["valid"].tokens)
        tokens, begins = as_tensors(train.array[start:], None if train.begins is None else train.begins[start:])
        first = int(train.array[start - 1]) if start else self.files.eos_id
        return float(token_nats(model, tokens, first, begins=begins).mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the stream; see `Problem.state_dict`."""
        return {"position": self._stream.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the position in the stream; see `Problem.load_state_dict`."""
        self._stream.position = state["position"]
