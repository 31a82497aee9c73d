"""What tests of every part need: one thread, and the real Penn Treebank and MNIST."""

import os
from pathlib import Path

import pytest
import torch

from sgrnn.data import fetch

torch.set_num_threads(1)  # models so small only lose time with more, above all on a busy machine


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder with the published files: SGRNN_TEST_DATA, else shared/data beside the repository."""
    explicit = os.environ.get("SGRNN_TEST_DATA")
    folder = Path(explicit) if explicit else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.fail(
            f"{folder} does not exist: this test needs the Penn Treebank files ptb.train.txt, ptb.valid.txt and "
            "ptb.test.txt (others the four files of MNIST); set SGRNN_TEST_DATA to a folder that holds them"
        )
    return folder


@pytest.fixture(scope="session")
def ptb_folder(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder into which the Penn Treebank was imported."""
    folder = tmp_path_factory.mktemp("data")
    fetch("ptb", folder, source=test_data)
    return folder


@pytest.fixture(scope="session")
def mnist_folder(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder into which MNIST was imported."""
    folder = tmp_path_factory.mktemp("data")
    fetch("mnist", folder, source=test_data)
    return folder
