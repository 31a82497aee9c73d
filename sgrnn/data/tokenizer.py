"""Base class of tokenizers: text to tokens and back, a safe saved form, a digest of the vocabulary."""

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sgrnn.data.atomic import atomic_write, make_folder
from sgrnn.data.encodings import require_characters
from sgrnn.errors import InputError

if TYPE_CHECKING:
    from sgrnn.data.spelling import Spelling, TextCounts

TOKENIZER_FILE = "tokenizer.json"

EOS = "<eos>"
"""Name of the line end among words."""

UNKNOWN = "<unk>"
"""Name of the token that stands for everything outside the vocabulary."""

Tokens = NDArray[np.int32]


class Prompt(NamedTuple):
    """An encoded prompt.

    Args:
        tokens: (length,) ids; may be empty.
        unknown: the words, in order and each once, that became `<unk>`.
    """

    tokens: Tokens
    unknown: tuple[str, ...]


class Tokenizer(ABC):
    """A vocabulary and the rule that cuts text into it.

    A line end of the text is one token of its own, `eos_id`, at every level: where it stands the next token
    begins a new line, which is why it is also the first input of every text.

    Args:
        kind: the name by which `train_tokenizer` and the saved form know the rule.
        vocabulary_size: number of ids.
        eos_id: id of the line end.
        digest: `algorithm:hexadecimal` of the rule and the vocabulary; equal digests encode equally.
        spelling: how the train text spells its words, by which other texts are counted and charged; None where it is
            not known, as for a vocabulary that came from elsewhere. It is saved with the tokenizer.
    """

    kind: str
    vocabulary_size: int
    eos_id: int
    digest: str
    spelling: "Spelling | None" = None

    @property
    @abstractmethod
    def vocabulary(self) -> Sequence[str]:
        """All tokens by name, in the order of their ids; no two have the same."""

    @abstractmethod
    def encode(self, text: str, *, source: str = "the text") -> Tokens:
        """Turn text into ids.

        Args:
            text: lines; the last one need not have a line end, and only line ends become `eos_id`.
            source: what to call the text in an error message.

        Returns:
            (length,) int32.
        """

    @abstractmethod
    def decode(self, tokens: Tokens | Sequence[int]) -> str:
        """Turn ids back into text."""

    @abstractmethod
    def unknown(self, text: str) -> Counter[str]:
        """Count the words, characters or pieces of a text that become `<unk>`, including any `<unk>` written there."""

    @abstractmethod
    def _saved_form(self, folder: Path) -> dict[str, Any]:
        """Return the entries of the JSON file beside kind and digest; other files are written to the folder."""

    def encode_prompt(self, text: str) -> Prompt:
        """Turn a prompt into ids: one line end at its very end is not part of it.

        Raises:
            InputError: characters that a closed vocabulary of characters lacks.
        """
        return Prompt(self.encode(text.removesuffix("\n"), source="the prompt"), ())

    def counts(self, text: str) -> "TextCounts":
        """Return the sizes of a text in words, characters and bytes, and the cost of what its `<unk>` stand for.

        Raises:
            InputError: the spelling of the train text is not known, or the text is no Unicode text.
        """
        if self.spelling is None:
            raise InputError(
                "the tokenizer lacks the spelling of its train text, by which words are counted and <unk> is charged: "
                "set tokenizer.spelling = sgrnn.data.Spelling.of(tokenizer, TRAIN_TEXT); a run that an earlier version "
                "trained can be scored where its corpus is, by `sgrnn evaluate RUN --split`"
            )
        require_characters(text, "the text")
        return self.spelling.counts(self, text)

    def save(self, folder: Path) -> None:
        """Write the tokenizer to a folder, for `load_tokenizer`."""
        make_folder(folder)
        form = {"kind": self.kind, "digest": self.digest, **self._saved_form(folder)}
        if self.spelling is not None:
            form["spelling"] = self.spelling.form()
        with atomic_write(folder / TOKENIZER_FILE) as file:
            file.write(json.dumps(form, ensure_ascii=False, indent=0).encode())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(vocabulary_size={self.vocabulary_size})"
