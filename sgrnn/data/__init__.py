"""Data: corpora by name, tokenizers, encoded text on disk, and streams of spans."""

from typing import TYPE_CHECKING

from sgrnn.lazy import importer

if TYPE_CHECKING:
    from sgrnn.data.corpora import CORPORA, SPLITS, Corpus, load_texts
    from sgrnn.data.spelling import Spelling
    from sgrnn.data.store import Status, data_folder, fetch, status, verify
    from sgrnn.data.streams import TokenStream
    from sgrnn.data.subwords import SentencePieceTokenizer
    from sgrnn.data.token_files import TokenFile, TokenFiles, prepare
    from sgrnn.data.tokenizer import Prompt, Tokenizer
    from sgrnn.data.tokenizers import TOKENIZER_KINDS, load_tokenizer, train_tokenizer
    from sgrnn.data.varying_spans import VaryingSpans
    from sgrnn.data.vocabularies import CharacterTokenizer, WordTokenizer

__all__ = [
    "CORPORA",
    "SPLITS",
    "TOKENIZER_KINDS",
    "CharacterTokenizer",
    "Corpus",
    "Prompt",
    "SentencePieceTokenizer",
    "Spelling",
    "Status",
    "TokenFile",
    "TokenFiles",
    "TokenStream",
    "Tokenizer",
    "VaryingSpans",
    "WordTokenizer",
    "data_folder",
    "fetch",
    "load_texts",
    "load_tokenizer",
    "prepare",
    "status",
    "train_tokenizer",
    "verify",
]

_HOMES = {
    "corpora": "CORPORA SPLITS Corpus load_texts",
    "spelling": "Spelling",
    "store": "Status data_folder fetch status verify",
    "streams": "TokenStream",
    "subwords": "SentencePieceTokenizer",
    "token_files": "TokenFile TokenFiles prepare",
    "tokenizer": "Prompt Tokenizer",
    "tokenizers": "TOKENIZER_KINDS load_tokenizer train_tokenizer",
    "varying_spans": "VaryingSpans",
    "vocabularies": "CharacterTokenizer WordTokenizer",
}

if not TYPE_CHECKING:
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
