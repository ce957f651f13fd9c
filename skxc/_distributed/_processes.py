"""The processes of a fit, their shares of the work, and their collectives."""

from __future__ import annotations

import atexit
import datetime
import logging
import multiprocessing
import os
import pickle
import platform
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# a collective that waits looks so often whether another process has failed
_LOOK = datetime.timedelta(seconds=1)
# seconds that a process which lost another one waits for its error message
_MESSAGE_WAIT = 3.0
# Failures are seen at once; this is for a process that is stopped, or has very much to do alone.
_TIMEOUT = datetime.timedelta(hours=6)


class OtherProcessError(RuntimeError):
    """Another process failed: what it said."""


class _Together:
    """The processes of one fit."""

    def __init__(self, number: int) -> None:
        # one group a fit: what a failed one left unfinished is in nobody's way
        self.group = dist.new_group(backend=_backend(), timeout=_timeout())
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.key = f"skxc/failed/{number}"
        self.hosts: list[str] = []

    def tell(self, error: BaseException) -> None:
        """Have the others fail, too; the first error is what all are told."""
        words = f"process {self.rank} of {self.size}: {type(error).__name__}: {error}"
        with suppress(RuntimeError):  # the store is gone: so are they
            _store().compare_set(self.key, "", words)

    def told(self) -> str | None:
        """What the first process that failed said."""
        try:
            return str(_store().get(self.key).decode()) if _store().check([self.key]) else None
        except RuntimeError:
            return "the process that keeps the others in touch has ended"


_now: _Together | None = None  # only inside `together`
_apart: _Together | None = None  # only inside `alone`: to come back to
_ended: Any = None  # the group of the last fit, if that ended well
_n_fits = 0


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def is_launched() -> bool:
    """Whether this is one of several processes, and not a worker of one."""
    name = multiprocessing.current_process().name
    is_spawned = name.startswith("SpawnProcess") and dist.is_initialized()  # by the user
    return _is_told_so() and (name == "MainProcess" or is_spawned)


def _is_told_so() -> bool:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def together() -> Iterator[None]:
    """Inside, all processes that torchrun started work on one thing; if one fails, all do.

    Raises
    ------
    OtherProcessError
        If another one failed.
    RuntimeError
        If this is a worker, a thread or a callback of one of them: nobody waits for its fits.
    """
    global _now, _ended, _n_fits
    if not _is_told_so():
        yield
        return
    _check_place()
    _join()
    _n_fits += 1
    _now = _Together(_n_fits)
    if _ended is not None:  # only now is nobody in it any more
        with suppress(RuntimeError, ValueError):  # the user has ended all groups
            dist.destroy_process_group(_ended)
        _ended = None
    try:
        _now.hosts = gather(platform.node())
        with _silent_unless_first():
            yield
        _ended = _now.group
    except BaseException as error:
        _now.tell(error)
        raise
    finally:
        _now = None


@contextmanager
def alone() -> Iterator[None]:
    """Inside, this process does by itself what it does, while the others wait for it."""
    global _now, _apart
    _now, _apart = None, _now
    try:
        yield
    finally:
        _now, _apart = _apart, None


@contextmanager
def rejoined() -> Iterator[None]:
    """Inside `alone`, together again."""
    global _now, _apart
    _now, _apart = _apart, None
    try:
        yield
    finally:
        _now, _apart = None, _now


def _check_place() -> None:
    if _apart is not None:
        raise RuntimeError(
            "This fit is in a callback of another fit, for which other processes wait. Fit before "
            "or after it, or without torchrun."
        )
    is_main = threading.current_thread() is threading.main_thread()
    if is_launched() and is_main:
        return
    raise RuntimeError(
        "This fit is in a worker or a thread of one of several processes that train together: the "
        "others do not wait for it. Run searches and cross-validation with n_jobs=1, or without "
        "torchrun."
    )


def _join() -> None:
    if dist.is_initialized():  # by an earlier fit, or by the user
        return
    if not dist.is_available():
        raise RuntimeError("This torch was built without torch.distributed, which torchrun needs.")
    dist.init_process_group(_backend(), timeout=_TIMEOUT)
    atexit.register(_leave)  # torch aborts a process that ends with a group


def _backend() -> str:
    has_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    return "cpu:gloo,cuda:nccl" if has_gpus else "gloo"


def _timeout() -> datetime.timedelta | None:
    """That of the first group, the user's or ours, which `new_group` does not take over."""
    with suppress(AttributeError, RuntimeError, TypeError):
        backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        timeout = backend.options._timeout
        return timeout if isinstance(timeout, datetime.timedelta) else None
    return None


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def _silent_unless_first() -> Iterator[None]:
    """Warnings and progress of one process are enough."""
    if rank() == 0:
        yield
        return
    logger = logging.getLogger("skxc")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        logger.disabled = was_disabled


def size() -> int:
    """Processes that work together."""
    return 1 if _now is None else _now.size


def rank() -> int:
    """Which of them this is."""
    return 0 if _now is None else _now.rank


def is_first_launched() -> bool:
    """Whether this is the only process, or the first of those that were launched; at any time."""
    if not is_launched():
        return True
    return int(dist.get_rank() if dist.is_initialized() else os.environ["RANK"]) == 0


def share(n: int, of: int | None = None) -> slice:
    """This process's contiguous part of `n` things, or that of another; may be empty."""
    r = rank() if of is None else of
    return slice(r * n // size(), (r + 1) * n // size())


def n_share(n: int) -> int:
    """Of `n` things, those of the process that has most."""
    return -(-n // size())


def share_sizes(n: int) -> list[int]:
    """Of each process."""
    return [len(range(n)[share(n, r)]) for r in range(size())]


def n_on_host() -> int:
    """Processes on this host."""
    return len(_of_host()) if _now else 1


def is_first_on_host() -> bool:
    """Whether this one does what is done once a host."""
    return _of_host()[0] == rank() if _now else True


def _of_host() -> list[int]:
    assert _now is not None
    own = _now.hosts[_now.rank]
    return [r for r, host in enumerate(_now.hosts) if host == own]


def check_device(device: torch.device) -> None:
    """Raise where two processes would share a GPU: their collectives would wait for ever."""
    devices = gather(_identity(device))
    if device.type == "cuda" and devices.count(devices[rank()]) > 1:
        raise ValueError(
            f"device={str(device)!r} is that of {devices.count(devices[rank()])} processes. Pass "
            f"each its own: device='auto' does so under torchrun."
        )


def _identity(device: torch.device) -> tuple[str, str]:
    if device.type != "cuda":
        return platform.node(), str(device)
    about = torch.cuda.get_device_properties(device)
    return platform.node(), str(getattr(about, "uuid", torch.empty(0, device=device).device))


# -------------------------------------------------------------------------------------- collectives
def _run(collective: Callable[..., Any], *tensors: Any, **options: Any) -> None:
    """Wait for a collective, and for news of the others meanwhile."""
    assert _now is not None
    first = tensors[0]
    try:
        if first.is_cuda:  # in the order of the stream: nothing waits here
            collective(*tensors, group=_now.group, **options)
            return
        work = collective(*tensors, group=_now.group, async_op=True, **options)
        while True:
            try:
                work.wait(_LOOK)
                return
            except RuntimeError:
                if work.is_completed():
                    raise
                if (told := _now.told()) is not None:
                    raise OtherProcessError(told) from None
    except RuntimeError as error:
        if isinstance(error, OtherProcessError):
            raise
        raise _lost(error) from error


def _lost(error: RuntimeError) -> OtherProcessError:
    """A connection broke: by a process that failed, which may still say why, or by a dead one."""
    assert _now is not None
    until = time.monotonic() + _MESSAGE_WAIT
    while (told := _now.told()) is None and time.monotonic() < until:
        time.sleep(0.05)
    why = str(error).splitlines()[0]
    return OtherProcessError(told or f"another process ended, or is out of reach ({why})")


def _named(name: str, earlier: str) -> Callable[..., Any]:
    """torch's function; before 2.13 it had another name."""
    return getattr(dist, name, None) or getattr(dist, earlier)


def all_reduce_(tensor: Tensor, op: str = "sum") -> Tensor:
    """The sum (or min, or max) of `tensor` over the processes, in its place."""
    if size() > 1:
        _run(dist.all_reduce, tensor, op=getattr(dist.ReduceOp, op.upper()))
    return tensor


def all_gather_rows(part: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows of all processes, in the order of their ranks; `sizes`: how many each has."""
    if size() == 1:
        return part
    most = max(sizes)
    if not most:
        return part
    padded = part
    if len(part) < most or not part.is_contiguous():
        padded = part.new_zeros((most, *part.shape[1:]))
        padded[: len(part)] = part
    rows = part.new_empty((size() * most, *part.shape[1:]))
    _run(_named("all_gather_single", "all_gather_into_tensor"), rows, padded)
    if min(sizes) == most:
        return rows
    return torch.cat([rows[r * most : r * most + n] for r, n in enumerate(sizes)])


def reduce_scatter_rows(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """This process's rows of the sum over all processes; `sizes`: how many each is to have."""
    if size() == 1:
        return rows
    if not rows.is_cuda:  # gloo has no such collective
        return all_reduce_(rows.contiguous()).split(list(sizes))[rank()]
    most = max(sizes)
    padded = rows.new_zeros((size(), most, *rows.shape[1:]))
    for r, part in enumerate(rows.split(list(sizes))):
        padded[r, : len(part)] = part
    own = rows.new_empty((most, *rows.shape[1:]))
    _run(_named("reduce_scatter_single", "reduce_scatter_tensor"), own, padded.flatten(0, 1))
    return own[: sizes[rank()]]


def broadcast_(tensor: Tensor, of: int = 0) -> Tensor:
    """The first process's, or that of another, in its place."""
    if size() > 1:
        whole = tensor.contiguous()
        _run(dist.broadcast, whole, src=of)
        if whole is not tensor:
            tensor.copy_(whole)
    return tensor


def gather_counts(n: int) -> list[int]:
    """The numbers that all processes have, in the order of their ranks."""
    return all_gather_rows(torch.tensor([n]), [1] * size()).tolist()


def gather(value: Any) -> list[Any]:
    """The values that all processes have, in the order of their ranks."""
    if size() == 1:
        return [value]
    own = torch.frombuffer(bytearray(pickle.dumps(value)), dtype=torch.uint8)
    lengths = gather_counts(len(own))
    parts = all_gather_rows(own, lengths).split(lengths)
    return [pickle.loads(part.numpy().tobytes()) for part in parts]


def broadcast(value: Any) -> Any:
    """The first process's value."""
    return gather(value if rank() == 0 else None)[0]


def barrier() -> None:
    """Wait until all are here."""
    gather(None)


def any_of(is_so: bool) -> bool:
    """Whether it is so on some process."""
    if size() == 1:
        return is_so
    return bool(all_reduce_(torch.tensor(int(is_so)), "max"))


def of_host(value: Any) -> Any:
    """The value of the host's first process."""
    if size() == 1:
        return value
    return gather(value)[_of_host()[0]]
