"""Synthesizers: predictors of the gradient that the future would send to a state, and who trains them.

`Synthesizer` is what one must be, `GradientPredictor` what trains it, `Interface` a predictor between two modules.
"""

from sgrnn.synthesizers.adjoint import AdjointSynthesizer
from sgrnn.synthesizers.error import ErrorSynthesizer
from sgrnn.synthesizers.interface import Interface
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.mlp import MLPSynthesizer
from sgrnn.synthesizers.predictor import GradientPredictor, Shrinkage
from sgrnn.synthesizers.synthesizer import Boundaries, Synthesizer

__all__ = [
    "AdjointSynthesizer",
    "Boundaries",
    "ErrorSynthesizer",
    "GradientPredictor",
    "Interface",
    "Lookahead",
    "MLPSynthesizer",
    "Shrinkage",
    "Synthesizer",
]
