"""An interface whose predictions are given."""

import torch
from torch import Tensor, nn

from sgrnn.synthesizers import Interface


class Given(nn.Module):
    """In the place of a synthesizer: predicts what it is given, in the interface's units."""

    def __init__(self, answers: list[Tensor]) -> None:
        super().__init__()
        self.answers, self.interface = answers, []
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, message: Tensor, known: object = None) -> Tensor:
        (interface,) = self.interface
        return (self.weight * self.answers.pop(0) / interface.predictor.mean_square.sqrt()).unsqueeze(1)


def make_oracle(answers: list[Tensor]) -> Interface:
    given = Given(answers)
    interface = Interface(given, shrinkage=False).double()
    interface.predictor.mean_square.fill_(0.09)
    given.interface.append(interface)
    return interface
