"""The public names are exactly those that the library promises."""

import ast
import re
from pathlib import Path
from types import ModuleType

import pytest

import sgrnn
import sgrnn.data

NAMES = """
    AdaptedCore AdaptiveSoftmax AdjointSynthesizer BPLambda BPTT Boundary Checkpointed ControlVariate Delayed
    DiagonalSynthesizer Dropout DynamicEvaluation ErrorSynthesizer ExactAhead GRU GradientEstimator HierarchicalCore
    InputError Interface LSTM LanguageModel LockedDropout Lookahead MLPSynthesizer Mixed Muon NeuralCache RNN RTRL Score
    SequentialCore Shrinkage SnAp1 Span State Step Stream Synthesizer SyntheticGradients TruncatedBPTT UORO evaluate
    export generate gradient_rms initial_state load
    schedules score spans state_size train
"""


def test_the_public_names_are_exactly_these() -> None:
    assert sorted(sgrnn.__all__) == NAMES.split()
    assert all(hasattr(sgrnn, name) for name in sgrnn.__all__)


@pytest.mark.parametrize("package", [sgrnn, sgrnn.data], ids=["sgrnn", "sgrnn.data"])
def test_what_is_imported_lazily_is_what_type_checkers_see_and_what_is_listed(package: ModuleType) -> None:
    assert package.__file__ is not None
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    seen = {
        (str(node.module).removeprefix(package.__name__).lstrip(".") or alias.name, alias.name)
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert {(home, name) for home, names in package._HOMES.items() for name in names.split()} == seen
    assert sorted(name for _, name in seen) == sorted(package.__all__)
    assert set(package.__all__) <= set(dir(package)) <= {*package.__all__, "__version__"}
    with pytest.raises(AttributeError, match=rf"module '{re.escape(package.__name__)}' has no attribute 'LSMT'"):
        getattr(package, "LS" + "MT")


def test_the_version_is_that_of_the_package() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", sgrnn.__version__)
    root = Path(__file__).parent.parent
    assert f"## [{sgrnn.__version__}]" in (root / "CHANGELOG.md").read_text("utf-8")
    assert f"version: {sgrnn.__version__}\n" in (root / "CITATION.cff").read_text("utf-8")


def test_bad_input_can_be_caught_as_a_value_error() -> None:
    assert issubclass(sgrnn.InputError, ValueError)
