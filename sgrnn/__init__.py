"""Truncated back-propagation through time with synthetic gradients, for recurrent networks.

estimator = sgrnn.SyntheticGradients(core, loss, window=5)
state = None
for span in sgrnn.spans(inputs, targets, steps=20, lookahead=estimator.lookahead):
    step = estimator.backward(span, state)   # fills .grad of core, synthesizer, and whatever else the loss reaches
    ...                                      # clip and step the optimizers
    state = step.state
"""

from typing import TYPE_CHECKING

from sgrnn.lazy import importer

if TYPE_CHECKING:
    from sgrnn.cores import GRU, LSTM, RNN, AdaptedCore, HierarchicalCore, SequentialCore, initial_state
    from sgrnn.cores.dropout import Dropout
    from sgrnn.cores.locked import LockedDropout
    from sgrnn.errors import InputError
    from sgrnn.estimators import (
        BPTT,
        Boundary,
        Checkpointed,
        ControlVariate,
        Delayed,
        ExactAhead,
        GradientEstimator,
        Mixed,
        Step,
        SyntheticGradients,
        TruncatedBPTT,
        schedules,
    )
    from sgrnn.estimators.online import RTRL, UORO, BPLambda, SnAp1
    from sgrnn.models.adaptive_softmax import AdaptiveSoftmax
    from sgrnn.models.cache import NeuralCache
    from sgrnn.models.dynamic import DynamicEvaluation, gradient_rms
    from sgrnn.models.evaluation import Score, evaluate
    from sgrnn.models.generation import generate
    from sgrnn.models.language_model import LanguageModel
    from sgrnn.muon import Muon
    from sgrnn.sequences import spans
    from sgrnn.session import train
    from sgrnn.span import Span
    from sgrnn.state import State, state_size
    from sgrnn.stream import Stream
    from sgrnn.synthesizers import (
        AdjointSynthesizer,
        DiagonalSynthesizer,
        ErrorSynthesizer,
        Interface,
        Lookahead,
        MLPSynthesizer,
        Shrinkage,
        Synthesizer,
    )
    from sgrnn.training.exporting import export
    from sgrnn.training.loading import load
    from sgrnn.training.scoring import score

__version__ = "0.1.0"

__all__ = [
    "BPTT",
    "GRU",
    "LSTM",
    "RNN",
    "RTRL",
    "UORO",
    "AdaptedCore",
    "AdaptiveSoftmax",
    "AdjointSynthesizer",
    "BPLambda",
    "Boundary",
    "Checkpointed",
    "ControlVariate",
    "Delayed",
    "DiagonalSynthesizer",
    "Dropout",
    "DynamicEvaluation",
    "ErrorSynthesizer",
    "ExactAhead",
    "GradientEstimator",
    "HierarchicalCore",
    "InputError",
    "Interface",
    "LanguageModel",
    "LockedDropout",
    "Lookahead",
    "MLPSynthesizer",
    "Mixed",
    "Muon",
    "NeuralCache",
    "Score",
    "SequentialCore",
    "Shrinkage",
    "SnAp1",
    "Span",
    "State",
    "Step",
    "Stream",
    "Synthesizer",
    "SyntheticGradients",
    "TruncatedBPTT",
    "evaluate",
    "export",
    "generate",
    "gradient_rms",
    "initial_state",
    "load",
    "schedules",
    "score",
    "spans",
    "state_size",
    "train",
]

_HOMES = {
    "cores": "GRU LSTM RNN AdaptedCore HierarchicalCore SequentialCore initial_state",
    "cores.dropout": "Dropout",
    "cores.locked": "LockedDropout",
    "errors": "InputError",
    "estimators": (
        "BPTT Boundary Checkpointed ControlVariate Delayed ExactAhead GradientEstimator Mixed Step SyntheticGradients "
        "TruncatedBPTT schedules"
    ),
    "estimators.online": "RTRL UORO BPLambda SnAp1",
    "models.adaptive_softmax": "AdaptiveSoftmax",
    "models.cache": "NeuralCache",
    "models.dynamic": "DynamicEvaluation gradient_rms",
    "models.evaluation": "Score evaluate",
    "models.generation": "generate",
    "models.language_model": "LanguageModel",
    "muon": "Muon",
    "sequences": "spans",
    "session": "train",
    "span": "Span",
    "state": "State state_size",
    "stream": "Stream",
    "synthesizers": (
        "AdjointSynthesizer DiagonalSynthesizer ErrorSynthesizer Interface Lookahead MLPSynthesizer Shrinkage "
        "Synthesizer"
    ),
    "training.exporting": "export",
    "training.loading": "load",
    "training.scoring": "score",
}

if not TYPE_CHECKING:  # to a type checker the names above are all there are
    __getattr__ = importer(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
