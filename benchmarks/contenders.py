"""The training steps that are timed: ours under each estimator, and what a user writes with torch alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from frame import LARGE, whole
from torch import Tensor, nn
from updates import Updates

import sgrnn
from sgrnn.data import TokenStream

Update = Callable[[], None]
State = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """A model and how it is trained; one update a span."""

    layers: int
    hidden: int
    vocabulary: int
    window: int
    span: int
    batch: int
    precision: str = "float32"
    optimizer: str = "sgd"
    device: str = "cpu"

    @property
    def name(self) -> str:
        shape = f"LSTM {self.layers}x{self.hidden}, V={self.vocabulary:,}"
        return f"{shape}, T={self.window}, span {self.span}, batch {self.batch}, {self.precision}"

    @property
    def tokens(self) -> int:
        """Number of tokens in an update."""
        return self.span * self.batch


class Plain(nn.Module):
    """Embedding, `nn.LSTM`, output layer: logits."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.embedding = nn.Embedding(setting.vocabulary, setting.hidden)
        self.lstm = nn.LSTM(setting.hidden, setting.hidden, setting.layers)
        self.output = nn.Linear(setting.hidden, setting.vocabulary)

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, state = self.lstm(self.embedding(inputs), state)
        return self.output(outputs), state


def plain_loop(setting: Setting, compiled: bool = False, low: bool = False) -> Update:
    """Return what a user writes today: torch's modules, a detached state, torch's default optimizer.

    Args:
        setting: all but its precision.
        compiled: the model through `torch.compile`.
        low: under `torch.autocast` to bfloat16.
    """
    model = Plain(setting).to(setting.device)
    optimizer = make_optimizer(setting, model, fused=None)
    if compiled:
        model.compile()
    text = random_text(setting)
    rows = len(text) // setting.batch
    tokens = torch.from_numpy(text[: rows * setting.batch].astype(np.int64)).view(setting.batch, rows).t().contiguous()
    tokens = tokens.to(setting.device)
    zeros = torch.zeros(setting.layers, setting.batch, setting.hidden, device=setting.device)
    state, at = (zeros, zeros), 0

    def update() -> None:
        nonlocal state, at
        for start in range(at, at + setting.span, setting.window):
            stop = min(start + setting.window, at + setting.span)
            inputs, targets = tokens[start:stop], tokens[start + 1 : stop + 1]
            state = (state[0].detach(), state[1].detach())
            with torch.autocast(setting.device, torch.bfloat16, enabled=low):
                logits, state = model(inputs, state)
                loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten()) * ((stop - start) / setting.span)
            state = (state[0].float(), state[1].float())
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        optimizer.zero_grad()
        at = (at + setting.span) % (rows - setting.span - 1)

    return update


def our_loop(setting: Setting, kind: str, *, low_core: bool = False, **synthesizer: Any) -> Update:
    """Return the training step of `plain_loop`, with this package and a gradient estimator.

    Args:
        setting: the model, and how it is trained.
        kind: "full", "truncated", "exact", "synthetic" or "mixed": a mixed estimator at a time of real gradients; the
            second and the fourth also with ", low memory".
        low_core: take the core's products too in the setting's precision.
        synthesizer: options of `LanguageModel.synthesizer`, and `ahead` as `SyntheticGradients`.
    """
    precision = getattr(torch, setting.precision)
    core = sgrnn.LSTM(setting.hidden, setting.hidden, setting.layers, precision=precision if low_core else None)
    model = sgrnn.LanguageModel(setting.vocabulary, setting.hidden, core, setting.hidden, output_precision=precision)
    device = torch.device(setting.device)
    model, estimator = model.to(device), build_estimator(kind, setting.window, model, **synthesizer).to(device)
    optimizers = [make_optimizer(setting, model, fused=True)]
    learned = list(estimator.parameters())
    if learned:
        optimizers.append(torch.optim.Adam(learned, lr=1e-3, fused=True))
    stream = TokenStream(random_text(setting), 0, setting.batch, setting.span, estimator.lookahead)
    step = Updates(estimator, optimizers, model.parameters(), clip=0.25)
    state = model.initial_state(setting.batch)

    def update() -> None:
        nonlocal state
        state = step(next(stream).to(device), state).state

    return update


def build_estimator(
    kind: str, window: int, model: sgrnn.LanguageModel, ahead: str | None = None, **synthesizer: Any
) -> sgrnn.GradientEstimator:
    """Return the estimator of a kind, as `our_loop` describes it."""
    if kind == "full":
        return sgrnn.BPTT(model, model.loss)
    kind, low_memory = kind.removesuffix(", low memory"), kind.endswith(", low memory")
    if kind == "truncated":
        return sgrnn.TruncatedBPTT(model, model.loss, window, parallel=None, low_memory=low_memory)
    if kind == "exact":
        return sgrnn.ExactAhead(model, model.loss, window, 8, parallel=None)
    estimator = sgrnn.SyntheticGradients(
        model, model.loss, window, synthesizer=model.synthesizer(**synthesizer), ahead=ahead, parallel=None,
        low_memory=low_memory,
    )  # fmt: skip
    return sgrnn.Mixed(estimator, sgrnn.schedules.Constant(0.0), real_window=window) if kind == "mixed" else estimator


CONTENDERS: dict[str, Callable[[Setting], Update]] = {
    "plain": plain_loop,
    "plain, compiled": lambda setting: plain_loop(setting, compiled=True),
    "plain, autocast": lambda setting: plain_loop(setting, low=True),
    "full": lambda setting: our_loop(setting, "full"),
    "truncated": lambda setting: our_loop(setting, "truncated"),
    "truncated, low core": lambda setting: our_loop(setting, "truncated", low_core=True),
    "truncated, low memory": lambda setting: our_loop(setting, "truncated, low memory"),
    "exact": lambda setting: our_loop(setting, "exact"),
    "synthetic": lambda setting: our_loop(setting, "synthetic"),
    "synthetic, large": lambda setting: our_loop(setting, "synthetic", ahead="model", **LARGE),
    "synthetic, light": lambda setting: our_loop(
        setting, "synthetic", ahead="model", lookahead=2, **{**LARGE, "hidden_size": 64, "rank": 16}
    ),
    "synthetic, low memory": lambda setting: our_loop(setting, "synthetic, low memory"),
    "mixed while real": lambda setting: our_loop(setting, "mixed"),
}


def shape(text: str) -> tuple[int, int]:
    """Read layers and units from "2x650"."""
    layers, _, units = text.partition("x")
    return whole(1)(layers), whole(1)(units)


def random_text(setting: Setting) -> np.ndarray:
    """Draw enough random tokens for the longest span."""
    kind = np.uint16 if setting.vocabulary <= 1 << 16 else np.uint32
    return np.random.default_rng(0).integers(0, setting.vocabulary, 400 * setting.tokens).astype(kind)


def make_optimizer(setting: Setting, model: nn.Module, fused: bool | None) -> torch.optim.Optimizer:
    """Return an optimizer of the model."""
    kind = torch.optim.SGD if setting.optimizer == "sgd" else torch.optim.Adam
    return kind(model.parameters(), lr=1e-3, fused=fused)
