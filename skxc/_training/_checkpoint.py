"""A training that is written down as it goes on: killed, it goes on from there."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

from skxc import _distributed as processes
from skxc._data._token_files import delete_tokens
from skxc._persistence import (
    Packed,
    locked,
    new_path,
    read_tensors,
    replaced_file,
    write_tensors,
)
from skxc._validation import size

from ._interrupts import interrupts_noted
from ._loop import EpochCallback, Progress, Step
from ._state import TrainingState

logger = logging.getLogger("skxc")

FORMAT = 2  # higher when a training could no longer go on from what was written
FILE = "checkpoint.safetensors"
_OVER = "all epochs done"
_MODEL = "the fitted model"  # in the fingerprint: what a warm start goes on from
_INDEX = "skxc.checkpoint"  # in the file's metadata
_SECONDS = 600.0  # between two within a long epoch
_PAUSE = 20  # after short epochs: so many times what writing the latest took

Fingerprint = Mapping[str, str]  # what must be the same, by the names that users know


class Checkpoint:
    """The latest state of one training, in one file; a new one takes the old one's place whole."""

    def __init__(
        self,
        folder: Path,
        fingerprint: Fingerprint,
        interval: float | None,  # seconds; None: at the ends of epochs, and within long ones
        seeds: list[int],  # of the fit; those of the one that it goes on from replace them
    ) -> None:
        self.folder, self.path, self.fingerprint = folder, folder / FILE, fingerprint
        self.seconds = _SECONDS if interval is None else interval
        self.is_due_each_epoch = interval is None
        self.seeds = seeds
        self.saved: tuple[dict[str, Any], Packed] | None = None
        self.place = "none"  # in the training, of the latest
        self.n_bytes, self.n_seconds = 0, 0.0  # of the latest
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        try:
            metadata, arrays = read_tensors(self.path)
            index = json.loads(metadata[_INDEX])
            format_, fingerprint = index["format"], dict(index["fingerprint"])
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint_dir: {self.path} cannot be read ({error}). Delete it, or pass another "
                f"folder."
            ) from error
        told = f"{self.path} is of a fit that differs: {{}}. Pass what it was begun with, another "
        told += "checkpoint_dir, or delete that file."
        if format_ != FORMAT:
            what = f"it has format {format_}, and this skxc writes {FORMAT}"
            raise ValueError(told.format(what))
        ours = dict(self.fingerprint)
        is_last_fit = index["place"] == _OVER and fingerprint | {_MODEL: ours[_MODEL]} == ours
        if fingerprint != ours and is_last_fit:  # a warm start follows a fit whose file was kept
            return
        if fingerprint != ours:
            raise ValueError(told.format(differences(fingerprint, ours)))
        self.seeds, self.place = index["seeds"], index["place"]
        self.saved = index["state"], Packed(arrays)

    # ------------------------------------------------------------------------------- the recorder
    @contextmanager
    def recording(
        self,
        step: Step,
        optimizers: list[Optimizer],
        rng: np.random.Generator,
        callbacks: Sequence[EpochCallback],
        progress: Progress,
    ) -> Iterator[None]:
        """Around the training, which goes on from what is saved."""
        self._state = TrainingState(step, optimizers, rng, callbacks, progress)
        self._restore()
        self._written_at = time.monotonic()
        try:
            with interrupts_noted(self._tell_too_late) as self._interrupts:
                yield
        finally:
            del self._state  # moments of the model's size, some of it

    def _restore(self) -> None:
        if self.saved is None:
            return
        state, packed = self.saved
        self.saved = None  # maps of a file that is to be replaced
        try:
            self._state.restore_(packed.unpack(state))
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"checkpoint_dir: {self.path} does not fit this training ({error}). Delete it."
            ) from error
        logger.info("going on from %s, %s", self.path, self.place)

    def after_batch(self) -> None:
        """Write where that is due, or where the process is asked to end."""
        self._after(is_due=False)

    def after_epoch(self) -> None:
        """Likewise; after the last epoch in any case."""
        is_due = self.is_due_each_epoch and self._elapsed >= _PAUSE * self.n_seconds
        self._after(is_due=is_due or self._state.progress.is_over)

    @property
    def _elapsed(self) -> float:
        """Seconds since the latest."""
        return time.monotonic() - self._written_at

    def _after(self, *, is_due: bool) -> None:
        self._interrupts.stop_waiting()
        is_due = is_due or self._elapsed >= self.seconds
        is_due, number = self._agreed(is_due)
        if not is_due and number is None:
            return
        self._write()
        _, number = self._agreed(False)  # one that came while it was being written, too
        if number is not None:
            self._interrupts.number = number
            if processes.broadcast(self.path.exists()):
                told = "Interrupted. The same fit goes on from %s, %s."
                logger.warning(told, self.path, self.place)
            else:
                logger.warning("Interrupted. No checkpoint could be written.")
            self._interrupts.raise_noted()

    def _agreed(self, is_due: bool) -> tuple[bool, int | None]:
        """Whether one is due, by the first process's clock; the signal that some process got."""
        if processes.size() == 1:
            return is_due, self._interrupts.number
        told = torch.tensor([is_due and processes.rank() == 0, self._interrupts.number or 0])
        is_due_of_first, number = processes.all_reduce_(told, "max").tolist()
        return bool(is_due_of_first), number or None

    def _write(self) -> None:
        """Write the state; where that fails, the latest one stays, and the training goes on."""
        began, packed = time.monotonic(), Packed()
        place, state = _place(self._state.progress), self._state.packed()
        if processes.rank():  # the first one writes
            self.place, self._written_at = place, time.monotonic()
            return
        index = {
            "format": FORMAT,
            "fingerprint": dict(self.fingerprint),
            "seeds": self.seeds,
            "place": place,
            "state": packed.pack(state, "state"),
        }
        try:
            with replaced_file(self.path) as new:
                write_tensors(new, packed.tensors, {_INDEX: json.dumps(index)})
                n_bytes = new.stat().st_size
            self.place, self.n_bytes, self.n_seconds = place, n_bytes, time.monotonic() - began
        except OSError as error:
            logger.warning(
                "No checkpoint of %s: %s. Training goes on; the latest is %s.",
                *(place, error, self.place),
            )
        else:
            logger.info("checkpoint of %s: %s in %.1f s", place, size(n_bytes), self.n_seconds)
        self._written_at = time.monotonic()

    @property
    def of_tokens(self) -> Fingerprint:
        """The part of the fingerprint that tokens depend on."""
        names = ("X", "label_texts", "encoder", _MODEL)  # whose vocabulary a warm start keeps
        return {name: self.fingerprint[name] for name in names}

    def _tell_too_late(self) -> None:
        logger.warning(
            "Interrupted in a long step, which no checkpoint is within. The latest is %s.",
            self.place,
        )


def delete_checkpoint(folder: Path) -> None:
    """Once the fit has ended well; its tokens, too."""
    (folder / FILE).unlink(missing_ok=True)
    delete_tokens(folder)


@contextmanager
def opened_checkpoint(
    folder: Path, fingerprint: Fingerprint, interval: float | None, seeds: list[int]
) -> Iterator[Checkpoint]:
    """The folder's checkpoint, which no other fit can open until the end.

    Raises
    ------
    ValueError
        If the folder cannot be written to, another fit has it open, or what it holds is of a fit
        with another fingerprint.
    """
    if processes.rank():  # one process alone writes
        processes.barrier()
        yield _agreed_on(Checkpoint(folder, fingerprint, interval, seeds))
        return
    told = f"checkpoint_dir={str(folder)!r}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # the second of characters that no path can have
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{told} is no folder ({why}). Pass another.") from error
    with locked(folder) as is_ours:
        if is_ours is False:
            raise ValueError(
                f"{told} is in use: another fit writes its checkpoints there. Wait for its end, "
                f"end it, or pass another folder."
            )
        try:
            trial = new_path(folder / FILE)  # by a dead fit, perhaps: it goes
            trial.touch()
            trial.unlink()
        except OSError as error:
            raise ValueError(
                f"{told} cannot be written to ({error.strerror}). Pass another folder."
            ) from error
        checkpoint = Checkpoint(folder, fingerprint, interval, seeds)
        processes.barrier()
        yield _agreed_on(checkpoint)


def _agreed_on(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, which all processes see."""
    places = processes.gather(checkpoint.place)
    if len(set(places)) > 1:
        raise ValueError(
            f"checkpoint_dir={str(checkpoint.folder)!r} is not the same folder for all processes: "
            f"they find {', '.join(sorted(set(places)))} there. Pass one that all hosts see."
        )
    return checkpoint


def differences(
    theirs: Mapping[str, str], ours: Mapping[str, str], there_: str = "there", here_: str = "here"
) -> str:
    """What differs; values are shown where they are no digests."""
    told = []
    for name in [*ours, *(theirs.keys() - ours.keys())]:
        there, here = theirs.get(name, "absent"), ours.get(name, "absent")
        if there != here:
            if name == "estimator":  # whose parameters are others, too
                return f"{name} ({there_} {there}, {here_} {here})"
            is_digest = there.startswith("#") or here.startswith("#")
            told.append(name if is_digest else f"{name} ({there_} {there}, {here_} {here})")
    return ", ".join(told)


def _place(progress: Progress) -> str:
    """How far the training is, for users."""
    if progress.is_over:
        return _OVER
    if progress.batches is None:
        return f"epoch {progress.epoch + 1} to begin"
    return f"epoch {progress.epoch + 1}, {progress.n_batches} of {len(progress.batches)} batches"
