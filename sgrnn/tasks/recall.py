"""The delayed-recall task: one token to be remembered for a set number of steps, to test how far credit reaches."""

from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from sgrnn.errors import at_least
from sgrnn.tasks.scores import class_correct, cross_entropy
from sgrnn.tasks.task import Task


@final
class DelayedRecall(Task):
    """Read a token at the first step, and name it at the last, `lag` steps later, when a cue asks for it.

        step     0      1 ... lag-1   lag
        input    token  0             cue
        target                        token

    An episode has S = lag + 1 steps. Guessing costs log(tokens) nats. Gradients that are cut within the lag never reach
    the step that reads the token: a model that learns from them alone can name what by chance survives until the cue.

    Inputs are the token as a one-hot vector, and the cue; outputs are unnormalized log-probabilities of the tokens.

    >>> task = DelayedRecall(lag=3, batch_size=2, tokens=4)
    >>> episode = task.draw()
    >>> episode.inputs.shape
    torch.Size([4, 2, 5])
    >>> torch.equal(episode.inputs[0, :, :4], episode.targets[3, :, :4])
    True

    Args:
        lag: steps from the token to where it is asked for.
        batch_size: B, the number of rows.
        tokens: number of different tokens; they are equally likely.
        seed: of the episodes.
    """

    loss = staticmethod(cross_entropy)
    correct = staticmethod(class_correct)

    def __init__(self, lag: int, batch_size: int, *, tokens: int = 8, seed: int = 0) -> None:
        self.lag, self.tokens = at_least("lag", lag, 1), at_least("tokens", tokens, 2)
        super().__init__(tokens + 1, tokens, batch_size, seed, lag=lag, tokens=tokens)

    @property
    def steps(self) -> int:
        """S = lag + 1, the number of steps."""
        return self.lag + 1

    def _draw(self) -> tuple[Tensor, Tensor]:
        tokens = torch.randint(0, self.tokens, (self.batch_size,), generator=self._generator)
        shown = F.one_hot(tokens, self.tokens).float()
        inputs = torch.zeros(self.steps, self.batch_size, self.tokens + 1)
        inputs[0, :, :-1] = shown
        inputs[-1, :, -1] = 1
        targets = torch.zeros(self.steps, self.batch_size, self.tokens + 1)
        targets[-1, :, :-1] = shown
        targets[-1, :, -1] = 1
        return inputs, targets
