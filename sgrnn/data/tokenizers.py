"""Tokenizers by name: trained on a text, or loaded from where one was saved."""

import json
from pathlib import Path
from typing import Any

from sgrnn.data.encodings import require_characters
from sgrnn.data.kinds import SUBWORD_KINDS, TOKENIZER_KINDS, require_fitting_options
from sgrnn.data.spelling import Spelling
from sgrnn.data.subwords import MODEL_FILE, SentencePieceTokenizer
from sgrnn.data.tokenizer import TOKENIZER_FILE, Tokenizer
from sgrnn.data.vocabularies import CharacterTokenizer, WordTokenizer
from sgrnn.errors import InputError


def train_tokenizer(
    kind: str, text: str, *, vocabulary_size: int | None = None, min_count: int = 1, word_separator: str = " "
) -> Tokenizer:
    """Make the tokenizer of one kind for a text, whose spelling it keeps.

    Args:
        kind: one of `TOKENIZER_KINDS`.
        text: the train text; no other split may be shown to it.
        vocabulary_size: word: the most words, None for all; bpe and unigram: number of pieces.
        min_count: word and character: rarer entries become `<unk>`.
        word_separator: what stands between words besides blanks, where words are counted.

    Raises:
        InputError: unknown kind, an argument that does not fit it, or a text that is no Unicode text.

    >>> train_tokenizer("word", "to be or not to be\\n").vocabulary_size
    6
    """
    require_fitting_options(kind, vocabulary_size=vocabulary_size, min_count=min_count)
    require_characters(text, "the train text")
    if kind == "word":
        tokenizer = WordTokenizer.from_text(text, min_count=min_count, max_size=vocabulary_size)
    elif kind == "character":
        tokenizer = CharacterTokenizer.from_text(text, min_count=min_count)
    else:
        assert vocabulary_size is not None, "checked above"
        tokenizer = SentencePieceTokenizer.from_text(
            text, vocabulary_size=vocabulary_size, kind="bpe" if kind == "bpe" else "unigram"
        )
    tokenizer.spelling = Spelling.of(tokenizer, text, word_separator)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load the tokenizer that `Tokenizer.save` wrote to a folder.

    Raises:
        InputError: the files are missing or damaged.
    """
    path = folder / TOKENIZER_FILE
    form = _read_form(path)
    kind = form.get("kind")
    if kind in SUBWORD_KINDS:
        model = folder / MODEL_FILE
        if not model.is_file():
            raise InputError(f"{model} does not exist; restore it beside {TOKENIZER_FILE}")
        tokenizer = SentencePieceTokenizer(model.read_bytes(), "bpe" if kind == "bpe" else "unigram")
    elif kind in ("word", "character"):
        tokens = form.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise InputError(f"{path}: tokens must be a list of strings; restore the file")
        try:
            tokenizer = WordTokenizer(tokens) if kind == "word" else CharacterTokenizer(tokens)
        except InputError as error:
            raise InputError(f"{path} is damaged: {error}") from error
    else:
        raise InputError(f"{path}: kind must be one of {', '.join(TOKENIZER_KINDS)}, got {kind!r}; restore the file")
    if form.get("digest") != tokenizer.digest:
        raise InputError(
            f"{path} is damaged: expected a vocabulary of digest {form.get('digest')}, got "
            f"{tokenizer.digest}; restore the folder from a copy"
        )
    if "spelling" in form:
        try:
            tokenizer.spelling = Spelling.from_form(form["spelling"])
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is damaged: {error}; restore the folder from a copy") from None
    return tokenizer


def _read_form(path: Path) -> dict[str, Any]:
    try:
        form = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not exist; expected the folder of a saved tokenizer: restore it from a copy"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}; restore the file") from error
    if not isinstance(form, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(form).__name__}; restore the file")
    return form
