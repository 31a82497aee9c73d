"""Rules between the sections of a recipe for a text, and those that only such a recipe may have."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sgrnn.config.data import DataConfig
from sgrnn.data.kinds import SUBWORD_KINDS

if TYPE_CHECKING:
    from sgrnn.config.recipe import Recipe


_OF_TEXTS = (
    "dropout", "embedding_dropout", "output_dropout", "locked_dropout", "word_dropout", "activation_regularization",
    "temporal_activation_regularization",
)  # fmt: skip


def text_contradictions(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each rule that is broken, beginning with the dotted field to blame."""
    if recipe.task is not None:
        yield from _only_for_texts(recipe)
    if recipe.data is None:
        return
    if recipe.data.tokenizer is None and recipe.model.start_from is None:
        yield "data.tokenizer is null, which stands for that of model.start_from: name that run, or a tokenizer"
    if recipe.model.adaptive_softmax is not None:
        yield from _clusters_fit(recipe, recipe.data)
    yield from _span_can_vary(recipe)


def unused_fractions(data: DataConfig) -> Iterator[str]:
    """Yield a message for each share of a train text although none is cut off by it."""
    for name, files in (("valid_fraction", ("valid",)), ("test_fraction", ("valid", "test"))):
        if getattr(data, name) in (DataConfig.model_fields[name].default, 0):
            continue
        if data.corpus != "text":
            yield f"data.{name} is for corpus text, not {data.corpus}: remove it"
        elif given := [file for file in files if getattr(data, file) is not None]:
            yield f"data.{name} is a share of data.train, which is not cut where data.{given[0]} is a file: remove one"


def _only_for_texts(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each field that is set although a task has no use for it."""
    model, training, sample = recipe.model, recipe.training, recipe.sample
    for field, is_set in (
        ("model.start_from", model.start_from is not None),
        ("model.embedding_size", model.embedding_size is not None),
        ("model.tied", model.tied),
        ("model.adaptive_softmax", model.adaptive_softmax is not None),
        *((f"model.{name}", bool(getattr(model, name))) for name in _OF_TEXTS),
        ("gradient.ahead", getattr(recipe.gradient, "ahead", None) == "targets"),
        ("training.output_precision", training.output_precision != "float32"),
        ("training.varying_span", training.varying_span is not None),
        ("sample", sample != type(sample)()),
    ):
        if is_set:
            yield f"{field} is for a text, and says nothing of a task: remove it"


def _clusters_fit(recipe: "Recipe", data: DataConfig) -> Iterator[str]:
    """Yield a message for each field that does not fit an adaptive softmax."""
    if data.tokenizer is not None and data.tokenizer.kind in SUBWORD_KINDS:
        yield (
            "data.tokenizer.kind must be word or character with model.adaptive_softmax, whose clusters are of tokens "
            f"ordered by frequency, got {data.tokenizer.kind}"
        )
    if data.tokenizer is not None and recipe.model.start_from is not None:
        yield (
            "data.tokenizer must be null with model.adaptive_softmax and model.start_from: a token's weights are those "
            "of its place in the vocabulary"
        )
    if getattr(recipe.gradient, "ahead", None) == "targets":
        yield (
            "gradient.ahead must be model or null with model.adaptive_softmax, whose targets alone tell no part of "
            "the gradient, got targets"
        )
    if recipe.training.output_precision != "float32":
        yield (
            "training.output_precision must be float32 with model.adaptive_softmax, got "
            f"{recipe.training.output_precision}"
        )


def _span_can_vary(recipe: "Recipe") -> Iterator[str]:
    """Yield a message for each field that does not fit spans of varying length."""
    varying = recipe.training.varying_span
    if varying is None or recipe.span is None:
        return
    from sgrnn.data.varying_spans import WIDEST  # numpy with it, which most recipes are read without

    if varying.least > recipe.span:
        yield f"training.varying_span.least must be at most training.span, {recipe.span}, got {varying.least}"
    if varying.deviation > WIDEST * recipe.span:
        yield (
            f"training.varying_span.deviation must be at most {WIDEST} times training.span, {recipe.span}, got "
            f"{varying.deviation:g}"
        )
    for name in ("every", "delay"):
        if getattr(recipe.gradient, name, None) is not None:
            yield f"training.varying_span must be null with gradient.{name}, which wants spans of one length"
