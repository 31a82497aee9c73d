"""Tokenizers whose vocabulary is a list of words or of characters."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from sgrnn.data.atomic import json_digest
from sgrnn.data.tokenizer import EOS, UNKNOWN, Prompt, Tokenizer, Tokens
from sgrnn.errors import InputError, at_least


@final
class WordTokenizer(Tokenizer):
    """Tokenizer of words between blanks; `<eos>` ends each line, `<unk>` stands for every word that is not in the list.

    >>> tokenizer = WordTokenizer.from_text("the cat saw the dog\\n")
    >>> tokenizer.words
    ('<eos>', '<unk>', 'the', 'cat', 'dog', 'saw')
    >>> tokenizer.encode("the bird\\n").tolist()
    [2, 1, 0]
    >>> tokenizer.decode(tokenizer.encode("the dog\\n"))
    'the dog\\n'

    Args:
        words: the vocabulary, in the order of the ids; `<eos>` and `<unk>` among them.
    """

    kind = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = _numbered(self.words, "words")
        for special in (EOS, UNKNOWN):
            if special not in self._ids:
                raise InputError(f"words must hold {special}, got {len(self.words):,} without it; add it")
        # Blanks alone are let through: torchtext's vocabularies may hold them, whose ids stand.
        if (split := next((word for word in self.words if word.strip() and word.split() != [word]), None)) is not None:
            raise InputError(
                f"words must be words without blanks or line ends, as a text is split at these, got {split!r}: strip it"
            )
        self.vocabulary_size = len(self.words)
        self.eos_id = self._ids[EOS]
        self.digest = _list_digest(self.kind, self.words)

    @classmethod
    def from_text(cls, text: str, *, min_count: int = 1, max_size: int | None = None) -> "WordTokenizer":
        """Collect the vocabulary of a text, the frequent words first, equally frequent ones alphabetically.

        Args:
            text: the train text.
            min_count: words that occur less often become `<unk>`.
            max_size: largest vocabulary, `<eos>` and `<unk>` included; rarer words become `<unk>`.

        Raises:
            InputError: min_count below 1 or max_size below 3, or a text that holds the word `<eos>`.
        """
        at_least("min_count", min_count, 1, kind=InputError)
        if max_size is not None:
            at_least("max_size", max_size, 3, kind=InputError)
        _require_no_spelled_line_end(text, "the train text")
        counts = Counter(text.split())
        counts.pop(UNKNOWN, None)
        return cls([EOS, UNKNOWN, *_by_frequency(counts, min_count)][:max_size])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.words

    def encode(self, text: str, *, source: str = "the text") -> Tokens:
        _require_no_spelled_line_end(text, source)
        ids, unknown = self._ids, self._ids[UNKNOWN]
        words = text.replace("\n", f" {EOS} ").split()
        return np.fromiter((ids.get(word, unknown) for word in words), np.int32, len(words))

    def unknown(self, text: str) -> Counter[str]:
        counts = Counter(text.split())
        return Counter({word: count for word, count in counts.items() if word not in self._ids or word == UNKNOWN})

    def encode_prompt(self, text: str) -> Prompt:
        """Turn a prompt into ids, and list which of its words the vocabulary lacks."""
        unknown = dict.fromkeys(word for word in text.split() if word not in self._ids)
        return super().encode_prompt(text)._replace(unknown=tuple(unknown))

    def decode(self, tokens: Tokens | Sequence[int]) -> str:
        lines: list[list[str]] = [[]]
        for token in np.asarray(tokens).tolist():
            if token == self.eos_id:
                lines.append([])
            else:
                lines[-1].append(self.words[token])
        return "\n".join(" ".join(line) for line in lines)

    def _saved_form(self, folder: Path) -> dict[str, Any]:
        return {"tokens": self.words}


@final
class CharacterTokenizer(Tokenizer):
    """Tokenizer of which every character is a token, the line end included.

    >>> tokenizer = CharacterTokenizer.from_text("a cab\\n")
    >>> tokenizer.characters
    ('\\n', 'a', ' ', 'b', 'c')
    >>> tokenizer.encode("cab\\n").tolist()
    [4, 1, 3, 0]

    Args:
        characters: the vocabulary, in the order of the ids; the line end is among them, and `<unk>` where
            unseen characters are allowed.
    """

    kind = "character"

    def __init__(self, characters: Sequence[str]) -> None:
        self.characters = tuple(characters)
        ids = _numbered(self.characters, "characters")
        if "\n" not in ids:
            raise InputError("characters must hold the line end '\\n', got none; add it")
        for character in self.characters:
            if len(character) != 1 and character != UNKNOWN:
                raise InputError(f"characters must be single characters, got {character!r}; remove it")
        self.vocabulary_size = len(self.characters)
        self.eos_id = ids["\n"]
        self.digest = _list_digest(self.kind, self.characters)
        points = {ord(character): number for character, number in ids.items() if character != UNKNOWN}
        # One more place than the highest code point, for all the code points above it.
        self._table = np.full(max(points) + 2, ids.get(UNKNOWN, -1), np.int32)
        self._table[list(points)] = list(points.values())

    @classmethod
    def from_text(cls, text: str, *, min_count: int = 1) -> "CharacterTokenizer":
        """Collect the characters of a text, the frequent ones first.

        Args:
            text: the train text.
            min_count: with 1 the vocabulary is closed: an unseen character is an error. With 2 or more,
                characters that occur less often become `<unk>`, and so do unseen ones.

        Raises:
            InputError: min_count below 1.
        """
        at_least("min_count", min_count, 1, kind=InputError)
        counts = Counter(text)
        counts.pop("\n", None)
        special = ["\n"] if min_count == 1 else ["\n", UNKNOWN]
        return cls([*special, *_by_frequency(counts, min_count)])

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return self.characters

    def encode(self, text: str, *, source: str = "the text") -> Tokens:
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        tokens = self._table[np.minimum(points, len(self._table) - 1)]
        unknown = np.flatnonzero(tokens < 0)
        if len(unknown):
            place = int(unknown[0])
            raise InputError(
                f"{source} holds the character {text[place]!r} (U+{ord(text[place]):04X}) in line "
                f"{text.count(chr(10), 0, place) + 1:,}, not among the {self.vocabulary_size} of the "
                "train text; remove it, or train with min_count=2, which reserves <unk> for such characters"
            )
        return tokens

    def unknown(self, text: str) -> Counter[str]:
        known = set(self.characters)
        return Counter({character: count for character, count in Counter(text).items() if character not in known})

    def encode_prompt(self, text: str) -> Prompt:
        """Turn a prompt into ids, and list which of its characters the vocabulary lacks, if it has `<unk>` for them."""
        prompt = super().encode_prompt(text)
        known = set(self.characters)
        return prompt._replace(unknown=tuple(dict.fromkeys(character for character in text if character not in known)))

    def decode(self, tokens: Tokens | Sequence[int]) -> str:
        return "".join(self.characters[token] for token in np.asarray(tokens).tolist())

    def _saved_form(self, folder: Path) -> dict[str, Any]:
        return {"tokens": self.characters}


def _require_no_spelled_line_end(text: str, source: str) -> None:
    """Refuse the word `<eos>`: read as a line end, a line that is written with it would have two."""
    spelled = re.search(rf"(?<!\S){EOS}(?!\S)", text) if EOS in text else None
    if spelled:
        raise InputError(
            f"{source} holds the word {EOS} in line {text.count(chr(10), 0, spelled.start()) + 1:,}, which stands for "
            "the end of a line; remove it where a line ends, and end the line where it stands within one"
        )


def _by_frequency(counts: Mapping[str, int], min_count: int) -> list[str]:
    frequent = [entry for entry, count in counts.items() if count >= min_count]
    return sorted(frequent, key=lambda entry: (-counts[entry], entry))


def _numbered(entries: Sequence[str], name: str) -> dict[str, int]:
    ids = {entry: number for number, entry in enumerate(entries)}
    if len(ids) < len(entries):
        repeated = next(entry for number, entry in enumerate(entries) if ids[entry] != number)
        raise InputError(f"{name} must differ from each other, got {repeated!r} twice; remove one")
    return ids


def _list_digest(kind: str, entries: Sequence[str]) -> str:
    return json_digest([kind, *entries])
