"""Encoded text on disk: each split is encoded once and memory-mapped from then on.

data/tokens/ptb-word-3f1c0f3a9b0d2e47/
    train.npy  valid.npy  test.npy      flat arrays of ids
    token_files.json                    counts; written last, so its presence means complete
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sgrnn.data.atomic import atomic_write, bytes_digest, json_digest, make_folder
from sgrnn.data.corpora import Corpus
from sgrnn.data.spelling import Spelling, TextCounts, Unknown
from sgrnn.data.tokenizer import Tokenizer
from sgrnn.errors import InputError

_FORMAT = 1
_HEADER_FILE = "token_files.json"


@dataclass(frozen=True)
class TokenFile:
    """Text of one split, encoded.

    Args:
        array: (tokens,) ids, uint16 or uint32, memory-mapped and read-only.
        counts: sizes of the text in words, characters and bytes, and its `<unk>`.
        digest: of the text.
        begins: (tokens,) bool, the tokens before which a model's state is reset (`sgrnn.data.beginnings`); None for
            none but the first.
    """

    array: NDArray[np.unsignedinteger]
    counts: TextCounts
    digest: str
    begins: NDArray[np.bool_] | None = None

    @property
    def tokens(self) -> int:
        """Number of tokens in the split."""
        return len(self.array)


@dataclass(frozen=True)
class TokenFiles:
    """Splits of a corpus, encoded with one tokenizer.

    Args:
        folder: where they lie.
        splits: `TokenFile` by split.
        vocabulary_size: of the tokenizer.
        eos_id: of the tokenizer.
    """

    folder: Path
    splits: Mapping[str, TokenFile]
    vocabulary_size: int
    eos_id: int

    def __getitem__(self, split: str) -> TokenFile:
        """Return the split of that name.

        Raises:
            InputError: the corpus has no such split.
        """
        if split not in self.splits:
            raise InputError(
                f"{self.folder.name} has no split named {split!r}; expected one of {', '.join(self.splits)}"
            )
        return self.splits[split]


def prepare(corpus: Corpus, tokenizer: Tokenizer, folder: Path) -> TokenFiles:
    """Encode a corpus, or open what an earlier call encoded from the same texts with the same vocabulary.

    Args:
        corpus: the texts.
        tokenizer: trained on the train text.
        folder: the data folder; the files go to a folder of their own beneath `tokens/`. They may be deleted
            at any time.

    Returns:
        The encoded splits.

    Raises:
        InputError: a text that the tokenizer cannot encode.
    """
    key = _key(corpus, tokenizer)
    target = folder / "tokens" / f"{corpus.name}-{tokenizer.kind}-{key[:16]}"
    header = _read_header(target / _HEADER_FILE)
    splits = _open(target, header) if header.get("key") == key else None
    if splits is None:
        make_folder(target)
        header = {"format": _FORMAT, "key": key, "splits": _encode(corpus, tokenizer, target)}
        with atomic_write(target / _HEADER_FILE) as file:
            file.write(json.dumps(header, indent=2).encode())
        splits = _open(target, header)
        assert splits is not None
    return TokenFiles(target, splits, tokenizer.vocabulary_size, tokenizer.eos_id)


def _key(corpus: Corpus, tokenizer: Tokenizer) -> str:
    """Return the digest of all that the files depend on, in plain hexadecimal."""
    parts: list[Any] = [_FORMAT, tokenizer.digest, corpus.word_separator]
    parts += [(split, bytes_digest(text.encode())) for split, text in corpus.texts.items()]
    return json_digest(parts).partition(":")[2]


def _encode(corpus: Corpus, tokenizer: Tokenizer, target: Path) -> dict[str, dict[str, Any]]:
    """Write the array of each split, and return the counts of its text."""
    number_type = np.uint16 if tokenizer.vocabulary_size <= 1 << 16 else np.uint32
    counts = {}
    spelling = Spelling.of(tokenizer, corpus.texts["train"], corpus.word_separator)
    for split, text in corpus.texts.items():
        tokens = tokenizer.encode(text, source=f"{corpus.name} {split}").astype(number_type)
        with atomic_write(target / f"{split}.npy") as file:
            np.save(file, tokens)
        measured = spelling.counts(tokenizer, text)
        counts[split] = {
            "tokens": len(tokens),
            **measured._asdict(),
            "unknown": measured.unknown._asdict(),
            "digest": bytes_digest(text.encode()),
        }
    return counts


def _read_header(path: Path) -> dict[str, Any]:
    """Read the header, empty where there is none that can be read."""
    try:
        header = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return header if isinstance(header, dict) else {}


def _open(target: Path, header: dict[str, Any]) -> dict[str, TokenFile] | None:
    """Map the arrays into memory; None where one is missing or damaged, or the header is not of today's form."""
    splits = {}
    try:
        for split, counts in header["splits"].items():
            array = np.load(target / f"{split}.npy", mmap_mode="r")
            rest = dict(counts)
            digest = rest.pop("digest")
            if array.shape != (rest.pop("tokens"),):
                return None
            splits[split] = TokenFile(array, TextCounts(unknown=Unknown(**rest.pop("unknown")), **rest), digest)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return splits
