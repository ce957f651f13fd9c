"""From an encoder's embedding to what labels' rows are multiplied by, as a factor a number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from skxc._functional._unit_rows import lengths, unit_rows


@dataclass(frozen=True)
class LinearHead:
    """Scales a text's views; what a word adds to an embedding, it adds to scores in proportion."""

    views: tuple[int, ...] = ()  # widths of parts that are scaled to length 1 each; none: of none
    weights: tuple[float, ...] = ()  # the views' afterwards; none: 1
    constant: float | None = None  # in the last place

    def __call__(self, embeddings: Tensor) -> Tensor:  # (n, dim) -> (n, width)
        if len(self.views) == 1:
            embeddings = unit_rows(embeddings)
        elif self.views:
            parts = [unit_rows(part) for part in embeddings.split(self.views, 1)]
            if any(weight != 1 for weight in self.weights):
                parts = [w * part for w, part in zip(self.weights, parts, strict=True)]
            embeddings = torch.cat(parts, 1)
        return (
            embeddings if self.constant is None else F.pad(embeddings, (0, 1), value=self.constant)
        )

    def factors(self, embeddings: Tensor) -> Tensor:  # (n, dim) both
        """What each number of these embeddings is multiplied by; the constant has none."""
        if not self.views:
            return torch.ones_like(embeddings)
        weights = self.weights or (1.0,) * len(self.views)
        parts = zip(weights, embeddings.split(self.views, 1), strict=True)
        return torch.cat([w / lengths(part).expand_as(part) for w, part in parts], 1)

    @property
    def of_labels(self) -> Self:
        """The head for label texts, whose views are not weighed: those of texts are."""
        return replace(self, weights=())
