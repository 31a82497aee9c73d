"""Views of a run while it trains, of which none that fails costs what was learned."""

from collections.abc import Sequence
from typing import Any, final

from sgrnn.errors import InputError
from sgrnn.training.loop import Report


@final
class Views:
    """Show a run's records in several ways, and remember a failure until all is saved.

    Args:
        views: called with every record.

    Attributes:
        failure: the first, upon which training is to stop; None for none.
    """

    def __init__(self, views: Sequence[Report] = ()) -> None:
        self.views = list(views)
        self.failure: InputError | None = None

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a record."""
        for view in self.views:
            try:
                view(record)
            except InputError as error:
                self.failure = self.failure or error

    def require_none_failed(self) -> None:
        """Raise the first failure, if there is one.

        Raises:
            InputError: a view failed.
        """
        if self.failure is not None:
            raise self.failure from None
