"""The one-vs-all step on a GPU, in Triton: the weights are read twice and written once.

With momentum the velocity is read and written once, too: 4 more bytes a weight in bfloat16.

A chunk of labels goes through two kernels. The first scores it and writes sigmoid minus target,
taken in float32, in the weights' own precision: 2 bytes a score, where a product in float32 and a
pass over it would move 10, which is two thirds of the weights' own traffic at 256 rows and 768
columns. The second owns a tile of the weights over the whole batch: it takes the tile's part of the
texts' gradient and steps the tile, with stochastic rounding. A label's scores need its whole row,
the texts' gradient needs all labels: one kernel for both would have to add a (batch, dim) sum to
memory tile by tile, which is more traffic than a second look at the weights.

Pairs with a target are scored apart, in float32 and once a step, and written over what the first
kernel has for them: to look for them among its scores would cost every tile.

Matrix rows are best a multiple of 8 numbers apart, else nothing is loaded in vectors. What lies
between a row's end and the next row's beginning, fewer than 8 numbers, is written to.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from ._torch import add_product_, padded_width

_TILE_LABELS = 128  # of the first kernel: the chunks' bounds are multiples of it
_TILE = 64  # labels and columns of the second kernel's tiles, columns at a time of the first's
_BLOCK_ROWS = 128  # of a batch in one product of the first kernel
_MAX_FUSED_ROWS = 256  # of a batch whose gradient the second kernel sums in its registers
_PAIRS_AT_ONCE = 4096  # pairs whose rows of the weights are copied at the same time


# What differs between chunks and batches is no reason to compile again: Triton would where a number
# is 1 or stops being a multiple of 16, and where an address does.
_VARYING = ("losses", "pair_ends", "pair_labels", "pair_rows", "pair_errors", "first", "n_labels")


@triton.jit(do_not_specialize=_VARYING)
def _errors_kernel(
    weights: tl.tensor,  # (n_labels, DIM), rows STRIDE apart
    embeddings: tl.tensor,  # (N_ROWS, WIDTH), 0 where the batch has no row or column
    row_weights: tl.tensor,  # (N_ROWS,) float32, 0 where the batch has no row
    errors: tl.tensor,  # (n_labels, N_ROWS), written
    losses: tl.tensor,  # (all tiles * blocks,) float32, written WITH_LOSS
    pair_ends: tl.tensor,  # where the pairs of all tiles end, preceded by where they begin
    pair_labels: tl.tensor,
    pair_rows: tl.tensor,
    pair_errors: tl.tensor,
    first: tl.tensor,  # the chunk's first label, a tile's first
    n_labels: tl.tensor,  # of the chunk
    N_ROWS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    STRIDE: tl.constexpr,
    TILE_L: tl.constexpr,
    TILE_B: tl.constexpr,
    TILE_D: tl.constexpr,
    WITH_LOSS: tl.constexpr,  # a variant of its own: most steps need no logarithm a score
) -> None:
    """Sigmoid minus target of a tile of labels and a block of rows."""
    N_BLOCKS: tl.constexpr = N_ROWS // TILE_B
    tile, block = tl.program_id(0) // N_BLOCKS, tl.program_id(0) % N_BLOCKS
    labels = tile * TILE_L + tl.arange(0, TILE_L)
    rows = block * TILE_B + tl.arange(0, TILE_B)
    # labels past the end: the last one again, so that loads need no mask
    sources = tl.minimum(labels, n_labels - 1).to(tl.int64)[:, None] * STRIDE
    scores = tl.zeros((TILE_L, TILE_B), tl.float32)
    FULL: tl.constexpr = DIM // TILE_D * TILE_D
    for start in range(0, FULL, TILE_D):
        columns = start + tl.arange(0, TILE_D)
        w = tl.load(weights + sources + columns[None, :])
        e = tl.load(embeddings + rows[None, :] * WIDTH + columns[:, None])
        scores = tl.dot(w, e, scores, input_precision="ieee")
    if FULL < DIM:
        columns = FULL + tl.arange(0, TILE_D)
        # WIDTH, a multiple of 8, keeps the loads vectors; what lies past DIM may be anything
        w = tl.load(weights + sources + columns[None, :], (columns < WIDTH)[None, :], other=0)
        w = tl.where((columns < DIM)[None, :], w, 0).to(weights.dtype.element_ty)
        e = tl.load(
            embeddings + rows[None, :] * WIDTH + columns[:, None],
            (columns < WIDTH)[:, None],
            other=0,
        )
        scores = tl.dot(w, e, scores, input_precision="ieee")
    scale = tl.load(row_weights + rows)[None, :]
    is_label = (labels < n_labels)[:, None]
    if WITH_LOSS:
        softplus = tl.maximum(scores, 0) + tl.log(1 + tl.exp(-tl.abs(scores)))
        loss = tl.sum(tl.sum(tl.where(is_label, softplus * scale, 0), 1), 0)
        tl.store(losses + (first // TILE_L * N_BLOCKS + tl.program_id(0)), loss)
    error = (tl.sigmoid(scores) * scale).to(errors.dtype.element_ty)
    places = labels.to(tl.int64)[:, None] * N_ROWS + rows[None, :]
    tl.store(errors + places, error, is_label)
    tl.debug_barrier()  # all of the tile is written before pairs are written over it
    ends = pair_ends + (first // TILE_L + tile)
    end = tl.load(ends + 1)
    for start in range(tl.load(ends), end, 32):
        pairs = start + tl.arange(0, 32)
        row = tl.load(pair_rows + pairs, pairs < end, other=-1)
        label = tl.load(pair_labels + pairs, pairs < end, other=0) - first
        value = tl.load(pair_errors + pairs, pairs < end, other=0)
        tl.store(errors + label * N_ROWS + row, value, (row >= 0) & (row // TILE_B == block))


@triton.jit(do_not_specialize=_VARYING)
def _update_kernel(
    weights: tl.tensor,  # (n_labels, WIDTH), rows STRIDE apart, updated in place
    velocity: tl.tensor,  # likewise, WITH_MOMENTUM
    embeddings: tl.tensor,  # (N_ROWS, WIDTH), 0 where the batch has no row or column
    errors: tl.tensor,  # (n_labels, N_ROWS)
    gradients: tl.tensor,  # (parts, N_ROWS, WIDTH) float32, added to WITH_GRADIENT
    seeds: tl.tensor,  # (1,) int64
    first: tl.tensor,  # the chunk's first label, of all: what is drawn goes by it
    n_labels: tl.tensor,  # of the chunk
    learning_rate: tl.tensor,
    weight_decay: tl.tensor,
    decay: tl.tensor,  # what the weights are multiplied with, without momentum
    momentum: tl.tensor,
    N_ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    STRIDE: tl.constexpr,
    TILE_L: tl.constexpr,
    TILE_B: tl.constexpr,
    TILE_D: tl.constexpr,
    WITH_GRADIENT: tl.constexpr,  # the batch is one block
    WITH_MOMENTUM: tl.constexpr,
) -> None:
    """Step every n-th tile of the weights, and sum the texts' gradient over these tiles."""
    columns = tl.program_id(0) * TILE_D + tl.arange(0, TILE_D)
    part, n_parts = tl.program_id(1), tl.num_programs(1)
    rows = tl.arange(0, TILE_B)
    e_places = rows[:, None] * WIDTH + columns[None, :]
    is_column = (columns < WIDTH)[None, :]
    e = tl.load(embeddings + e_places, is_column, other=0)
    gradient = tl.zeros((TILE_B, TILE_D), tl.float32)
    groups = tl.program_id(0) * (TILE_D // 8) + tl.arange(0, TILE_D // 8)
    for tile in range(part, tl.cdiv(n_labels, TILE_L), n_parts):
        labels = tile * TILE_L + tl.arange(0, TILE_L)
        is_label = (labels < n_labels)[:, None]
        places = labels.to(tl.int64)[:, None] * STRIDE + columns[None, :]
        w = tl.load(weights + places, is_label & is_column, other=0)
        if WITH_MOMENTUM:  # asked for before the products, which hide the wait
            v = tl.load(velocity + places, is_label & is_column, other=0)
        seed = tl.load(seeds)  # of every tile: kept over them it would take registers
        error_places = labels.to(tl.int64)[:, None] * N_ROWS + rows[None, :]
        step = tl.zeros((TILE_L, TILE_D), tl.float32)
        if WITH_GRADIENT:
            error = tl.load(errors + error_places, is_label, other=0)
            gradient = tl.dot(tl.trans(error), w, gradient, input_precision="ieee")
            step = tl.dot(error, e, step, input_precision="ieee")
        else:
            for start in range(0, N_ROWS, TILE_B):
                error = tl.load(errors + error_places + start, is_label, other=0)
                e = tl.load(embeddings + start * WIDTH + e_places, is_column, other=0)
                step = tl.dot(error, e, step, input_precision="ieee")
        if WITH_MOMENTUM:  # the weights move by the velocity before it is rounded
            # no plain sum with the product: Triton would begin the product with the other summand,
            # which then has to wait for the velocity
            step = tl.fma(w.to(tl.float32), weight_decay, step)
            step = tl.fma(v.to(tl.float32), momentum, step)
            updated = w.to(tl.float32) - learning_rate * step
            v = _stored(step, velocity, seed, first + labels, groups, TILE_L, TILE_D // 8, 1)
            tl.store(velocity + places, v, is_label & is_column)
        else:
            updated = w.to(tl.float32) * decay - learning_rate * step
        w = _stored(updated, weights, seed, first + labels, groups, TILE_L, TILE_D // 8, 0)
        tl.store(weights + places, w, is_label & is_column)
    if WITH_GRADIENT:
        sums = gradients + part * (N_ROWS * WIDTH) + e_places
        tl.store(sums, tl.load(sums, is_column, other=0) + gradient, is_column)


@triton.jit
def _stored(
    values: tl.tensor,  # (N_LABELS, 8 * N_GROUPS) float32
    table: tl.tensor,  # that they go to
    seed: tl.tensor,
    labels: tl.tensor,
    groups: tl.tensor,
    N_LABELS: tl.constexpr,
    N_GROUPS: tl.constexpr,
    STREAM: tl.constexpr,
) -> tl.tensor:
    """Values as the table has them: bfloat16 is rounded up or down at random."""
    if table.dtype.element_ty == tl.bfloat16:
        random = _random_halves(seed, labels, groups, N_LABELS, N_GROUPS, STREAM)
        values = _rounded(values, random)
    return values


@triton.jit
def _random_halves(
    seed: tl.tensor,
    labels: tl.tensor,  # (N_LABELS,)
    groups: tl.tensor,  # (N_GROUPS,)
    N_LABELS: tl.constexpr,
    N_GROUPS: tl.constexpr,
    STREAM: tl.constexpr,  # 0 for the weights, 1 for their velocity: independent of one another
) -> tl.tensor:
    """Sixteen random bits for every weight, (N_LABELS, 8 * N_GROUPS) int32.

    The counter is label, group of eight columns and stream: a weight's bits depend on its place and
    the seed alone, not on chunks or tiles. One call of Philox serves all eight, in 7 rounds, the
    fewest that pass all of its authors' tests (Salmon et al., 2011): a call for every weight would
    take eight times the integer products.
    """
    zero = tl.zeros((N_LABELS, N_GROUPS), tl.uint32)
    label, group = zero + labels.to(tl.uint32)[:, None], zero + groups.to(tl.uint32)[None, :]
    a, b, c, d = tl.philox(seed, label, group, zero + STREAM, zero, 7)
    words = tl.reshape(tl.join(tl.join(a, b), tl.join(c, d)), (N_LABELS, 4 * N_GROUPS))
    halves = tl.join(words & 0xFFFF, words >> 16).to(tl.int32)
    return tl.reshape(halves, (N_LABELS, 8 * N_GROUPS))


@triton.jit
def _rounded(values: tl.tensor, random: tl.tensor) -> tl.tensor:
    """Values in bfloat16, rounded up or down so that their means are right; nan stays nan."""
    bits = values.to(tl.int32, bitcast=True)
    bits = tl.where(values == values, bits + random, bits)
    return (bits >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)


def fused_step_(
    weights: Tensor,  # (n_labels, dim), updated in place
    embeddings: Tensor,  # (batch, dim), of the same dtype
    labels: Tensor,  # (n_pairs,) int64, ascending
    rows: Tensor,  # (n_pairs,) int64
    targets: Tensor,  # (n_pairs,) float32; nan: the pair has no part in the loss
    learning_rate: float,
    weight_decay: float,
    momentum: float = 0.0,
    *,
    chunk_size: int,  # labels at a time, rounded up to whole tiles
    velocity: Tensor | None = None,  # of the weights' dtype and strides, updated in place
    batch_size: int | None = None,  # of the largest batch: smaller ones are filled up to it
    sample_weight: Tensor | None = None,  # (batch,)
    with_loss: bool = False,
    generator: torch.Generator | None = None,
    first_label: int = 0,  # its number among all labels
) -> tuple[Tensor, Tensor | None]:
    """Step the weights on the summed binary cross-entropy; the gradient of the texts, and the loss.

    All tensors are on one device, which nothing in here waits for. A number of rows that the
    kernels have not seen compiles them: `batch_size` spares an epoch's last batch that.
    """
    n_rows = _n_rows(max(len(embeddings), int(batch_size or 0)))
    filling = (0, n_rows - len(embeddings))  # rows of 0, up to whole products
    scale = embeddings.new_ones(len(embeddings)) if sample_weight is None else sample_weight
    scale = F.pad(scale.float(), filling)
    width = min(padded_width(table) for table in (weights, velocity) if table is not None)
    padded = F.pad(embeddings, (0, width - weights.shape[1], *filling)).contiguous()
    scores, is_ignored = _pair_scores(weights, embeddings, labels, rows), targets.isnan()
    errors = torch.where(is_ignored, 0, scores.sigmoid() - targets) * scale[rows]
    seed = torch.randint(1 << 62, (1,), device=weights.device, generator=generator)
    # Triton tells a float from a tensor by its type: one of NumPy's is neither
    rate, decay = float(learning_rate), float(weight_decay)
    numbers = (rate, decay, 1 - rate * decay, float(momentum))
    with torch.cuda.device_of(weights):  # Triton launches on the current device
        gradient, losses = _step_chunks_(
            weights, velocity, padded, scale, (labels, rows, errors), (seed, numbers),
            chunk_size=_whole_tiles(int(chunk_size)), first_label=first_label, with_loss=with_loss,
        )  # fmt: skip
    gradient = gradient[: len(embeddings), : weights.shape[1]]
    if not with_loss:
        return gradient, None
    pair_losses = torch.where(is_ignored, F.softplus(scores), targets * scores)
    return gradient, losses.sum() - scale[rows] @ pair_losses


def _step_chunks_(
    weights: Tensor,
    velocity: Tensor | None,
    embeddings: Tensor,  # (n_rows, width), filled up with 0
    scale: Tensor,  # (n_rows,)
    pairs: tuple[Tensor, Tensor, Tensor],  # labels (ascending), rows and errors
    update: tuple[Tensor, tuple[float, ...]],  # seed, and the numbers as the kernel has them
    *,
    chunk_size: int,
    first_label: int,
    with_loss: bool,
) -> tuple[Tensor, Tensor]:
    """The gradient of the texts, (n_rows, width), and the tiles' losses, targets left out."""
    (n_labels, dim), device, (n_rows, width) = weights.shape, weights.device, embeddings.shape
    block, n_columns = min(n_rows, _BLOCK_ROWS), triton.cdiv(width, _TILE)
    n_tiles, n_blocks = triton.cdiv(n_labels, _TILE_LABELS), n_rows // block
    tile_ends = torch.arange(n_tiles + 1, device=device) * _TILE_LABELS
    pair_ends = torch.searchsorted(pairs[0], tile_ends)
    losses = torch.zeros(n_tiles * n_blocks if with_loss else 1, device=device)
    is_fused = n_rows <= _MAX_FUSED_ROWS
    n_parts = max(2 * _n_processors(device) // n_columns, 1)  # two programs a processor, not more
    gradients = torch.zeros((n_parts if is_fused else 1, n_rows, width), device=device)
    errors = embeddings.new_empty((min(chunk_size, n_labels), n_rows))
    options = {"N_ROWS": n_rows, "WIDTH": width, "STRIDE": weights.stride(0), "TILE_D": _TILE}
    options |= {"num_warps": 8, "enable_fp_fusion": True}
    for start in range(0, n_labels, chunk_size):
        chunk = weights[start : start + chunk_size]
        moving = chunk if velocity is None else velocity[start : start + chunk_size]
        _errors_kernel[(triton.cdiv(len(chunk), _TILE_LABELS) * n_blocks,)](
            chunk, embeddings, scale, errors, losses, pair_ends, *pairs, start, len(chunk),
            DIM=dim, TILE_L=_TILE_LABELS, TILE_B=block, WITH_LOSS=with_loss, num_stages=3,
            **options,
        )  # fmt: skip
        if not is_fused:  # a large batch: its products take longer than one more look
            add_product_(gradients[0, :, :dim], errors[: len(chunk)].T, chunk)
        _update_kernel[(n_columns, n_parts)](
            chunk, moving, embeddings, errors, gradients, update[0], first_label + start,
            len(chunk), *update[1],
            TILE_L=_TILE, TILE_B=n_rows if is_fused else block, WITH_GRADIENT=is_fused,
            WITH_MOMENTUM=velocity is not None, **_compiler_options(device, n_rows), **options,
        )  # fmt: skip
    return gradients.sum(0), losses


def _pair_scores(weights: Tensor, embeddings: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
    blocks = zip(labels.split(_PAIRS_AT_ONCE), rows.split(_PAIRS_AT_ONCE), strict=True)
    return torch.cat([(weights[i].float() * embeddings[j].float()).sum(1) for i, j in blocks])


def _n_rows(batch: int) -> int:
    """The batch's rows, and empty ones up to whole products."""
    if batch > _MAX_FUSED_ROWS:
        return -(-batch // _BLOCK_ROWS) * _BLOCK_ROWS
    return max(triton.next_power_of_2(batch), 16)


def _whole_tiles(chunk_size: int) -> int:
    return -(-chunk_size // _TILE_LABELS) * _TILE_LABELS


@cache
def _compiler_options(device: torch.device, n_rows: int) -> dict[str, int]:
    """Of the second kernel."""
    options = {"num_stages": 3 if n_rows <= 64 else 2}
    is_hopper = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9
    if is_hopper and (n_rows <= 64 or n_rows > _MAX_FUSED_ROWS):
        # two programs fit a processor with 128 registers a thread. With momentum the compiler would
        # take up to 176, though it needs no more; between these sizes it does, as on older GPUs
        options["maxnreg"] = 128
    return options


@cache
def _n_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 2
    return torch.cuda.get_device_properties(device).multi_processor_count
