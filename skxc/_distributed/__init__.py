"""What many processes do together; on one process, the identity.

torchrun starts the processes, and each runs the same script on the same data. Inside `together`
they draw the same batches and pools from the same seeds; each does a contiguous share of the work
and holds a contiguous share of the labels. Collectives are explicit: no rank enters a formula.
"""

from ._processes import (
    OtherProcessError,
    all_gather_rows,
    all_reduce_,
    alone,
    any_of,
    barrier,
    broadcast,
    broadcast_,
    check_device,
    gather,
    gather_counts,
    is_first_launched,
    is_first_on_host,
    is_launched,
    n_on_host,
    n_share,
    of_host,
    rank,
    reduce_scatter_rows,
    rejoined,
    share,
    share_sizes,
    size,
    together,
)
from ._whole import whole, whole_offsets

__all__ = [
    "OtherProcessError",
    "all_gather_rows",
    "all_reduce_",
    "alone",
    "any_of",
    "barrier",
    "broadcast",
    "broadcast_",
    "check_device",
    "gather",
    "gather_counts",
    "is_first_launched",
    "is_first_on_host",
    "is_launched",
    "n_on_host",
    "n_share",
    "of_host",
    "rank",
    "reduce_scatter_rows",
    "rejoined",
    "share",
    "share_sizes",
    "size",
    "together",
    "whole",
    "whole_offsets",
]
