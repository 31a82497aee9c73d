"""Synthesizers: modules that predict the gradient of the future loss with respect to a state, and their training.

`Synthesizer` is their base, `GradientPredictor` trains one, `Interface` is a predictor between two modules.
"""

from sgrnn.synthesizers.adjoint import AdjointSynthesizer
from sgrnn.synthesizers.diagonal import DiagonalSynthesizer
from sgrnn.synthesizers.error import ErrorSynthesizer
from sgrnn.synthesizers.interface import Interface
from sgrnn.synthesizers.lookahead import Lookahead
from sgrnn.synthesizers.mlp import MLPSynthesizer
from sgrnn.synthesizers.predictor import GradientPredictor
from sgrnn.synthesizers.regression import Regression
from sgrnn.synthesizers.shrinkage import Shrinkage
from sgrnn.synthesizers.synthesizer import Boundaries, Inject, Synthesizer

__all__ = [
    "AdjointSynthesizer",
    "Boundaries",
    "DiagonalSynthesizer",
    "ErrorSynthesizer",
    "GradientPredictor",
    "Inject",
    "Interface",
    "Lookahead",
    "MLPSynthesizer",
    "Regression",
    "Shrinkage",
    "Synthesizer",
]
