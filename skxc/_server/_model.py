"""The model of a folder, and the one that takes its place."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from skxc._explanation import UnknownLabelError
from skxc._load import load
from skxc._persistence import CONFIG, local_folder, read_config, real_path, unreplaced
from skxc._validation import resolve_device

from ._limits import RefusalError

_PAUSE = 1.0  # seconds between two looks at the folder
_PAUSE_AFTER_A_PROBLEM = 5.0  # a copy that is under way gets complete without config.json changing
_END = 5.0  # seconds: the interpreter should not end in the middle of a thread's call
_TRIES = 10  # of loading a folder that is replaced all the time
_logger = logging.getLogger("skxc")


class Best(NamedTuple):
    """The best labels of a text."""

    indices: list[int]  # places in `classes_`
    proba: list[float]


@dataclass(frozen=True)
class Served:
    """A model in memory, with what tells it from others."""

    clf: Any
    digest: str  # of config.json, which has the digests of all other files
    stamp: tuple[int, ...]
    written_at: datetime  # config.json: where it was copied or downloaded, this was then
    loaded_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def best(self, texts: list[str], k: Sequence[int]) -> list[Best]:
        """The `k` best labels of each text, of which each has a `k` of its own.

        The best 5 of a text are the first 5 of its best 50: one call finds as many as any has. But
        the approximate search for 50 finds others than that for 5, so that it has a call for each.
        """
        sought = k if self.clf.search == "approximate" else [max(k)] * len(texts)
        best = dict[int, Best]()
        for most in set(sought):
            places = [i for i, n in enumerate(sought) if n == most]
            found = self.clf.predict_top_k_proba([texts[i] for i in places], most)
            for i, labels, proba in zip(places, *found, strict=True):
                # the shortest decimals that give the same float32
                shortest = [float(str(value)) for value in proba[: k[i]]]
                best[i] = Best(labels[: k[i]].tolist(), shortest)
        return [best[i] for i in range(len(texts))]

    def names(self, indices: Sequence[int]) -> list[Any]:
        """What labels are called."""
        names: list[Any] = self.clf.label_names_[indices].tolist()
        return names

    def explanation(self, text: str, k: int, labels: list[Any] | None) -> dict[str, Any]:
        """Which words of a text moved the scores of its best labels, or of these.

        Raises
        ------
        RefusalError
            If the model knows no such label.
        """
        try:
            found: dict[str, Any] = self.clf.explain([text], labels=labels, k=k)[0].to_dict()
        except UnknownLabelError as error:
            raise RefusalError(400, str(error)) from error
        return found

    def __str__(self) -> str:
        return f"{type(self.clf).__name__} (labels: {self.clf.n_labels_:,}, {self.digest[:12]})"


def opened(folder: str, device: str | None) -> Served:
    """The model of a folder, whole, in memory: whatever happens to the files, it stays as it is.

    Raises
    ------
    OSError, ValueError
        As `skxc.load`.
    """
    for _ in range(_TRIES):
        (stamp, digest) = unreplaced(folder, _described)
        clf = load(folder, device=device, mmap=False)
        if _stamp(folder) != stamp:  # replaced meanwhile: which one was loaded is not known
            continue
        resolve_device(clf.device)
        clf.predict_top_k_proba(["the first prediction builds tables"], 1)
        return Served(clf, digest, stamp, datetime.fromtimestamp(stamp[0] / 1e9, UTC))
    raise ValueError(f"{folder} is being replaced all the time. Try again.")


def _described(root: Path) -> tuple[tuple[int, ...], str]:
    stamp = _stamp(root)
    return stamp, read_config(root)["sha256"]


def _stamp(folder: str | Path) -> tuple[int, ...]:
    """What changes when another config.json stands there, read without opening it; or nothing."""
    try:
        found = os.stat(real_path(folder) / CONFIG)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size


class ModelWatch:
    """The newest sound model of a folder.

    Parameters
    ----------
    folder : str
        What `save` wrote, and will replace; or a name on the hub, of which the newest model is
        asked for once.
    device : str or None
        As in `skxc.load`.
    """

    def __init__(self, folder: str, device: str | None = None) -> None:
        self.folder, self.device = local_folder(folder), device
        self.current = opened(self.folder, device)
        self.problem: str | None = None  # why what the folder holds now is not served
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="skxc-watch", daemon=True)

    def start(self) -> None:
        """Look at the folder every second, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a model that is being loaded is waited for, but not for long."""
        self._is_over.set()
        self._thread.join(_END)

    def _watch(self) -> None:
        while not self._is_over.wait(_PAUSE if self.problem is None else _PAUSE_AFTER_A_PROBLEM):
            self.look()

    def look(self) -> None:
        """Load what the folder holds, if that is new; keep the old model if that is not sound."""
        try:
            if _stamp(self.folder) == self.current.stamp:
                self.problem = None
                return
            self.current = opened(self.folder, self.device)
            self.problem = None
            _logger.info("now serving %s", self.current)
        except Exception as error:  # whatever it is, the old model still answers
            problem = " ".join(str(error).split()) or type(error).__name__
            if problem != self.problem:
                _logger.warning("still serving %s: %s", self.current, problem)
            self.problem = problem
