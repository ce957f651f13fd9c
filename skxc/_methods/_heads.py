"""UniDEC's heads: from the encoder's embedding to the two spaces that scores are cosines in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from skxc._functional._unit_rows import unit_rows
from skxc._search._head import LinearHead

from ._attributes import Sizes, an_array, wrong_attribute


def heads_attribute(name: str, value: Any, sizes: Sizes) -> None:
    """Two linear layers, or none."""
    views = ("of_label_texts", "of_classifier")
    names = {f"{view}.{part}" for view in views for part in ("weight", "bias")}
    if not isinstance(value, dict) or set(value) not in (set(), names):
        raise wrong_attribute(name, value, f"a dict of {', '.join(sorted(names))}, or empty")
    if not value:
        return
    sizes.pop("dim", None)  # the heads' own
    for view in views:
        an_array(np.float32, "dim", "encoder_dim")(f"{name}.{view}", value[f"{view}.weight"], sizes)
        an_array(np.float32, "dim")(f"{name}.{view}", value[f"{view}.bias"], sizes)
    sizes["width"] = 2 * sizes["dim"]


Drop = Callable[[Tensor], Tensor]  # dropout, before the scaling to length 1


def _whole(vectors: Tensor) -> Tensor:
    return vectors


class Heads(nn.Module):
    """A linear layer for each of the two spaces, or none.

    Without `dim` both spaces are the encoder's own, and one: then the two scores of a label are the
    cosine with one vector, and prediction needs no wider table than either. Of an encoder with
    several views, such a space has a unit vector for each, side by side.
    """

    def __init__(
        self, encoder_dim: int, dim: int | None, views: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.is_shared = dim is None
        self.dim = encoder_dim if dim is None else dim
        self.views = views if views is not None and self.is_shared else (self.dim,)
        if dim is not None:  # not yet initialised: `initialize_`, or a state that is loaded
            self.of_label_texts = skip_init(nn.Linear, encoder_dim, dim)
            self.of_classifier = skip_init(nn.Linear, encoder_dim, dim)

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]], views: tuple[int, ...]) -> Self:
        """Heads whose state is that of the arrays."""
        if not arrays:
            return cls(sum(views), None, views)
        dim, encoder_dim = arrays["of_classifier.weight"].shape
        heads = cls(encoder_dim, dim)
        heads.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
        return heads

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The state; empty where both spaces are one."""
        return {name: tensor.cpu().numpy() for name, tensor in self.state_dict().items()}

    def initialize_(self, generator: torch.Generator) -> None:
        """To the identity, or orthogonal: what the encoder has learnt must not be scrambled."""
        for linear in () if self.is_shared else (self.of_label_texts, self.of_classifier):
            is_square = linear.weight.shape[0] == linear.weight.shape[1]
            if is_square:
                nn.init.eye_(linear.weight)
            else:
                nn.init.orthogonal_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)

    def label_text_space(self, embeddings: Tensor, drop: Drop = _whole) -> Tensor:
        """Unit vectors of texts and label texts, (n, dim); 0 where no word is known."""
        if self.is_shared:
            return self.units(drop(embeddings))
        return _unit_rows(drop(torch.tanh(self.of_label_texts(embeddings))), embeddings)

    def classifier_space(self, embeddings: Tensor, drop: Drop = _whole) -> Tensor:
        """Unit vectors of texts, (n, dim); 0 where no word is known."""
        if self.is_shared:
            return self.units(drop(embeddings))
        return _unit_rows(drop(self.of_classifier(embeddings)), embeddings)

    def units(self, vectors: Tensor) -> Tensor:  # (n, dim)
        """Rows of length 1 in each view."""
        if len(self.views) == 1:
            return unit_rows(vectors)
        return torch.cat([unit_rows(part) for part in vectors.split(self.views, 1)], 1)

    def forward(self, embeddings: Tensor) -> Tensor:
        """What prediction multiplies with `joined_halves`, (n, dim) or (n, 2 dim)."""
        if self.is_shared:
            return self.label_text_space(embeddings)
        halves = [self.label_text_space(embeddings), self.classifier_space(embeddings)]
        return torch.cat(halves, 1)


def text_head(heads: Heads, vectors_weight: float) -> Callable[[Tensor], Tensor]:
    """The heads, the second view of a joined encoder weighed against the first."""
    if not heads.is_shared:
        return heads
    return LinearHead(heads.views, (1.0, vectors_weight)[: len(heads.views)])


def _unit_rows(vectors: Tensor, embeddings: Tensor) -> Tensor:
    """Rows of length 1; 0, and without a gradient, where the encoder knew no word."""
    return unit_rows(vectors) * embeddings.any(1, keepdim=True)
