"""What a training step costs: plain PyTorch loop, our truncated step, our synthetic step and a mixed one while its
gradients are real, side by side.

    python benchmarks/cost.py [--quick] [--json FILE]

Rounds are interleaved: in every round each contender runs some updates, and is divided by its reference in the same
round. Reported are the median ratio and its quartiles over rounds. All run in one process, on the same random text,
with the same threads, and keep freed memory as `sgrnn train` does (which the plain loop would not do by itself). Every
update is data, forward, backward, clip and optimizer step.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from records import Record, parser, spread, write_records
from torch import Tensor, nn

import sgrnn
from sgrnn.data import TokenStream
from sgrnn.training.memory import keep_freed_memory


@dataclass(frozen=True)
class Setting:
    """A model and how it is trained; names as in recipes."""

    name: str
    vocabulary: int
    hidden: int
    layers: int
    batch: int
    window: int
    span: int
    optimizer: str
    updates: int  # per round


SETTINGS = [
    Setting("words 2x200, T=20", 10_000, 200, 2, 20, 20, 20, "sgd", 10),
    Setting("words 2x200, T=5, span 20", 10_000, 200, 2, 20, 5, 20, "sgd", 10),
    Setting("characters 1x512, T=5, span 5", 50, 512, 1, 64, 5, 5, "adam", 20),
    Setting("characters 1x512, T=5, span 20", 50, 512, 1, 64, 5, 20, "adam", 5),
    Setting("characters 1x128, T=5, span 5", 50, 128, 1, 64, 5, 5, "adam", 40),
    Setting("characters 1x128, T=5, span 20", 50, 128, 1, 64, 5, 20, "adam", 10),
]


def plain_loop(setting: Setting, text: np.ndarray) -> Callable[[], None]:
    """What a user writes today: torch.nn modules, detached state, default optimizer."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(setting.vocabulary, setting.hidden)
            self.lstm = nn.LSTM(setting.hidden, setting.hidden, setting.layers)
            self.output = nn.Linear(setting.hidden, setting.vocabulary)

        def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            outputs, state = self.lstm(self.embedding(inputs), state)
            return self.output(outputs), state

    model = Plain()
    optimizer = _optimizer(setting, model, fused=False)
    rows = len(text) // setting.batch
    tokens = torch.from_numpy(text[: rows * setting.batch].astype(np.int64)).view(setting.batch, rows).t().contiguous()
    zeros = torch.zeros(setting.layers, setting.batch, setting.hidden)
    state, at = (zeros, zeros), 0

    def update() -> None:
        nonlocal state, at
        for start in range(at, at + setting.span, setting.window):
            inputs, targets = (
                tokens[start : start + setting.window],
                tokens[start + 1 : start + 1 + setting.window],
            )
            state = (state[0].detach(), state[1].detach())
            logits, state = model(inputs, state)
            share = setting.window / setting.span
            (F.cross_entropy(logits.flatten(0, 1), targets.flatten()) * share).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        optimizer.zero_grad()
        at = (at + setting.span) % (rows - setting.span - 1)

    return update


def our_loop(setting: Setting, text: np.ndarray, kind: str) -> Callable[[], None]:
    """The same training with this package: truncated, synthetic, or mixed at a time of real gradients."""
    core = sgrnn.LSTM(setting.hidden, setting.hidden, setting.layers)
    model = sgrnn.LanguageModel(setting.vocabulary, setting.hidden, core, setting.hidden)
    policy: sgrnn.Policy = sgrnn.Truncated(setting.window)
    if kind != "truncated":
        policy = sgrnn.Synthetic(setting.window, model.synthesizer())
    if isinstance(policy, sgrnn.Synthetic) and kind == "mixed":
        policy = sgrnn.Mixed(policy, sgrnn.schedules.Constant(0.0), real_window=setting.window)
    optimizer = _optimizer(setting, model, fused=True)
    synthesizer_optimizer = torch.optim.Adam(policy.parameters(), lr=1e-3, fused=True) if kind != "truncated" else None
    stream = TokenStream(text, 0, setting.batch, setting.span, policy.lookahead_steps)
    state = model.initial_state(setting.batch)

    def update() -> None:
        nonlocal state
        step = policy.backward(model, model.loss, next(stream), state)
        state = step.state
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        optimizer.zero_grad()
        if synthesizer_optimizer is not None:
            synthesizer_optimizer.step()
            synthesizer_optimizer.zero_grad()

    return update


def _optimizer(setting: Setting, model: nn.Module, fused: bool) -> torch.optim.Optimizer:
    kind = torch.optim.SGD if setting.optimizer == "sgd" else torch.optim.Adam
    return kind(model.parameters(), lr=1e-3, fused=True if fused else None)


def measure(setting: Setting, rounds: int) -> list[Record]:
    """Time the contenders in interleaved rounds."""
    text = np.random.default_rng(0).integers(0, setting.vocabulary, 200_000).astype(np.uint16)
    contenders = {
        "plain": plain_loop(setting, text),
        **{kind: our_loop(setting, text, kind) for kind in ("truncated", "synthetic", "mixed")},
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):  # the first round warms up
        for name, update in contenders.items():
            began = time.perf_counter()
            for _ in range(setting.updates):
                update()
            if number:
                times[name].append((time.perf_counter() - began) / setting.updates)
    pairs = {
        "truncated / plain": ("truncated", "plain"),
        "synthetic / truncated": ("synthetic", "truncated"),
        "mixed while real / truncated": ("mixed", "truncated"),
    }
    ratios = {
        name: [ours / theirs for ours, theirs in zip(times[one], times[other], strict=True)]
        for name, (one, other) in pairs.items()
    }
    print(f"\n{setting.name}: V {setting.vocabulary}, batch {setting.batch}, {setting.optimizer}, {rounds} rounds")
    for name, values in times.items():
        print(f"  {name:28s} {spread([1e3 * value for value in values], 2)} ms per update")
    for name, values in ratios.items():
        print(f"  {name:28s} {spread(values)}")
    fixed = {
        "setting": setting.name, "vocabulary": setting.vocabulary, "hidden_size": setting.hidden,
        "num_layers": setting.layers, "batch_size": setting.batch, "window": setting.window, "span": setting.span,
        "threads": torch.get_num_threads(), "rounds": rounds,
    }  # fmt: skip
    return [
        {"metric": f"time ratio {name}", "value": float(np.median(values)), "low": float(np.quantile(values, 0.25)),
         "high": float(np.quantile(values, 0.75)), **fixed}
        for name, values in ratios.items()
    ]  # fmt: skip


def main() -> None:
    """Measure every setting."""
    made = parser(__doc__ or "")
    made.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = made.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    records: list[Record] = []
    for setting in SETTINGS:
        records += measure(setting, rounds=10 if arguments.quick else 40)
    write_records(records, arguments.json)


if __name__ == "__main__":
    main()
