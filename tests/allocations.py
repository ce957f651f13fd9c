"""What torch holds, tensor by tensor: what a GPU's allocator would tell."""

from __future__ import annotations

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_BLOCK = 512  # bytes that CUDA's allocator rounds up to


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that are alive; what NumPy holds is not seen."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self._add(tensor.untyped_storage())
        return output

    def _add(self, storage):
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = -(-storage.nbytes() // _BLOCK) * _BLOCK
            weakref.finalize(storage, self.alive.pop, key, None)
            self.peak = max(self.peak, sum(self.alive.values()))
