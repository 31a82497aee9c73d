"""Subword pieces learned by SentencePiece: byte-pair encoding or a unigram model."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import sentencepiece

from sgrnn.data.atomic import atomic_write, bytes_digest
from sgrnn.data.encodings import require_characters
from sgrnn.data.kinds import SUBWORD_KINDS, SubwordKind
from sgrnn.data.tokenizer import UNKNOWN, Tokenizer, Tokens
from sgrnn.errors import InputError

MODEL_FILE = "sentencepiece.model"

# Names that no text is likely to hold: a reserved piece's name is what the trainer does not learn from, and
# corpora do hold "<unk>".
_UNKNOWN_PIECE, _EOS_PIECE = "<|sgrnn-unknown|>", "<|sgrnn-eos|>"


@final
class SentencePieceTokenizer(Tokenizer):
    """Tokenizer of pieces of words.

    As `from_text` makes it, blanks are kept and unseen characters spelled in bytes, so that `decode(encode(x)) == x`.
    The one exception is U+2581, the sign that SentencePiece writes for a blank: it comes back as a blank. A model that
    was trained elsewhere may put blanks together, replace characters by others and forget unseen ones.

    Args:
        model: the serialized SentencePiece model, with a piece for the end of a sentence, which stands for a line end.
        kind: the algorithm it was trained with.

    Raises:
        InputError: it is no such model, or has no such piece.
    """

    def __init__(self, model: bytes, kind: SubwordKind) -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{MODEL_FILE} is not a SentencePiece model ({len(model):,} bytes); save the tokenizer again"
            ) from error
        self.kind: str = kind
        self.model = model
        self.vocabulary_size: int = self._processor.vocab_size()
        self.eos_id: int = self._processor.eos_id()
        if self.eos_id < 0:
            raise InputError(
                "the SentencePiece model must have a piece for the end of a sentence, which stands for a line end, got "
                "eos_id -1: train it with eos_id=1"
            )
        self.digest = bytes_digest(kind.encode() + b"\n" + model)

    @classmethod
    def from_text(cls, text: str, *, vocabulary_size: int, kind: SubwordKind = "bpe") -> "SentencePieceTokenizer":
        """Learn the pieces from a text; the same text always gives the same pieces.

        Args:
            text: the train text.
            vocabulary_size: number of pieces, 258 reserved ones (bytes, line end, unknown) included.
            kind: "bpe" or "unigram".

        Raises:
            InputError: unknown kind, or a vocabulary too small or too large for the text.
        """
        if kind not in SUBWORD_KINDS:
            raise InputError(f"kind must be bpe or unigram, got {kind!r}")
        lines = [line for line in text.split("\n") if line]
        if not lines:
            raise InputError("the text to learn pieces from is empty; give a train text")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=kind,
                vocab_size=vocabulary_size,
                character_coverage=1.0,
                byte_fallback=True,
                # Text comes back as it was: no normal form, no blank dropped.
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                # A blank put before each line: its first word has the same piece as elsewhere in a line.
                add_dummy_prefix=True,
                unk_id=0,
                unk_piece=_UNKNOWN_PIECE,
                eos_id=1,
                eos_piece=_EOS_PIECE,
                bos_id=-1,
                pad_id=-1,
                max_sentence_length=max(10, *(len(line.encode()) + 1 for line in lines)),  # 10: no less is taken
                # Left to itself the trainer never joins "<", "unk" and ">", a frequent word of many corpora.
                user_defined_symbols=["\N{LOWER ONE EIGHTH BLOCK}" + UNKNOWN] if UNKNOWN in text else [],
                num_threads=1,  # the pieces depend on the number of threads
                minloglevel=2,
            )
        except (RuntimeError, ValueError) as error:
            raise InputError(_explain(str(error), vocabulary_size, lines)) from error
        return cls(model.getvalue(), kind)

    @property
    def vocabulary(self) -> list[str]:
        return self._processor.id_to_piece(list(range(self.vocabulary_size)))

    def encode(self, text: str, *, source: str = "the text") -> Tokens:
        require_characters(text, source)
        lines = self._processor.encode(text.split("\n"))
        last = lines.pop()
        return np.array([token for line in lines for token in (*line, self.eos_id)] + last, np.int32)

    def unknown(self, text: str) -> Counter[str]:
        """Count the pieces that a model without byte fallback lacks; those of `from_text` spell them in bytes."""
        number = self._processor.unk_id()
        lines = text.split("\n")
        lines = [line for line, tokens in zip(lines, self._processor.encode(lines), strict=True) if number in tokens]
        pieces = zip(self._processor.encode(lines), self._processor.encode(lines, out_type=str), strict=True)
        return Counter(
            name for tokens, names in pieces for token, name in zip(tokens, names, strict=True) if token == number
        )

    def decode(self, tokens: Tokens | Sequence[int]) -> str:
        lines: list[list[int]] = [[]]
        for token in np.asarray(tokens).tolist():
            if token == self.eos_id:
                lines.append([])
            else:
                lines[-1].append(token)
        return "\n".join(self._processor.decode(lines))

    def _saved_form(self, folder: Path) -> dict[str, Any]:
        with atomic_write(folder / MODEL_FILE) as file:
            file.write(self.model)
        return {}


def _explain(reason: str, vocabulary_size: int, lines: Sequence[str]) -> str:
    """Return advice on an error of SentencePiece's trainer."""
    got = f"got {vocabulary_size:,}"
    if limit := re.search(r"value <= (\d+)", reason):
        return f"vocabulary_size must be at most {int(limit[1]):,} for this text, {got}; make it smaller"
    if limit := re.search(r"required_chars\. \d+ vs (\d+)", reason):
        return f"vocabulary_size must be at least {int(limit[1]):,} for this text, {got}; make it larger"
    if "isfinite" in reason:  # the likelihood of a run of so many characters is 0 in float32
        number, run = max(enumerate(lines, 1), key=lambda line: _longest_run(line[1]))
        return (
            f"the text holds a run of {_longest_run(run):,} characters without a blank (in line {number:,}, empty ones "
            "not counted), too long for a unigram model; break it with blanks or line ends, or use bpe"
        )
    return f"SentencePiece could not learn {vocabulary_size:,} pieces from this text: {reason}"


def _longest_run(line: str) -> int:
    """Return the most characters that follow each other without a blank."""
    return max(map(len, line.split(" ")))
