"""A run at a service that tracks experiments: the same one there whenever the run goes on."""

import sys
from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

from sgrnn.errors import InputError, quoted
from sgrnn.training.checkpoints import latest_update
from sgrnn.training.kept import keep, kept
from sgrnn.training.loggers.metrics import metrics_of
from sgrnn.training.loop import Interrupted
from sgrnn.training.run import Run

End = Literal["complete", "stopped", "failed"]


class Tracker(ABC):
    """A run's records at a service, each metric once at its update, however often the run was killed and resumed.

    RUN/KIND.json keeps the id that the service knows the run by. When a run goes on it logs again what came after its
    latest checkpoint; of that, the service is not told what it knows: what it says itself, or else what metrics.jsonl
    says that it was told. A service that fails while the run trains does not end the training: it is told the rest when
    the run is resumed.

    Args:
        run: the run.

    Attributes:
        kind: as `training.loggers` names the service.
        spoken: as people do.
        advice: on what to do where it cannot be reached.
        first_wanted: the first update that the service has nothing of, which `open` sets where the service can say.
    """

    kind: ClassVar[str]
    spoken: ClassVar[str]
    advice: ClassVar[str]

    def __init__(self, run: Run) -> None:
        self.run = run
        self.first_wanted: int | None = None
        self._lost = False

    @property
    def project(self) -> str:
        """Name under which the service groups runs: that of the folder in which the run's lies."""
        return self.run.folder.resolve().parent.name or "sgrnn"

    @property
    def name(self) -> str:
        """Name of the run at the service: that of its folder."""
        return self.run.folder.resolve().name

    @abstractmethod
    def open(self, known: str | None) -> str:
        """Begin a run at the service, or go on with one, and return its id.

        Args:
            known: the id of the run to go on with; None for a new one.
        """

    @abstractmethod
    def send(self, update: int, metrics: dict[str, float]) -> None:
        """Log metrics at an update."""

    @abstractmethod
    def close(self, end: End) -> None:
        """Wait until everything has been sent, and say how the training ended."""

    def __enter__(self) -> Self:
        records, latest = list(self.run.records()), latest_update(self.run.checkpoints) or 0
        before = self._kept()
        told = before.get("told", len(records)) if before else 0
        lasting = [record for record in records if record["update"] <= latest]
        try:
            self._id = self.open(before.get("id"))
            first = self.first_wanted
            missing = lasting[told:] if first is None else [each for each in lasting if each["update"] >= first]
            for record in missing:
                self.send(record["update"], metrics_of(record))
        except Exception as error:  # of what classes, only the service's client knows
            raise InputError(
                f"{self.run.folder}: {self.spoken} cannot be logged to: {_line(error)}; {self.advice}, or "
                f"train without {self.kind} in training.loggers"
            ) from None
        taken_back = records[len(lasting) : told] if first is None else []
        self._known = {(record["update"], name) for record in taken_back for name in record}
        self._told = len(lasting)
        self._keep(id=self._id)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close(_end(kind))
        except Exception as error:
            self._report(error)

    def __call__(self, record: dict[str, Any]) -> None:
        """Log a record of the run, but for what the service knows already."""
        update = record["update"]
        metrics = {name: value for name, value in metrics_of(record).items() if (update, name) not in self._known}
        if self._lost:
            return
        try:
            if metrics and update >= (self.first_wanted or 0):
                self.send(update, metrics)
            self._told += 1
        except Exception as error:
            self._lost = True
            self._keep(id=self._id, told=self._told)
            self._report(error)

    def _report(self, error: Exception) -> None:
        print(
            f"{self.spoken} cannot be logged to: {_line(error)}; training goes on, metrics.jsonl holds everything, and "
            f"`sgrnn resume {quoted(self.run.folder)}` logs the rest",
            file=sys.stderr,
        )

    def _kept(self) -> dict[str, Any]:
        name, mend = f"{self.kind}.json", f"remove it to begin another run at {self.spoken}"
        found = kept(self.run, name, mend)
        if found and not isinstance(found.get("id"), str):
            raise InputError(f"{self.run.folder / name} is damaged: it holds no id; {mend}")
        return found

    def _keep(self, **content: Any) -> None:
        keep(self.run, f"{self.kind}.json", content)


def _end(error: type[BaseException] | None) -> End:
    if error is None:
        return "complete"
    return "stopped" if issubclass(error, Interrupted | KeyboardInterrupt) else "failed"


def _line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
