"""Recipes: the typed description of a training run.

A recipe is a YAML file of the sections below; a field left out takes the default shown here. Recipes are known to
`sgrnn.training` and the command line alone: the library's classes take plain keyword arguments.
"""

from sgrnn.config.data import (
    Data,
    Tokenizer,
)
from sgrnn.config.gradient import (
    BPTT,
    AdjointSynthesizer,
    Alternate,
    AtRestarts,
    Bernoulli,
    ConstantSource,
    ErrorSynthesizer,
    ExactAhead,
    Gradient,
    Grounding,
    MLPSynthesizer,
    Ramp,
    SyntheticGradients,
    TruncatedBPTT,
)
from sgrnn.config.optimization import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Optimizer,
    Plateau,
    Restarts,
    Schedule,
    Sgd,
    StepDecay,
)
from sgrnn.config.recipe import (
    Diagnosis,
    Level,
    Model,
    Recipe,
    Sample,
    Training,
)
from sgrnn.config.section import (
    Section,
)
from sgrnn.config.tasks import (
    Adding,
    Copy,
    Mnist,
    Recall,
    RepeatCopy,
    Task,
)

__all__ = [
    "BPTT",
    "Adam",
    "AdamW",
    "Adding",
    "AdjointSynthesizer",
    "Alternate",
    "AtRestarts",
    "Bernoulli",
    "Constant",
    "ConstantSource",
    "Copy",
    "Cosine",
    "Data",
    "Diagnosis",
    "ErrorSynthesizer",
    "ExactAhead",
    "Gradient",
    "Grounding",
    "Level",
    "MLPSynthesizer",
    "Mnist",
    "Model",
    "Optimizer",
    "Plateau",
    "Ramp",
    "Recall",
    "Recipe",
    "RepeatCopy",
    "Restarts",
    "Sample",
    "Schedule",
    "Section",
    "Sgd",
    "StepDecay",
    "SyntheticGradients",
    "Task",
    "Tokenizer",
    "Training",
    "TruncatedBPTT",
]
