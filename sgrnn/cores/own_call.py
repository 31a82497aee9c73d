"""The way in which somebody's module is called, and hands back outputs and state."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

Own = Any  # a state as somebody's module has it


class OwnCall:
    """Call a module with inputs and a state of its own, under the names that it has for them.

    Args:
        module: the module; held by its owner and handed over at every call.
        call, state, returned, keywords: as `AdaptedCore`.

    Raises:
        TypeError: the module does not take one of the keywords.
    """

    def __init__(
        self,
        module: nn.Module,
        call: Callable[..., Any] | None,
        state: str | Sequence[str] | None,
        returned: tuple[int | str, int | str] | None,
        keywords: dict[str, Any],
    ) -> None:
        self.call, self.returned, self.keywords = call, returned, keywords
        self.state = state if state is None or isinstance(state, str) else tuple(state)
        self.name = type(module).__name__
        self.takes = "anything"
        parameters = _parameters(module.forward if call is None else call)
        if parameters is None or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
            return
        self.takes = ", ".join(parameters)
        for name in (*([state] if isinstance(state, str) else state or ()), *keywords):
            if name not in parameters:
                raise TypeError(f"{self.name} takes no keyword {name}: it takes {self.takes}")

    def __call__(self, module: nn.Module, inputs: Any, own: Own) -> tuple[Any, Own]:
        """Return outputs and state.

        Raises:
            TypeError: the module returns them in another form than was declared.
        """
        called, arguments = (module, [inputs]) if self.call is None else (self.call, [module, inputs])
        given: dict[str, Own] = {}
        if self.state is None:
            arguments.append(own)
        elif isinstance(self.state, str):
            given = {self.state: own}
        else:
            given = dict.fromkeys(self.state) if own is None else self._named(own)
        try:
            result = called(*arguments, **given, **self.keywords)
        except Exception as error:
            begins = "None for a state" if own is None else "a state"
            error.add_note(
                f"sgrnn.AdaptedCore called {self.name} with {begins}: batch_first, by_step, state and call say how"
            )
            raise
        outputs, own = self._parts(result)
        return outputs, self._named(own) if isinstance(self.state, tuple) else own

    def _parts(self, result: Any) -> tuple[Any, Own]:
        several = isinstance(result, tuple | list | dict)
        if self.returned is None and not (several and not isinstance(result, dict) and len(result) == 2):
            remedy = "name the two, returned=(0, 2)" if several else f"ask for the state by a keyword ({self.takes})"
            raise TypeError(f"{self.name} must return (outputs, state), got {_described(result)}: {remedy}")
        places = self.returned or (0, 1)
        try:
            outputs, own = (_at(result, place) for place in places)
        except (LookupError, AttributeError, TypeError):
            raise TypeError(
                f"{self.name} must return outputs and state at {places}, got {_described(result)}: returned must hold "
                "their places, or their names"
            ) from None
        if own is None:
            raise TypeError(f"{self.name} must return a state, got None: ask for it by a keyword ({self.takes})")
        return outputs, own

    def _named(self, own: Own) -> dict[str, Own]:
        """Return a state in parts by the names under which the module takes them."""
        assert isinstance(self.state, tuple)
        if isinstance(own, dict) and own.keys() == set(self.state):
            return {name: own[name] for name in self.state}
        if isinstance(own, tuple | list) and len(own) == len(self.state):
            return dict(zip(self.state, own, strict=True))
        raise TypeError(
            f"{self.name} must return the {len(self.state)} parts of its state, {', '.join(self.state)}, got "
            f"{_described(own)}"
        )


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter] | None:
    """Return the parameters of a function by name; None where it does not tell, as a compiled one."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def _at(result: Any, place: int | str) -> Any:
    return getattr(result, place) if isinstance(place, str) and not isinstance(result, dict) else result[place]


def _described(result: Any) -> str:
    if isinstance(result, dict):
        return f"a {type(result).__name__} of {', '.join(map(str, result))}"
    return f"a {type(result).__name__}" + (f" of {len(result)}" if isinstance(result, tuple | list) else "")
