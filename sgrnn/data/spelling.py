"""Cost of spelling out what each `<unk>` stands for: without it the smallest vocabulary would predict a text best.

A model of tokens says no more than that there is an `<unk>`, and the fewer words it knows, the easier that is to
foresee. To be compared with models that say the whole text, it has to spell what it left out. It does so by the
simplest model of spelling there is: character by character, each with its share of the train text's characters, the end
of the word being one of them. That is a probability of the text, so that the sum is what the model, completed in this
way, needs for it.
"""

from collections import Counter
from math import log
from typing import NamedTuple

from sgrnn.data.tokenizer import UNKNOWN, Tokenizer

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


class Spelling:
    """A unigram model of the characters of what a tokenizer replaces by `<unk>`.

        P(word | <unk>) = P(replaced) P(c_1) ... P(c_n) P(end)
        P(c) = (count of c + 1) / (sum of all counts + number of kinds)

    The counts are over all words of the train text, each with its end. The kinds are the characters found there, the
    end, and all other characters of Unicode together, of which each has the same share. A tokenizer of characters
    replaces one at a time, which has no end.

    Where the train text has the word `<unk>` itself, the word and what was replaced share P in proportion to their
    counts in the train text, the latter counting as one at least. With a vocabulary of all words of the train text the
    written word costs nothing: there is nothing else that it could be.

    >>> from sgrnn.data import WordTokenizer
    >>> spelling = Spelling(WordTokenizer(["<eos>", "<unk>", "to"]), "to be to\\n")
    >>> spelling.charge("to be\\n").nats == -log(2 / 15) - log(2 / 15) - log(4 / 15)
    True

    Args:
        tokenizer: the tokenizer.
        train: the train text.
    """

    def __init__(self, tokenizer: Tokenizer, train: str) -> None:
        self._tokenizer = tokenizer
        self._ends = tokenizer.kind != "character"
        if self._ends:
            words = train.split()
            self._counts = Counter("".join(words))
            num_ends = len(words)
        else:
            self._counts = Counter(train)
            num_ends = 0
        kinds = len(self._counts) + self._ends + 1
        self._total = sum(self._counts.values()) + num_ends + kinds
        self._end = -log((num_ends + 1) / self._total) if self._ends else 0.0
        unknown = tokenizer.unknown(train)
        written, replaced = unknown[UNKNOWN], unknown.total() - unknown[UNKNOWN]
        self._writes = written > 0
        both = written + max(replaced, 1)
        self._written = -log(written / both) if written and replaced else 0.0
        self._replaced = -log(max(replaced, 1) / both) if written else 0.0

    def charge(self, text: str) -> Unknown:
        """Return the number of `<unk>` in a text, and the cost of spelling out what they stand for."""
        replaced = self._tokenizer.unknown(text)
        written = replaced.pop(UNKNOWN, 0) if self._writes else 0
        nats = written * self._written
        nats += sum(count * (self._replaced + self._spelled(entry)) for entry, count in replaced.items())
        return Unknown(replaced.total(), written, nats)

    def _spelled(self, entry: str) -> float:
        return sum(map(self._character, entry)) + self._end

    def _character(self, character: str) -> float:
        if character in self._counts:
            return -log((self._counts[character] + 1) / self._total)
        return -log(1 / self._total) + log(_CODE_POINTS - len(self._counts))
