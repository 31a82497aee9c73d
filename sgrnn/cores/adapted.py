"""An adapter that makes a core of anybody's recurrent module."""

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from sgrnn.contract.buffers import kept_buffers
from sgrnn.contract.modules import called, forked_random, tensor_of
from sgrnn.cores.initial import equal_but_for_rounding
from sgrnn.cores.own_call import Own, OwnCall
from sgrnn.cores.own_layout import OwnLayout, map_own, tensors_of
from sgrnn.span import Steps
from sgrnn.state import State, leaves, map_state

_LOOKED_AT = 8  # steps, after which what keeps the last few inputs, such as a short convolution, has its full size


@final
class AdaptedCore(nn.Module):
    """Make a core ``(inputs, state) -> (outputs, state)``, time first, of a module that is called in another way.

    The core's state is the tuple of the tensors in the module's own, in their order, or the tensor if it is one; the
    axis that counts rows, wherever the module has it, becomes that before the last. Which it is is found at the first
    call, by running the module with two rows and with three. Vectors (batch,) become (batch, 1), complex tensors
    (..., features, batch, 2). A module that writes into its state is given a copy.

    A sequence begins with None, if that means zeros to the module, or with `initial_state`.

    >>> core = AdaptedCore(nn.LSTM(3, 5, batch_first=True), batch_first=True)
    >>> outputs, (hidden, cell) = core(torch.zeros(7, 2, 3), None)
    >>> outputs.shape, cell.shape
    (torch.Size([7, 2, 5]), torch.Size([1, 2, 5]))

    For modules of other packages:

        AdaptedCore(minGRU(64), state="prev_hidden", return_next_prev_hidden=True, batch_first=True)
        AdaptedCore(attention, state="initial_state", output_final_state=True, batch_first=True)
        AdaptedCore(layer, state=("conv_state", "slstm_state"), return_last_state=True, batch_first=True)
        AdaptedCore(block, returned=(0, 2), batch_first=True)      # it returns outputs, weights, state
        AdaptedCore(Mamba(config), Mamba.step, by_step=True, initial_state=caches)
        AdaptedCore(nn.GRUCell(8, 8), lambda cell, x, h: (h := cell(x, h), h), by_step=True)

    Args:
        module: the module that is trained.
        call: what is called in the place of it, with the module, inputs and state: one of its methods, taken from its
            class, or a function, which can make of any call the one that is wanted.
        batch_first: True for a module that reads and gives (batch, time, ...).
        by_step: True for a module that reads and gives one step at a time, (batch, ...), as a cell does.
        state: the keyword under which the module takes its state; several for one that takes it in parts, and returns
            it as a dict of these names or a tuple in this order. None for the second argument.
        returned: the places, or the names, of outputs and state in what the module returns.
        initial_state: function from the number of rows to the state, as the module has it, in which sequences begin.
            It is put on the module's device, and in its precision at least.
        keywords: further keywords of every call.

    Raises:
        TypeError: the module does not take one of the keywords, or reads backwards too.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Callable[..., Any] | None = None,
        *,
        batch_first: bool = False,
        by_step: bool = False,
        state: str | Sequence[str] | None = None,
        returned: tuple[int | str, int | str] | None = None,
        initial_state: Callable[[int], Own] | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__()
        if batch_first and by_step:
            raise ValueError("batch_first is for a module that reads many steps, by_step for one that reads a single")
        if isinstance(module, nn.RNNBase) and module.bidirectional:
            raise TypeError("a core reads forwards only: bidirectional must be False")
        self.adapted = module
        self.batch_first, self.by_step, self.begin = batch_first, by_step, initial_state
        self._own_call = OwnCall(module, call, state, returned, keywords)
        self._name = type(module).__name__
        self._layout: OwnLayout | None = None
        self._writes = False

    @property
    def initial_state(self) -> Callable[[int], State] | None:
        """Function from the number of rows to the state in which sequences begin; None before it is known."""
        return None if self.begin is None and self._layout is None else self._initial_state

    def first_state(self, inputs: Steps) -> State:
        """Return the state in which sequences begin, for as many rows as inputs (time, batch, ...) have.

        Raises:
            TypeError, ValueError: as `forward`.
        """
        self._layout = self._layout or self._look(inputs)
        return self._initial_state(leaves(inputs)[0].shape[1])

    def forward(self, inputs: Steps, state: State = None) -> tuple[Any, State]:
        """Run the module over inputs (time, batch, ...).

        Raises:
            TypeError: what the module returns, or its state, is something else than was declared.
            ValueError: no axis, or more than one, of a state tensor counts the rows; the module ignores its state, or
                takes None for something else than zeros.
        """
        layout = self._layout = self._layout or self._look(inputs)
        own = self._begin(leaves(inputs)[0].shape[1]) if state is None else layout.own(state)
        outputs, after = self._run(inputs, own)
        return outputs, layout.ours(after)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}=True" for name in ("batch_first", "by_step") if getattr(self, name))

    def _initial_state(self, batch_size: int) -> State:
        if self.begin is None:
            assert self._layout is not None, "the property and first_state see to it"
            return self._layout.zeros(batch_size, tensor_of(self.adapted))
        self._layout = self._layout or OwnLayout(self._begin(2), self._begin(3), self._name, tensor_of(self.adapted))
        return self._layout.ours(self._begin(batch_size))

    def _begin(self, rows: int) -> Own:
        """Return the module's own state in which sequences begin, on its device, in its precision at least."""
        if self.begin is None:
            return None
        like = tensor_of(self.adapted)

        def moved(tensor: Tensor) -> Tensor:
            number = tensor.is_floating_point() or tensor.is_complex()
            return tensor.to(like.device, torch.promote_types(tensor.dtype, like.dtype) if number else tensor.dtype)

        return map_own(moved, self.begin(rows), self._name)

    def _run(self, inputs: Steps, own: Own) -> tuple[Any, Own]:
        """Run the module over inputs (time, batch, ...) and a state of its own."""
        if not self.by_step:
            outputs, own = self._once(map_state(_transposed, inputs) if self.batch_first else inputs, own)
            return map_state(_transposed, outputs) if self.batch_first else outputs, own
        steps: list[Any] = []
        for step in range(leaves(inputs)[0].shape[0]):
            outputs, own = self._once(map_state(lambda each, step=step: each[step], inputs), own)
            steps.append(outputs)
        return map_state(lambda *each: torch.stack(each), *steps), own

    def _once(self, inputs: Any, own: Own) -> tuple[Any, Own]:
        own = map_own(Tensor.clone, own, self._name) if self._writes else own
        return self._own_call(self.adapted, inputs, own)

    def _look(self, inputs: Steps) -> OwnLayout:
        """Find the axes of the module's own state, and hold it to what was declared; leave it as it is."""
        like = leaves(inputs)[0]
        two, three = (map_state(lambda each, rows=rows: _alike(each, rows), inputs) for rows in (2, 3))

        def run(steps: Steps, own: Own) -> tuple[Any, Own]:
            with forked_random(like.device):  # the same masks every time
                return called(self._run, steps, own)

        with torch.no_grad(), kept_buffers(self.adapted):
            outputs, own = run(two, self._begin(2))
            more, of_three = run(three, self._begin(3))
            layout = OwnLayout(own, of_three, self._name, tensor_of(self.adapted))
            self._require_outputs(outputs, two)
            self._require_outputs(more, three)
            first = layout.zeros(2, tensor_of(self.adapted)) if self.begin is None else layout.ours(self._begin(2))

            def from_two_states(steps: Steps) -> list[list[Tensor]]:
                starts = [layout.own(map_state(lambda each, by=by: _plus(each, by), first)) for by in (0, 1)]
                versions = [tensor._version for tensor in tensors_of(starts, self._name)]
                ends = [run(steps, start) for start in starts]
                self._writes = self._writes or versions != [each._version for each in tensors_of(starts, self._name)]
                return [[*leaves(out), *leaves(layout.ours(end))] for out, end in ends]

            again, other = from_two_states(two)
            blind = all(map(equal_but_for_rounding, again, other))
            for other_inputs in (torch.zeros_like, torch.ones_like):  # some may have said that a sequence begins
                blind = blind and all(map(equal_but_for_rounding, *from_two_states(map_state(other_inputs, two))))
        begun = [*leaves(outputs), *leaves(layout.ours(own))]
        if blind:
            raise ValueError(
                f"{self._name} takes no notice of the state that it is given: name the keyword that it is for, state=, "
                f"one of {self._own_call.takes}"
            )
        if not all(map(equal_but_for_rounding, begun, again)):
            raise ValueError(
                f"{self._name} does not begin in zeros where it is given None: hand over a function, initial_state=, "
                "from the number of rows to the state in which it does"
            )
        return layout

    def _require_outputs(self, outputs: Any, inputs: Steps) -> None:
        expected = tuple(leaves(inputs)[0].shape[:2])
        for tensor in leaves(outputs):
            if tensor.shape[:2] != expected:
                found, order = tuple(tensor.shape), "time, batch"
                if self.batch_first and len(found) > 1:
                    expected, found, order = expected[::-1], (found[1], found[0], *found[2:]), "batch, time"
                raise ValueError(
                    f"{self._name} must give outputs ({order}, ...), here ({expected[0]}, {expected[1]}, ...), got "
                    f"{found}: is batch_first right? Does it read single steps (by_step=True)?"
                )


def _transposed(steps: Tensor) -> Tensor:
    return steps.transpose(0, 1)


def _alike(steps: Tensor, rows: int) -> Tensor:
    """Return the first row of steps (time, batch, ...) so many times, repeated over `_LOOKED_AT` steps or more."""
    times = -(-_LOOKED_AT // steps.shape[0])
    return steps[:, :1].detach().repeat(times, rows, *(1 for _ in steps.shape[2:]))


def _plus(tensor: Tensor, by: int) -> Tensor:
    """Add varied numbers, since what is the same everywhere goes unnoticed where a state is normalized."""
    varied = torch.linspace(by, 2 * by, tensor.numel(), device=tensor.device).view_as(tensor)
    return tensor + varied.to(tensor.dtype) if tensor.is_floating_point() else tensor.clone()
