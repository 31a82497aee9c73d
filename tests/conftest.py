"""What tests of every part need: one thread, and the real Penn Treebank and MNIST or what stands in for them.

The published files are those of the folder that SGRNN_TEST_DATA names, else of ../shared/data, else of the data folder.
Tests that need them skip where they are not; a folder that is named and does not hold them ends the session.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

# Where no name server answers, torch.distributed warns of that on stderr, which tests read. Read when torch is loaded.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import pytest
import stand_in
import torch

from sgrnn.data import data_folder, fetch
from sgrnn.errors import InputError

torch.set_num_threads(1)  # models so small only lose time with more, above all on a busy machine

ROOT = Path(__file__).parents[1]
PUBLISHED = {"ptb_folder": ("ptb", "the Penn Treebank"), "mnist_folder": ("mnist", "MNIST")}
"""Of a fixture, the data that it is, as the catalog and as people call it."""

_DATA = pytest.StashKey[Path]()  # a data folder with all published files that were found
_FOUND = pytest.StashKey[set[str]]()  # their names in the catalog


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="end with a failure if any test was skipped")


def pytest_configure(config: pytest.Config) -> None:
    holder = TemporaryDirectory(prefix="sgrnn-test-data-")
    config.add_cleanup(holder.cleanup)
    config.stash[_DATA], config.stash[_FOUND] = Path(holder.name), set()
    named = os.environ.get("SGRNN_TEST_DATA")
    places = [Path(named)] if named else [ROOT.parent / "shared" / "data", ROOT / data_folder()]
    for name, _ in PUBLISHED.values():
        for place in places:
            try:
                fetch(name, config.stash[_DATA], source=place)
                config.stash[_FOUND].add(name)
                break
            except InputError as error:
                if named:
                    raise pytest.UsageError(
                        f"the environment variable SGRNN_TEST_DATA must name a folder with the files of {name}: "
                        f"{error}; fetch them with `sgrnn data fetch ptb mnist --data {place}`, or unset it"
                    ) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for fixture, (name, spoken) in PUBLISHED.items():
        if name in config.stash[_FOUND]:
            continue
        for item in items:
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=f"needs {spoken}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    needs = tuple(f"needs {spoken}" for _, spoken in PUBLISHED.values())
    if wanting := sum(report.longrepr[2].endswith(needs) for report in skipped):
        terminalreporter.write_line(
            f"{wanting} tests were skipped for want of data: run `sgrnn data fetch ptb mnist`, or set SGRNN_TEST_DATA "
            "to a folder that holds it"
        )
    if skipped and config.getoption("--no-skips"):
        terminalreporter.write_line(f"--no-skips: {len(skipped)} skipped, which counts as a failure", red=True)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped")
    if skipped and session.config.getoption("--no-skips") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def ptb_folder(pytestconfig: pytest.Config) -> Path:
    """A data folder with the Penn Treebank. A test that asks for it skips where there is none."""
    return pytestconfig.stash[_DATA]


@pytest.fixture(scope="session")
def mnist_folder(pytestconfig: pytest.Config) -> Path:
    """The same of MNIST."""
    return pytestconfig.stash[_DATA]


@pytest.fixture(scope="session")
def _stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    stand_in.make_ptb(folder)
    stand_in.make_mnist(folder)
    return folder


@pytest.fixture
def stand_ins(_stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with what stands in for the Penn Treebank and MNIST; the catalog takes it for the published."""
    stand_in.accept(_stand_ins, monkeypatch)
    return _stand_ins
