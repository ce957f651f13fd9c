"""A dual encoder's training step over all labels, in two passes over chunks of them.

The gradient cache of DEXML (Gupta et al., "Dual-Encoders for Extreme Multi-label Classification",
ICLR 2024) without its caches: once the statistics of every row are known, the gradient of a chunk's
scores has a closed form, and both are freed with the chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skxc._kernels import to_device

from ._backward import backward
from ._losses import (
    GradientCoefficients,
    PoolLoss,
    ScoreIndex,
    gradient_coefficients,
    mask_,
    masked_pairs,
    positive_offsets,
    positive_weights,
    score_gradient_,
    subtract_offsets_,
)
from ._pairs import Pairs, Positives
from ._reduce import Reduce, as_it_is

Encode = Callable[[Any], Tensor]  # the inputs of a chunk -> (|chunk|, dim)


class LabelChunk(NamedTuple):
    """Labels that are encoded together."""

    inputs: Any  # what `encode` takes
    labels: Tensor | slice  # (|chunk|,) their ids on the CPU, in the order of the encoded rows


class CachedEncoding:
    """Embeddings of many inputs, encoded chunk by chunk, with a backward pass.

    A single chunk keeps its graph. Of several, `backward` encodes each again with its graph and the
    same dropout masks: GradCache (Gao et al., 2021). Memory: the graph of one chunk.
    """

    def __init__(
        self,
        encode: Encode,
        chunks: Sequence[tuple[Any, Tensor]],  # inputs, and the rows that they fill, on the CPU
        device: torch.device,
    ) -> None:
        self.encode, self.chunks, self.device = encode, chunks, device
        self._random_states: list[list[Tensor]] = []
        parts = []
        self._keeps_graph = len(chunks) == 1
        with torch.set_grad_enabled(self._keeps_graph):
            for inputs, _ in chunks:
                self._random_states.append(_random_states(device))
                parts.append(encode(inputs))
        self._graph = parts[0]
        rows = torch.cat([rows for _, rows in chunks])
        self.rows, self._is_in_order = to_device(rows, device), bool((rows.diff() > 0).all())
        joined = torch.cat([part.detach() for part in parts])
        if not self._is_in_order:
            joined = torch.empty_like(joined).index_copy_(0, self.rows, joined)
        self.embeddings = joined

    def backward(self, output_gradient: Tensor) -> None:  # (n_rows, dim)
        """Add to the gradients of the encoder's parameters."""
        if self._keeps_graph:
            gradient = output_gradient if self._is_in_order else output_gradient[self.rows]
            backward([self._graph], [gradient])
            return
        states_after = _random_states(self.device)
        of_chunks = self.rows.split([len(rows) for _, rows in self.chunks])
        for (inputs, _), rows, states in zip(
            self.chunks, of_chunks, self._random_states, strict=True
        ):
            _set_random_states(states, self.device)
            backward([self.encode(inputs)], [output_gradient[rows]])
        _set_random_states(states_after, self.device)


def two_pass_step(
    encode: Encode,
    chunks: Sequence[LabelChunk],
    text_embeddings: Tensor,  # (batch, dim); its dtype is the products'
    positives: Positives[Tensor],  # on the CPU, to be split without a wait for a GPU
    loss: PoolLoss,
    *,
    temperature: float,
    ignored: Pairs[Tensor] | None = None,  # not in the pool; none of the positives; on the CPU
    sample_weight: Tensor | None = None,  # (batch,)
    reduce_: Reduce = as_it_is,  # where the chunks are a part of the pool: over all parts
) -> tuple[Tensor, Tensor]:
    """Add the labels' gradient to the encoder's parameters; return the texts' and the loss.

    The first pass encodes every chunk without a graph, for the rows' statistics. The second encodes
    it again with its graph and the same dropout masks, and runs its backward pass at once. Memory:
    the scores and the graph of one chunk, for any number of labels; an iterative loss also holds
    the label embeddings until the statistics are known.

    The pool is the labels of all chunks; each label is in one chunk, and pairs of other labels are
    left out. `encode` must return the same for the same random state (no batch statistics), and
    must enter autocast by itself. The random states afterwards are those after one pass.

    Returns
    -------
    text_gradient : Tensor of shape (batch, dim), float32 or wider
        The part of these chunks.
    loss : Tensor of shape ()
    """
    texts = text_embeddings.detach() / temperature
    masked = masked_pairs(positives, ignored, loss)
    positives, blocks = _split_pairs(chunks, positives, masked, texts.device)
    _, rows, values = positives
    dtype = _wide(texts.dtype)
    offsets = positive_offsets(loss, rows, len(texts), dtype, reduce_)
    weights, relevances = positive_weights(values, rows, len(texts), dtype, sample_weight, reduce_)
    with torch.no_grad():
        first = _FirstPass(encode, blocks, texts, loss, offsets)
        statistics = loss.row_statistics(first.score_blocks, relevances, reduce_)
        first.embeddings.clear()
        scores = torch.cat(first.positive_scores)
        coefficients = gradient_coefficients(loss, statistics, scores, weights, rows, reduce_)
        gradient = _second_pass(first, statistics, coefficients)
    return gradient / temperature, coefficients.loss


class _Block(NamedTuple):
    """The columns of one chunk."""

    inputs: Any
    positives: ScoreIndex  # its positives
    pairs: slice  # the same among all positives
    masked: ScoreIndex  # its scores outside of the rows' pools


class _FirstPass:
    """Encodes every chunk once, without a graph; keeps what the second pass needs."""

    def __init__(
        self,
        encode: Encode,
        blocks: list[_Block],
        texts: Tensor,  # (batch, dim), over the temperature
        loss: PoolLoss,
        offsets: Tensor | None,  # (n_pairs,)
    ) -> None:
        self.encode, self.blocks, self.texts = encode, blocks, texts
        self.loss, self.offsets = loss, offsets
        self.random_states: list[list[Tensor]] = []
        self.embeddings: list[Tensor] = []
        self.positive_scores: list[Tensor] = []  # chunk by chunk

    def score_blocks(self) -> Iterator[Tensor]:
        """The scores as `pool_scores_`, chunk by chunk; only the first call encodes."""
        is_first = not self.random_states
        for i, block in enumerate(self.blocks):
            embeddings = self._encode(block) if is_first else self.embeddings[i]
            scores = _scores(self.texts, embeddings)
            if is_first:
                self.positive_scores.append(scores[block.positives])
            yield self.pool_scores_(scores, block)

    def pool_scores_(self, scores: Tensor, block: _Block) -> Tensor:
        """The scores that the normaliser takes: masked, offsets subtracted, in place."""
        offsets = None if self.offsets is None else self.offsets[block.pairs]
        return subtract_offsets_(mask_(scores, block.masked), block.positives, offsets)

    def _encode(self, block: _Block) -> Tensor:
        self.random_states.append(_random_states(self.texts.device))
        embeddings = self.encode(block.inputs).to(self.texts.dtype)
        if self.loss.is_iterative:
            self.embeddings.append(embeddings)
        return embeddings


def _second_pass(
    first: _FirstPass, statistics: Tensor, coefficients: GradientCoefficients
) -> Tensor:  # (batch, dim)
    """Run the backward pass of every chunk; return the gradient of the texts."""
    text_gradient = torch.zeros_like(first.texts, dtype=statistics.dtype)
    for block, states in zip(first.blocks, first.random_states, strict=True):
        _set_random_states(states, first.texts.device)
        # a function of its own: it frees a chunk before the next one is encoded
        text_gradient += _backward(first, block, statistics, coefficients)
    return text_gradient


def _backward(
    first: _FirstPass, block: _Block, statistics: Tensor, coefficients: GradientCoefficients
) -> Tensor:  # (batch, dim)
    """Encode a chunk with its graph, run its backward pass; return its part of the texts'."""
    texts, (_, of_positives, of_rows) = first.texts, coefficients
    with torch.enable_grad():
        embeddings = first.encode(block.inputs)
    labels = embeddings.detach().to(texts.dtype)
    scores = first.pool_scores_(_scores(texts, labels), block)
    of_positives = of_positives[block.pairs]
    score_gradient_(first.loss, scores, statistics, of_rows, block.positives, of_positives)
    gradient = scores.to(texts.dtype)
    backward([embeddings], [gradient.T @ texts])
    return gradient @ labels


def _scores(texts: Tensor, labels: Tensor) -> Tensor:  # (batch, |chunk|), float32 or wider
    return (texts @ labels.T).to(_wide(texts.dtype))


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _split_pairs(
    chunks: Sequence[LabelChunk],
    positives: Positives[Tensor],
    masked: Pairs[Tensor],
    device: torch.device,
) -> tuple[Positives[Tensor], list[_Block]]:
    """The positives of labels in the pool, in the order of the chunks, and the blocks."""
    order = _ChunkOrder(chunks)
    kept, columns, ends = order.find(positives.labels)
    kept_masked, masked_columns, masked_ends = order.find(masked.labels)
    labels, rows, values, columns, masked_rows, masked_columns = (
        to_device(part, device)
        for part in (
            positives.labels[kept], positives.rows[kept], positives.values[kept], columns,
            masked.rows[kept_masked], masked_columns,
        )
    )  # fmt: skip
    blocks = [
        _Block(chunk.inputs, (rows[a], columns[a]), a, (masked_rows[b], masked_columns[b]))
        for chunk, a, b in zip(chunks, _slices(ends), _slices(masked_ends), strict=True)
    ]
    return Positives(labels, rows, values), blocks


class _ChunkOrder:
    """Finds labels in the chunks of a pool."""

    def __init__(self, chunks: Sequence[LabelChunk]) -> None:
        ids = [_label_ids(chunk.labels) for chunk in chunks]
        self.edges = torch.tensor([*accumulate(map(len, ids), initial=0)])
        self.ids, self.positions = torch.cat(ids).sort()

    def find(self, labels: Tensor) -> tuple[Tensor, Tensor, list[int]]:
        """Which labels are in the pool, chunk by chunk; their columns; where each chunk begins."""
        nearest = torch.searchsorted(self.ids, labels).clamp_(max=len(self.ids) - 1)
        kept = (self.ids[nearest] == labels).nonzero().squeeze(1)
        positions, by_position = self.positions[nearest[kept]].sort()
        starts = self.edges[torch.searchsorted(self.edges, positions, right=True) - 1]
        ends = torch.searchsorted(positions, self.edges).tolist()
        return kept[by_position], positions - starts, ends


def _label_ids(labels: Tensor | slice) -> Tensor:
    return torch.arange(labels.start, labels.stop) if isinstance(labels, slice) else labels


def _slices(ends: list[int]) -> Iterator[slice]:
    return (slice(first, last) for first, last in pairwise(ends))


def _random_states(device: torch.device) -> list[Tensor]:
    """The random states of the CPU and of the device, from which dropout draws."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_states(states: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
