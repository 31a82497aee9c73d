"""A copy of a synthesizer that stays behind it."""

import torch
from torch import Tensor, nn

from sgrnn.state import State
from sgrnn.synthesizers.lookahead import Lookahead


class Follower(nn.Module):
    """A copy of a synthesizer that stays behind it, to bootstrap from targets that do not chase themselves.

    Args:
        synthesizer: the one that learns. Its parameters stay its own; this module holds copies as buffers.
        rate: share of the way that the copy goes towards the synthesizer at each refresh; 1 copies it.
        every: updates between two refreshes; with rate 1 the copy is frozen in between
            (Marschall, Cho & Savin 2020 copy every 5 updates).
    """

    updates: Tensor

    def __init__(self, synthesizer: nn.Module, rate: float, every: int) -> None:
        super().__init__()
        if not 0 < rate <= 1:
            raise ValueError(f"rate must be in (0, 1], got {rate}")
        if every < 1:
            raise ValueError(f"every must be at least 1 update, got {every}")
        self.rate, self.every = rate, every
        self._leader = [synthesizer]  # in a list, so that its parameters are not registered twice
        self._names = [name for name, _ in synthesizer.named_parameters()]
        for index, parameter in enumerate(synthesizer.parameters()):
            self.register_buffer(f"copy_{index}", parameter.detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    def forward(self, state: State, lookahead: Lookahead | None = None) -> Tensor:
        """What the copy predicts, as the synthesizer's own forward."""
        copies = dict(zip(self._names, self.copies, strict=True))
        return torch.func.functional_call(self._leader[0], copies, (state, lookahead))

    @property
    def copies(self) -> list[Tensor]:
        """The copied parameters, in the synthesizer's order."""
        return [getattr(self, f"copy_{index}") for index in range(len(self._names))]

    @torch.no_grad()
    def follow(self) -> None:
        """Count an update, and refresh the copy if it is due. Call after the synthesizer has been predicted from."""
        self.updates += 1
        if int(self.updates) % self.every == 0:
            for copy, parameter in zip(self.copies, self._leader[0].parameters(), strict=True):
                copy.lerp_(parameter, self.rate)
