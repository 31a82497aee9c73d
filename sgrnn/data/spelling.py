"""Counts of a text whatever its tokens are, and the charge for its `<unk>`, by the train text's words and characters.

A model of tokens says no more than that there is an `<unk>`, and the fewer words it knows, the easier that is to
foresee: the smallest vocabulary would predict a text best. To be compared with models that say the whole text, it has
to spell what it left out. It does so by the simplest model of spelling there is: character by character, each with its
share of the train text's characters, the end of the word being one of them. That is a probability of the text, so that
the sum is what the model, completed in this way, needs for it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import log
from typing import Any, NamedTuple, final

from sgrnn.data.atomic import json_digest
from sgrnn.data.tokenizer import UNKNOWN, Tokenizer

LONGEST_WORDS = 20
"""Characters of a text's mean word; of languages with blanks between words none that we know has longer ones."""

_CODE_POINTS = 0x110000 - 0x800
"""Characters that a text in Unicode can hold: all code points but surrogates."""


class Unknown(NamedTuple):
    """Count of the `<unk>` among a text's tokens, and their cost.

    Args:
        replaced: those that stand for something that the vocabulary lacks.
        written: those that are written in the text itself, as in the published Penn Treebank.
        nats: negative log-probability of what they stand for, given that they are `<unk>`.
    """

    replaced: int
    written: int
    nats: float


class TextCounts(NamedTuple):
    """Sizes of a text in units that do not depend on the tokenizer, and its `<unk>`.

    Args:
        words: words of the text plus one per line, over which perplexity per word is; None where it is not written in
            words.
        characters: characters of the text, line ends included: what bits per character divides by.
        bytes: the same in UTF-8.
        unknown: its `<unk>`, and what it costs to say what they stand for.
    """

    words: int | None
    characters: int
    bytes: int
    unknown: Unknown


@final
@dataclass(frozen=True)
class Spelling:
    """A unigram model of the characters of what a tokenizer replaces by `<unk>`, and the rule for counting words.

        P(word | <unk>) = P(replaced) P(c_1) ... P(c_n) P(end)
        P(c) = (count of c + 1) / (sum of all counts + number of kinds)

    The counts are over all words of the train text, each with its end. The kinds are the characters found there, the
    end, and all other characters of Unicode together, of which each has the same share. A tokenizer of characters
    replaces one at a time, which has no end.

    Where the train text has the word `<unk>` itself, the word and what was replaced share P in proportion to their
    counts in the train text, the latter counting as one at least. With a vocabulary of all words of the train text the
    written word costs nothing: there is nothing else that it could be.

    >>> from sgrnn.data import WordTokenizer
    >>> tokenizer = WordTokenizer(["<eos>", "<unk>", "to"])
    >>> counts = Spelling.of(tokenizer, "to be to\\n").counts(tokenizer, "to be\\n")
    >>> counts.words, counts.unknown.nats == -log(2 / 15) - log(2 / 15) - log(4 / 15)
    (3, True)

    Args:
        characters: counts of the characters that entries of the train text are spelled with.
        ends: number of entries, each of which has an end; None where they are single characters.
        replaced: entries of the train text that are `<unk>` for what the vocabulary lacks.
        written: those that are `<unk>` in the text itself.
        has_words: whether the train text is written in words.
        word_separator: what stands between words besides blanks; `_` in ptb-char.
    """

    characters: Mapping[str, int]
    ends: int | None
    replaced: int
    written: int
    has_words: bool
    word_separator: str = " "

    @classmethod
    def of(cls, tokenizer: Tokenizer, train: str, word_separator: str = " ") -> "Spelling":
        """Learn the spelling of a train text, of which a tokenizer knows some or all words.

        It has words if they are `LONGEST_WORDS` characters or less on average, and two or more of them stand in a line:
        a text that is written without blanks is one word a line.
        """
        entries = None if tokenizer.kind == "character" else train.split()
        unknown = tokenizer.unknown(train)
        words = _words(train, word_separator)
        lines = sum(bool(line.strip()) for line in train.split("\n"))
        return cls(
            characters=dict(Counter(train if entries is None else "".join(entries))),
            ends=None if entries is None else len(entries),
            replaced=unknown.total() - unknown[UNKNOWN],
            written=unknown[UNKNOWN],
            has_words=len(words) >= 2 * lines and sum(map(len, words)) <= LONGEST_WORDS * len(words),
            word_separator=word_separator,
        )

    @classmethod
    def from_form(cls, form: Mapping[str, Any]) -> "Spelling":
        """Restore what `form` gave.

        Raises:
            ValueError: it was changed since.
        """
        fields = {name: value for name, value in form.items() if name != "digest"}
        if json_digest(fields) != form.get("digest"):
            raise ValueError(f"expected a spelling of digest {form.get('digest')}, got {json_digest(fields)}")
        return cls(**fields)

    def form(self) -> dict[str, Any]:
        """Return the spelling as entries of a JSON file, with their digest."""
        fields = asdict(self)
        return {**fields, "digest": json_digest(fields)}

    def counts(self, tokenizer: Tokenizer, text: str) -> TextCounts:
        """Return the sizes of a text, and the cost of spelling out what its `<unk>` stand for.

        Args:
            tokenizer: the one that it was learned with.
            text: the text.
        """
        words = count_words(text, self.word_separator) if self.has_words else None
        return TextCounts(words, len(text), len(text.encode()), self._charge(tokenizer.unknown(text)))

    def _charge(self, replaced: Counter[str]) -> Unknown:
        written = replaced.pop(UNKNOWN, 0) if self.written else 0
        both = self.written + max(self.replaced, 1)
        for_written = -log(self.written / both) if self.written and self.replaced else 0.0
        for_replaced = -log(max(self.replaced, 1) / both) if self.written else 0.0
        nats = written * for_written
        nats += sum(count * (for_replaced + self._spelled(entry)) for entry, count in replaced.items())
        return Unknown(replaced.total(), written, nats)

    def _spelled(self, entry: str) -> float:
        end = 0.0 if self.ends is None else -log((self.ends + 1) / self._total)
        return sum(map(self._character, entry)) + end

    def _character(self, character: str) -> float:
        if character in self.characters:
            return -log((self.characters[character] + 1) / self._total)
        return -log(1 / self._total) + log(_CODE_POINTS - len(self.characters))

    @cached_property
    def _total(self) -> int:
        kinds = len(self.characters) + (self.ends is not None) + 1
        return sum(self.characters.values()) + (self.ends or 0) + kinds


def count_words(text: str, separator: str = " ") -> int:
    """Count the words of a text, plus one for the end of each line: perplexity per word is over these.

    >>> count_words("to be_or\\nnot\\n", "_")
    6
    """
    return len(_words(text, separator)) + text.count("\n")


def _words(text: str, separator: str) -> list[str]:
    return text.replace(separator, " ").split()
