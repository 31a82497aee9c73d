"""The records of a run at MLflow."""

import os
import time
from itertools import islice
from typing import ClassVar, final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from sgrnn.training.loggers.tracker import End, Tracker

_MOST = 100  # parameters that MLflow takes at once
_LONGEST = 6000  # characters of a parameter
_STATUS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@final
class MLflow(Tracker):
    """A run at MLflow, the fields of the recipe its parameters.

    Where it is tracked is MLflow's own affair: MLFLOW_TRACKING_URI, else mlflow.db in the current folder; the
    experiment is MLFLOW_EXPERIMENT_NAME, else the name of the folder. MLflow's parameters never change: a field that
    is another when the run is resumed becomes a tag.
    """

    kind: ClassVar[str] = "mlflow"
    spoken: ClassVar[str] = "MLflow"
    advice: ClassVar[str] = "set MLFLOW_TRACKING_URI to where it tracks"

    def open(self, known: str | None) -> str:
        """Begin a run or go on with one; see `Tracker.open`."""
        self._client = MlflowClient()
        fields = {name: value[:_LONGEST] for name, value in self.run.recipe.fields_by_name()}
        if known is None:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.project
            found = self._client.get_experiment_by_name(experiment)
            number = self._client.create_experiment(experiment) if found is None else found.experiment_id
            self._id = self._client.create_run(number, run_name=self.name).info.run_id
            params = (Param(name, value) for name, value in fields.items())
            while some := list(islice(params, _MOST)):
                self._client.log_batch(self._id, params=some)
        else:
            self._id = known
            params = self._client.get_run(known).data.params
            self._client.update_run(known, status="RUNNING")
            for name, value in fields.items():
                if params.get(name) != value:
                    self._client.set_tag(known, name, value)
        return self._id

    def send(self, update: int, metrics: dict[str, float]) -> None:
        """Log metrics at an update, with the time that it is."""
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._id, [Metric(name, value, now, update) for name, value in metrics.items()])

    def close(self, end: End) -> None:
        """Say how the training ended; see `Tracker.close`."""
        self._client.set_terminated(self._id, _STATUS[end])
