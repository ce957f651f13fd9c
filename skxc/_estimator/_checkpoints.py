"""Which fit a checkpoint is of: the same data and parameters go on from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields
from itertools import islice
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from skxc import _distributed as processes
from skxc._training._checkpoint import Checkpoint, differences, opened_checkpoint
from skxc._training._memory import Memory, encoder_memory
from skxc._training._setup import TrainingSetup
from skxc._validation import LazyColumn, check_choice, check_real, is_nameless
from skxc.encoders._registry import resolve_encoder

from ._inputs import CheckedInputs, FitMode
from ._second_stage import SecondStageMixin

EPOCH = "epoch"  # the interval by default
# parameters that training does not depend on, and those that are compared in another form
_NOT_COMPARED = {
    *("checkpoint_dir", "checkpoint_interval", "keep_checkpoint"),
    *("search", "sparse_output", "threshold", "top_k", "verbose"),
    *("device", "encoder", "init_encoder", "label_texts"),
    *("paper", "precision", "random_state", "warm_start"),
}
_AT_ONCE = 1 << 20  # numbers
_TEXTS_AT_ONCE = 1 << 10
_LONGEST = 80  # characters of a value that is compared as it is


class CheckpointMixin(SecondStageMixin):
    """Opens the checkpoint of a fit, where `checkpoint_dir` is set."""

    def _check_checkpoint_parameters(self) -> None:
        folder = self.checkpoint_dir
        if folder is not None and not isinstance(folder, str | os.PathLike):
            raise TypeError(f"checkpoint_dir={folder!r} is no folder. Pass a str, a path or None.")
        if folder is not None and not os.fspath(folder):
            raise ValueError("checkpoint_dir is ''. Pass the path of a folder, or None.")
        if isinstance(self.checkpoint_interval, Real):
            check_real("checkpoint_interval", self.checkpoint_interval)
        else:
            check_choice("checkpoint_interval", self.checkpoint_interval, (EPOCH,))
        check_choice("keep_checkpoint", self.keep_checkpoint, (True, False))

    def _needed_fingerprint(
        self, inputs: CheckedInputs, device: torch.device
    ) -> dict[str, str] | None:
        """The fit's, where there is a checkpoint, or another process whose fit must be the same."""
        has_checkpoint = self.checkpoint_dir is not None and not inputs.mode.is_partial
        if not has_checkpoint and processes.size() == 1:
            return None
        fingerprint = self._fingerprint(inputs, device)
        of_processes = processes.gather(fingerprint)
        for other in of_processes[1:]:
            if other != of_processes[0]:
                what = differences(other, of_processes[0], "in one process", "in another")
                raise ValueError(
                    f"The processes' fits differ: {what}. Pass the same data and parameters in all."
                )
        return fingerprint

    def _opened_checkpoint(
        self, fingerprint: dict[str, str] | None, mode: FitMode, seeds: list[int]
    ) -> AbstractContextManager[Checkpoint | None]:
        if self.checkpoint_dir is None or mode.is_partial:
            return nullcontext()
        assert fingerprint is not None
        interval = self.checkpoint_interval
        return opened_checkpoint(
            Path(self.checkpoint_dir),
            fingerprint,
            None if isinstance(interval, str) else float(interval),
            seeds,
        )

    def _fingerprint(self, inputs: CheckedInputs, device: torch.device) -> dict[str, str]:
        """What training depends on, by the names that users know; digests begin with #."""
        target, parameters = inputs.target, vars(self)
        return {
            "estimator": type(self).__name__,
            "X": digest(_of_texts(inputs.texts)),
            "y": digest(_of_matrix(target.Y), _of_labels(target.labels)),
            "sample_weight": digest(of_array(inputs.weights)),
            "exclude": digest(_of_matrix(inputs.mask)),
            "label_texts": digest(_of_texts(inputs.label_texts or [])),
            "the fitted model": digest(*self._fitted_parts(inputs)),
            "random_state": _seed(self.random_state),
            "encoder": _value(resolve_encoder(self.encoder)),
            "paper": _value(vars(self._method.Settings.details.of(self.paper))),
            "device": device.type,
            "precision": str(self._dtype(device)).removeprefix("torch."),
        } | {
            name: _value(parameters[name])
            for name in sorted({f.name for f in fields(self)} - _NOT_COMPARED)
        }

    def _memory(self, setup: TrainingSetup[Any], settings: Any) -> Memory:
        """Bytes of labels, steps and the second stage, and of a GPU's state copied to the host."""
        memory = super()._memory(setup, settings)
        if self.checkpoint_dir is None or setup.device.type == "cpu":
            return memory
        state = memory + encoder_memory(setup, settings)
        copied = sum(state.device.get(part, 0) for part in ("weights", "optimizer", "copies"))
        return memory + Memory({}, {"epoch": copied})

    def _fitted_parts(self, inputs: CheckedInputs) -> Iterator[Iterator[bytes]]:
        """Of a warm start: what it goes on from."""
        if inputs.mode.is_resumed and not inputs.mode.is_partial:  # partial fits have no checkpoint
            fitted: Any = self
            yield of_array(fitted.label_embeddings_)
            for array in fitted.encoder_.weights_.values():
                yield of_array(array)


def digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for block in part:
            digest.update(block)
        digest.update(b"|")
    return f"#{digest.hexdigest()}"


def _of_texts(texts: list[str] | LazyColumn) -> Iterator[bytes]:
    remaining = iter(texts)
    while block := list(islice(remaining, _TEXTS_AT_ONCE)):
        yield json.dumps(block)[1:-1].encode()
        yield b","


def _of_labels(labels: NDArray[Any] | range) -> Iterator[bytes]:
    """Their names, if they have any."""
    if not (isinstance(labels, range) or is_nameless(labels)):
        yield repr(labels.tolist()).encode("utf8", "surrogatepass")


def _of_matrix(matrix: sp.csr_array | None) -> Iterator[bytes]:
    if matrix is not None:
        yield repr(matrix.shape).encode()
        for array in (matrix.indptr, matrix.indices, matrix.data):
            yield from of_array(array)


def of_array(array: NDArray[Any] | None) -> Iterator[bytes]:
    """Numbers, whatever the width of integers: SciPy chooses it."""
    flat = np.empty(0) if array is None else array.reshape(-1)
    for start in range(0, len(flat), _AT_ONCE):
        part = flat[start : start + _AT_ONCE]
        yield (part.astype(np.int64) if part.dtype.kind in "iu" else part).tobytes()


def _seed(random_state: Any) -> str:
    """A number; what has a state gives other seeds each time, and a checkpoint keeps its own."""
    has_state = random_state is None or hasattr(random_state, "randint")
    return "None" if has_state else _value(random_state)


def _value(value: Any) -> str:
    """A parameter as it is, or the digest of a long one."""
    text = _told(value)
    return text if len(text) <= _LONGEST else digest([text.encode("utf8", "surrogatepass")])


def _told(value: Any) -> str:
    """As `repr`, but of numbers of any kind alike, and of all that an array or an encoder holds."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{digest([np.ascontiguousarray(value).tobytes()])}"
    if hasattr(value, "get_params"):
        return f"{type(value).__name__}({_told(_of_the_fit(value))})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key!r}: {_told(item)}" for key, item in value.items())
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_told, value))}]"
    if isinstance(value, bool | np.bool_):
        return repr(bool(value))
    if isinstance(value, Real):
        number = float(value)
        return repr(int(number) if number.is_integer() else number)
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def _of_the_fit(encoder: Any) -> dict[str, Any]:
    """An encoder's parameters, but where it keeps what is the same wherever it is kept."""
    parameters: dict[str, Any] = encoder.get_params(deep=False)
    return {name: value for name, value in parameters.items() if name != "cache_dir"}
