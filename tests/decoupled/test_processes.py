"""Modules in processes of their own: trained in place, with bounded queues; a death is named, a checkpoint left."""

import copy
import os
from functools import partial
from pathlib import Path
from queue import Empty, Full
from typing import Any

import pytest
import torch
from chains import CLASSES, HIDDEN, INPUTS, cross_entropy, make_modules
from torch import Tensor, nn

from sgrnn.decoupled import (
    Backpropagation,
    Chain,
    Feedback,
    MessageSynthesizer,
    NoFeedback,
    SyntheticFeedback,
    convolutional,
)
from sgrnn.decoupled.processes import parts_of, train_in_processes
from sgrnn.decoupled.unit import Mail, Unit
from sgrnn.errors import ProcessLost


def make_synthetic() -> SyntheticFeedback:
    torch.manual_seed(5)
    synthesizer = MessageSynthesizer(HIDDEN, known_size=CLASSES)
    nn.init.normal_(synthesizer.last.weight)
    return SyntheticFeedback(synthesizer, told="label", classes=CLASSES).double()


def make_untrained() -> SyntheticFeedback:
    synthesizer = MessageSynthesizer(HIDDEN, known_size=CLASSES)
    return SyntheticFeedback(synthesizer, told="label", classes=CLASSES).double()


def make_chain(layers: int = 3, unlocked: bool = False, feedback: Any = make_synthetic, **options: Any) -> Chain:
    predictors = [nn.Linear(INPUTS, HIDDEN).double() for _ in range(layers - 1)] if unlocked else None
    optimizer = partial(torch.optim.SGD, lr=0.1)
    return Chain(
        make_modules(layers), cross_entropy, [feedback() for _ in range(layers - 1)], optimizer=optimizer,
        input_synthesizers=predictors, **options,
    )  # fmt: skip


def make_rows(number: int = 40) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    inputs = torch.randn(number, INPUTS, dtype=torch.float64)
    return inputs, inputs[:, :CLASSES].argmax(dim=1)


def loss_of(chain: Chain) -> float:
    inputs, targets = make_rows()
    with torch.no_grad():
        return float(cross_entropy(chain(inputs), targets).mean())


class Box:
    """A bounded queue inside a process."""

    def __init__(self, size: int) -> None:
        self.letters: list[Any] = []
        self.size = size

    def put_nowait(self, letter: Any) -> None:
        if len(self.letters) == self.size:
            raise Full
        self.letters.append(letter)

    def get_nowait(self) -> Any:
        if not self.letters:
            raise Empty
        return self.letters.pop(0)


def make_units(chain: Chain, inputs: Tensor, targets: Tensor, pending: int = 4) -> list[Unit]:
    boxes: list[Any] = [None, *(Mail(Box(pending), Box(pending)) for _ in chain.feedback), None]  # pyright: ignore
    return [
        Unit(part, inputs, targets, 6, boxes[number], boxes[number + 1], pending, seed=number)
        for number, part in enumerate(parts_of(chain, inputs))
    ]


@pytest.mark.parametrize("unlocked", [False, True])
def test_one_batch_that_goes_up_and_back_down_has_the_gradients_of_a_pass(unlocked: bool) -> None:
    inputs, targets = make_rows()
    chain, other = make_chain(unlocked=unlocked), make_chain(unlocked=unlocked)
    other.load_state_dict(chain.state_dict())
    units = make_units(chain, inputs, targets)
    for unit in units:
        unit.step()  # from the lowest, each by what was sent
    for unit in units[:-1]:
        assert unit._learn_from_answers()
    rows = torch.randint(40, (6,), generator=torch.Generator().manual_seed(0))
    assert float(torch.rand((), generator=torch.Generator().manual_seed(0))) < 1
    other.train_step(inputs[rows], targets[rows])
    torch.testing.assert_close(chain.state_dict(), other.state_dict(), rtol=1e-10, atol=1e-12)
    assert [unit.updates for unit in units] == [1, 1, 1]


def test_a_unit_with_nothing_to_read_does_nothing_or_draws_a_batch_of_its_own() -> None:
    inputs, targets = make_rows()
    locked, unlocked = (make_units(make_chain(unlocked=one), inputs, targets)[1] for one in (False, True))
    assert not locked.step()
    assert unlocked.step()
    assert (locked.updates, unlocked.updates) == (0, 1)
    assert unlocked.below is not None
    assert unlocked.below.down.letters == [], "nobody has asked"  # pyright: ignore[reportAttributeAccessIssue]


def test_a_prediction_that_nothing_was_sent_for_has_the_shape_of_a_message() -> None:
    inputs, labels = torch.randn(12, 16), torch.randint(CLASSES, (12,))
    modules = convolutional(side=4, channels=2, layers=3, output_size=CLASSES)
    assert isinstance(modules[1], nn.Sequential)
    modules[1].append(nn.BatchNorm2d(2, track_running_stats=False))  # of a batch of one row there are no statistics
    before = copy.deepcopy(modules[0].state_dict())
    chain = Chain(
        modules, cross_entropy, [NoFeedback(), NoFeedback()], input_synthesizers=[nn.Linear(16, 8), nn.Linear(16, 2)]
    )
    units = make_units(chain, inputs, labels)
    torch.testing.assert_close(modules[0].state_dict(), before)
    assert [unit.step() for unit in units[1:]] == [True, True]


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_modules_write_into_messages_of_any_precision_and_may_be_held_fixed(precision: torch.dtype) -> None:
    inputs, targets = make_rows()
    lowest = nn.Linear(INPUTS, HIDDEN).requires_grad_(False)
    modules = [lowest, nn.Sequential(nn.ReLU(inplace=True), nn.Linear(HIDDEN, CLASSES))]
    predictor = nn.Linear(INPUTS, HIDDEN).requires_grad_(False)
    for input_synthesizers in (None, [predictor]):
        chain = Chain(modules, cross_entropy, [make_untrained()], input_synthesizers=input_synthesizers).to(precision)
        units = make_units(chain, inputs.to(precision), targets)
        before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
        assert [unit.step() for unit in units] == [True, True]
        assert units[0]._learn_from_answers()
        moved = {name for name, tensor in chain.state_dict().items() if not torch.equal(tensor, before[name])}
        assert {"network.1.1.weight", "feedback.0.interface.predictor.synthesizer.last.weight"} <= moved
        assert not any(name.startswith(("network.0", "input_synthesizers")) for name in moved)


def test_a_loss_of_other_shape_is_refused_in_its_process_too() -> None:
    chain, (inputs, targets) = make_chain(2), make_rows()
    chain.loss = lambda outputs, targets: cross_entropy(outputs, targets).unsqueeze(1)
    lowest, last = make_units(chain, inputs, targets)
    lowest.step()
    with pytest.raises(ValueError, match=r"^loss must give one number per row, \(6,\), got \(6, 1\)$"):
        last.step()


def test_messages_that_pile_up_are_dropped_and_their_answers_not_waited_for() -> None:
    inputs, targets = make_rows()
    lowest, middle, _ = make_units(make_chain(), inputs, targets, pending=2)
    for _ in range(5):
        lowest.step()
    assert (lowest.updates, lowest.dropped, len(lowest._sent)) == (5, 3, 2)
    middle.step()
    assert lowest.step()
    assert (lowest.updates, lowest.dropped, len(lowest._sent)) == (6, 3, 2)


def test_a_unit_whose_turn_it_is_not_sends_and_is_not_updated() -> None:
    inputs, targets = make_rows()
    units = make_units(make_chain(update_probability=1e-9), inputs, targets)
    before = [parameter.clone() for unit in units for parameter in unit.part.module.parameters()]
    for unit in units:
        assert unit.step()
    assert [unit.updates for unit in units] == [0, 0, 0]
    after = [parameter for unit in units for parameter in unit.part.module.parameters()]
    assert all(torch.equal(*both) for both in zip(before, after, strict=True))


def test_in_processes_all_modules_learn_in_place_and_the_chain_is_the_network(tmp_path: Path) -> None:
    chain, (inputs, targets) = make_chain(feedback=make_untrained), make_rows()
    before = {name: tensor.clone() for name, tensor in chain.state_dict().items()}
    losses = [loss_of(chain)]
    path = tmp_path / "chain.pt"
    trained = train_in_processes(
        chain, inputs, targets, batch_size=6, updates=300, processes=2, pending=2, checkpoint=path, save_every=0.2
    )
    losses.append(loss_of(chain))
    assert len(trained) == 3
    assert all(one.updates >= 300 and one.seconds > 0 for one in trained)
    assert losses[1] < 0.5 * losses[0]
    for name, parameter in chain.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    fresh = make_chain(feedback=make_untrained)
    fresh.load_state_dict(torch.load(path))
    torch.testing.assert_close(fresh(inputs), chain(inputs))


class Deadly(Feedback):
    """Ends its process, as an operating system short of memory would, at its fourth reply."""

    def __init__(self) -> None:
        super().__init__()
        self.replies = 0

    def reply(self, exchange: Any) -> Tensor | None:
        self.replies += 1
        if self.replies == 4:
            os._exit(9)
        return None


def test_a_process_that_dies_ends_the_run_by_name_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    chain, (inputs, targets) = make_chain(2, feedback=Deadly), make_rows()
    path = tmp_path / "chain.pt"
    with pytest.raises(
        ProcessLost,
        match=r"^the process of modules\.0 has ended with exit code 9, after \[3, \d+\] updates of the modules; the "
        rf"modules as far as they had come are in {path}$",
    ):
        train_in_processes(chain, inputs, targets, batch_size=6, updates=10**9, checkpoint=path)
    fresh = make_chain(2, feedback=NoFeedback)
    fresh.load_state_dict(torch.load(path))
    torch.testing.assert_close(fresh(inputs), chain(inputs))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"processes": 4}, "processes must be at most the modules, 3, got 4"),
    ({"processes": 0}, "processes must be at least 1, got 0"),
    ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
    ({"updates": 0}, "updates must be at least 1, got 0"),
    ({"pending": 0}, "pending must be at least 1, got 0"),
    ({"targets": torch.zeros(3)}, "targets must be as many as inputs, 40, and not none, got 3"),
    ({"chain": make_chain(feedback=Backpropagation)}, "feedback.0 must wait for nothing, so that no process does, got "
     "Backpropagation, which waits for the receiver"),
]  # fmt: skip


def test_what_cannot_be_trained_in_processes_is_refused_by_name() -> None:
    inputs, targets = make_rows()
    good: dict[str, Any] = {
        "chain": make_chain(), "inputs": inputs, "targets": targets, "batch_size": 4, "updates": 1
    }  # fmt: skip
    for options, message in REFUSED:
        with pytest.raises(ValueError, match=f"^{message}$"):
            train_in_processes(**{**good, **options})


def test_a_checkpoint_without_a_folder_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    inputs, targets = make_rows()
    for place in (tmp_path / "nowhere" / "chain.pt", str(tmp_path)):
        with pytest.raises(ValueError, match=r"^checkpoint must be a file in a folder that is there, got "):
            train_in_processes(make_chain(), inputs, targets, batch_size=4, updates=1, checkpoint=place)
