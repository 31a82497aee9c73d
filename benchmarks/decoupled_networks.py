"""A network on MNIST whose layers are trained apart, by any of the ways of the papers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch
from torch import Tensor, nn

from sgrnn import decoupled
from sgrnn.data import data_folder
from sgrnn.training.problems.task_problem import read_digits

SIDE, CLASSES = 28, 10
PIXELS = SIDE**2


@dataclass(frozen=True)
class Setting:
    """Network, method and learning rates of a training.

    Args:
        method: a name in `METHODS`.
        layers: of the network, the last counted.
        probability: of a layer to be updated at a step.
        seed: of everything.
        steps: of the whole training.
        rate: of the network.
        synthesizer_rate: of the synthesizers.
        synthesizer_size: units of the two hidden layers of a synthesizer; 0 for a linear one.
        hidden_size, batch_size: as they say; of a network of convolutions its filters.
        network: `fcn`, fully connected, or `cnn`, of convolutions.
        falling: share of the run, in which the rates fall to zero.
    """

    method: str
    layers: int
    probability: float
    seed: int
    steps: int
    rate: float
    synthesizer_rate: float
    synthesizer_size: int
    hidden_size: int = 256
    batch_size: int = 250
    network: str = "fcn"
    falling: float = 0.3


@cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """Return the images (n, PIXELS) from 0 to 1, and the labels (n,) of a split of MNIST."""
    images, labels = read_digits(data_folder())[split]
    return torch.from_numpy(images.reshape(-1, PIXELS)).float() / 255, torch.from_numpy(labels.astype(np.int64))


def _side(number: int) -> int:
    """Return the side of a message of a network of convolutions."""
    return SIDE >> (number + 1)


def _synthetic(told: decoupled.Told, setting: Setting, number: int) -> decoupled.Feedback:
    hidden = (setting.synthesizer_size,) * 2 if setting.synthesizer_size else ()
    known = 0 if told == "nothing" else CLASSES
    if setting.network == "cnn":
        shape = setting.hidden_size, _side(number), _side(number)
        synthesizer: nn.Module = decoupled.ConvolutionalSynthesizer(shape, hidden, known_size=known)
    else:
        synthesizer = decoupled.MessageSynthesizer(setting.hidden_size, hidden, known_size=known)
    return decoupled.SyntheticFeedback(synthesizer, told=told, classes=CLASSES if told == "label" else None)


METHODS: dict[str, Callable[[Setting, nn.Module, int], decoupled.Feedback]] = {
    "backprop": lambda setting, receiver, number: decoupled.Backpropagation(),
    "none": lambda setting, receiver, number: decoupled.NoFeedback(),
    "dni": lambda setting, receiver, number: _synthetic("nothing", setting, number),
    "cdni": lambda setting, receiver, number: _synthetic("label", setting, number),
    "error": lambda setting, receiver, number: _synthetic("error", setting, number),
    "unlocked": lambda setting, receiver, number: _synthetic("label", setting, number),
    "fa": lambda setting, receiver, number: decoupled.FeedbackAlignment(receiver, 100 * setting.seed + number),
    "dfa": lambda setting, receiver, number: decoupled.DirectFeedbackAlignment(
        setting.hidden_size * (_side(number) ** 2 if setting.network == "cnn" else 1),
        CLASSES,
        100 * setting.seed + number,
    ),
    "kickback": lambda setting, receiver, number: decoupled.Kickback(),
}


def build(setting: Setting) -> decoupled.Chain:
    """Build the network with its feedback."""
    torch.manual_seed(setting.seed)
    modules = (
        decoupled.convolutional(SIDE, setting.hidden_size, setting.layers, CLASSES) if setting.network == "cnn"
        else decoupled.fully_connected(PIXELS, setting.hidden_size, setting.layers, CLASSES)
    )  # fmt: skip
    feedback = [METHODS[setting.method](setting, receiver, number) for number, receiver in enumerate(modules[1:])]
    sizes = PIXELS, setting.hidden_size, setting.hidden_size
    inputs = [decoupled.input_synthesizer(*sizes) for _ in feedback] if setting.method == "unlocked" else None
    return decoupled.Chain(
        modules,
        nn.CrossEntropyLoss(reduction="none"),
        feedback,
        input_synthesizers=inputs,
        optimizer=partial(torch.optim.Adam, lr=setting.rate, fused=True),
        synthesizer_optimizer=partial(torch.optim.Adam, lr=setting.synthesizer_rate, fused=True),
        update_probability=setting.probability,
        seed=setting.seed,
    )


def train(chain: decoupled.Chain, setting: Setting, due: Sequence[int], score: Callable[[int], None]) -> None:
    """Train a network by its setting, and call `score` after the steps that are due."""
    images, labels = digits("train")
    generator = torch.Generator().manual_seed(setting.seed)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, setting.steps + 1):
        share = min(1.0, (1 - (step - 1) / setting.steps) / setting.falling)
        for optimizer in chain.optimizers:
            optimizer.param_groups[0]["lr"] = share * setting.rate
        if len(order) < setting.batch_size:
            order = torch.randperm(len(images), generator=generator)
        chosen, order = order[: setting.batch_size], order[setting.batch_size :]
        chain.train_step(images[chosen], labels[chosen])
        if step in due:
            score(step)


@torch.no_grad()
def error_of(chain: decoupled.Chain, split: str) -> float:
    """Return the percentage of a split's images that the network names wrongly."""
    images, labels = digits(split)
    chain.network.eval()
    wrong = sum(
        int((chain(some).argmax(dim=1) != right).sum())
        for some, right in zip(images.split(1000), labels.split(1000), strict=True)
    )
    chain.network.train()
    return 100 * wrong / len(images)
