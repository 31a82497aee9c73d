"""Recipes: the typed description of a training run.

A recipe is a YAML file of the sections below; a field left out takes the default shown here. Recipes are known to
`sgrnn.training` and the command line alone: the library's classes take plain keyword arguments.
"""

from sgrnn.training.recipe.data import (
    Data,
    Tokenizer,
)
from sgrnn.training.recipe.optimization import (
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
from sgrnn.training.recipe.policies import (
    AdjointSynthesizer,
    Alternate,
    AtRestarts,
    Chance,
    ConstantSource,
    ErrorSynthesizer,
    ExactAhead,
    Full,
    Grounding,
    MLPSynthesizer,
    Policy,
    Ramp,
    Synthetic,
    Truncated,
)
from sgrnn.training.recipe.recipe import (
    Diagnosis,
    Level,
    Model,
    Recipe,
    Sample,
    Training,
)
from sgrnn.training.recipe.section import (
    Section,
)
from sgrnn.training.recipe.space import (
    Range,
)
from sgrnn.training.recipe.tasks import (
    Adding,
    Copy,
    Mnist,
    Recall,
    RepeatCopy,
    Task,
)

__all__ = [
    "Adam",
    "AdamW",
    "Adding",
    "AdjointSynthesizer",
    "Alternate",
    "AtRestarts",
    "Chance",
    "Constant",
    "ConstantSource",
    "Copy",
    "Cosine",
    "Data",
    "Diagnosis",
    "ErrorSynthesizer",
    "ExactAhead",
    "Full",
    "Grounding",
    "Level",
    "MLPSynthesizer",
    "Mnist",
    "Model",
    "Optimizer",
    "Plateau",
    "Policy",
    "Ramp",
    "Range",
    "Recall",
    "Recipe",
    "RepeatCopy",
    "Restarts",
    "Sample",
    "Schedule",
    "Section",
    "Sgd",
    "StepDecay",
    "Synthetic",
    "Task",
    "Tokenizer",
    "Training",
    "Truncated",
]
