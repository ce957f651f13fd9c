"""scikit-learn's callbacks (new in 1.9, experimental there), called once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from skxc import _distributed as processes
from skxc._training._loop import EpochCallback, History

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9 has none

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Adds no `set_callbacks`."""

    def with_callbacks(method: Any) -> Any:
        """The method as it is."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "EpochCallbacks",
    "FollowingCallbacks",
    "epoch_callbacks",
    "with_callbacks",
]

# what the first process tells the others to do
_SNAPSHOT, _NO_MORE = "snapshot", "no more"


def epoch_callbacks(
    estimator: Any,
    n_epochs: int,
    data: Mapping[str, Any],
    snapshot: Callable[[History], dict[str, Any]],
) -> EpochCallbacks | FollowingCallbacks:
    """The estimator's callbacks: of several processes, the first one's are called."""
    if processes.rank():
        return FollowingCallbacks(snapshot)
    return EpochCallbacks(estimator, n_epochs, data, snapshot)


class EpochCallbacks(EpochCallback):
    """A fit is a task, and an epoch a task of it; a callback that returns True ends the fit."""

    def __init__(
        self,
        estimator: Any,
        n_epochs: int,
        data: Mapping[str, Any],  # X, y and metadata
        snapshot: Callable[[History], dict[str, Any]],  # what a fitted estimator has, as of now
    ) -> None:
        self.arguments = {"estimator": estimator, **data}
        self.snapshot = snapshot
        self.fit_task = estimator._init_callback_context(max_subtasks=n_epochs)
        with processes.alone():
            self.fit_task.call_on_fit_task_begin(**self.arguments)

    def begin_epoch(self) -> None:
        """Begin an epoch's task."""
        self.epoch_task = self.fit_task.subcontext(task_name="epoch")
        with processes.alone():
            self.epoch_task.call_on_fit_task_begin(**self.arguments)

    def end_epoch(self, history: History) -> bool:
        """End the epoch's task; the snapshot is taken only for a callback that looks at it."""
        with processes.alone():
            is_over: bool = self.epoch_task.call_on_fit_task_end(
                **self.arguments, reconstruction_attributes=partial(self._snapshot, history)
            )
        processes.broadcast(_NO_MORE)
        return is_over

    def _snapshot(self, history: History) -> dict[str, Any]:
        with processes.rejoined():
            processes.broadcast(_SNAPSHOT)
            return self.snapshot(history)

    def end(self) -> None:
        """Let go of the step, whose moments are as large as the model."""
        del self.snapshot

    def end_fit(self) -> None:
        """End the task of the whole fit, once the estimator is fitted."""
        with processes.alone():
            self.fit_task.call_on_fit_task_end(**self.arguments, reconstruction_attributes={})


class FollowingCallbacks(EpochCallback):
    """In another process: calls none, but takes part in the snapshots that the first one's want."""

    def __init__(self, snapshot: Callable[[History], dict[str, Any]]) -> None:
        self.snapshot = snapshot

    def begin_epoch(self) -> None:
        """Nothing to do."""

    def end_epoch(self, history: History) -> bool:
        """Do what the first process does."""
        while processes.broadcast(None) == _SNAPSHOT:
            self.snapshot(history)
        return False

    def end(self) -> None:
        """Let go of the step."""
        del self.snapshot

    def end_fit(self) -> None:
        """Nothing to do."""
