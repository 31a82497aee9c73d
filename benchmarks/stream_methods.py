"""The ways to learn from a stream that `benchmarks/stream.py` compares, by name."""

from diagonal import DiagonalCore, DiagonalRTRL
from torch import nn

import sgrnn
from sgrnn.estimators import GradientEstimator, Loss
from sgrnn.estimators.online import RTRL, SnAp1

METHODS = [
    "truncated 1", "averaged 1", "tbptt 1 8", "tbptt 1 32", "tbptt 5 20", "truncated 20", "synthetic 1", "synthetic 5",
    "constants 1", "adjoint 1", "future 1", "shuffled 1", "state 1", "diagonal",
]  # fmt: skip
WITHOUT = ("truncated", "averaged", "tbptt", "snap-1", "rtrl", "diagonal")  # a synthesizer


def build_estimator(method: str, core: nn.Module, loss: Loss, sizes: tuple[int, int, int]) -> GradientEstimator:
    """Return the estimator of a method.

    Args:
        method: its name and numbers.
        core, loss: as everywhere.
        sizes: features of state, outputs and inputs.
    """
    kind, *numbers = method.split()
    window, late = (*map(int, numbers), 0, 0)[:2]
    late = late or 8
    state, outputs, inputs = sizes
    match kind:
        case "truncated" | "averaged":
            return sgrnn.TruncatedBPTT(core, loss, window)
        case "tbptt":
            return sgrnn.TruncatedBPTT(core, loss, late, every=window)
        case "snap-1":
            return SnAp1(core, loss)
        case "rtrl":
            return RTRL(core, loss)
        case "diagonal":
            assert isinstance(core, DiagonalCore)
            return DiagonalRTRL(core, loss)
        case "state":
            synthesizer = sgrnn.MLPSynthesizer(state)
            return sgrnn.SyntheticGradients(core, loss, window, synthesizer=synthesizer, remove_mean=True)
        case "adjoint":
            synthesizer = sgrnn.AdjointSynthesizer(
                state, outputs, inputs, window=window, hidden_size=32, rank=16, projection=16, aligned_size=None
            )
            return sgrnn.Delayed(sgrnn.SyntheticGradients(core, loss, window, synthesizer=synthesizer), late)
    synthesizer = (
        sgrnn.DiagonalSynthesizer(state, outputs, lookahead=late) if kind == "constants"
        else sgrnn.ErrorSynthesizer(state, outputs, inputs, lookahead=late)
    )  # fmt: skip
    synthetic = sgrnn.SyntheticGradients(
        core, loss, window, synthesizer=synthesizer, shuffle=kind == "shuffled",
        learn_every=8 if kind == "rarely" else 1,
    )  # fmt: skip
    return synthetic if kind == "future" else sgrnn.Delayed(synthetic)
