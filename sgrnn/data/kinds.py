"""Kinds of tokenizers, and which options each of them takes: for the library and for recipes alike."""

from typing import Literal, get_args

from sgrnn.errors import InputError

SubwordKind = Literal["bpe", "unigram"]
TokenizerKind = Literal["word", "character", SubwordKind]

SUBWORD_KINDS: tuple[SubwordKind, ...] = get_args(SubwordKind)
TOKENIZER_KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)
"""The names `train_tokenizer` knows."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "word": ("vocabulary_size", "min_count"),
    "character": ("min_count",),
    **dict.fromkeys(SUBWORD_KINDS, ("vocabulary_size",)),
}
"""The options that each of them takes."""


def require_fitting_options(kind: str, *, vocabulary_size: int | None, min_count: int) -> None:
    """Raise an error for an unknown kind of tokenizer, or for options that the kind does not take.

    Raises:
        InputError: an unknown kind, an option that is missing or one that is not for this kind.
    """
    if kind not in TOKENIZER_KINDS:
        raise InputError(f"there is no tokenizer named {kind!r}; expected one of {', '.join(TOKENIZER_KINDS)}")
    if kind in SUBWORD_KINDS and vocabulary_size is None:
        raise InputError(f"{kind} needs vocabulary_size, the number of pieces, got none; try 8000")
    if kind in SUBWORD_KINDS and min_count != 1:
        raise InputError(f"min_count is for word and character, not {kind}, got {min_count}; remove it")
    if kind == "word" and vocabulary_size is not None and vocabulary_size < 3:
        raise InputError(f"vocabulary_size must be at least 3, a word besides <eos> and <unk>, got {vocabulary_size}")
    if kind == "character" and vocabulary_size is not None:
        raise InputError(
            f"vocabulary_size is not for character, got {vocabulary_size}; remove it, or drop rare characters with "
            "min_count"
        )
