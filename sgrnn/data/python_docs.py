"""The embedded corpus: the language reference that comes with Python as `pydoc_data.topics`.

It differs a little between versions of Python, so results on it compare only within one version.
"""

from sgrnn.errors import InputError

# Of every 400 lines the first 360 go to train, the next 20 to valid and the last 20 to test: long enough
# pieces for a context to build up, taken from all over the text, so that the splits are alike.
_PERIOD, _VALID_FROM, _TEST_FROM = 400, 360, 380


def python_docs() -> dict[str, str]:
    """The text by split, about 90 : 5 : 5.

    Topics follow each other in alphabetical order. Some quote each other at length; a paragraph is kept only
    where it occurs first, so that valid and test hold nothing that was seen in train. Lines with characters
    outside ASCII always go to train, so that no split holds a character that train lacks.

    Raises:
        InputError: this Python came without `pydoc_data`.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise InputError(
            "python-docs needs the module pydoc_data, which this Python lacks; install the complete standard "
            "library, or choose another corpus (`sgrnn data list`)"
        ) from error
    paragraphs = dict.fromkeys(
        paragraph for name in sorted(topics) for paragraph in topics[name].strip("\n").split("\n\n")
    )
    pieces: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for number, line in enumerate("\n\n".join(paragraphs).split("\n")):
        place = number % _PERIOD
        if place < _VALID_FROM or not line.isascii():
            pieces["train"].append(line)
        else:
            pieces["valid" if place < _TEST_FROM else "test"].append(line)
    return {split: "\n".join(lines) + "\n" for split, lines in pieces.items()}
