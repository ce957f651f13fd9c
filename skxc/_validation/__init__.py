"""Everything that users pass in is checked here, before anything is computed."""

from ._arrays import addable, as_numbers, check_threshold, refuse_masked
from ._duplicates import csr_with_duplicates, merge_duplicates
from ._free_memory import check_free, free_host_bytes, left_in_container, size
from ._label_lists import TargetKind, is_collection
from ._label_names import as_classes, check_classes, check_same_classes, exact_array, is_nameless
from ._labels import Target, check_exclude, check_sample_weight, check_target
from ._lazy import LazyColumn, is_lazy
from ._matrices import (
    frame_to_array,
    frame_to_csr,
    is_frame,
    is_sparse_frame,
    native,
    sound_sparse,
)
from ._parameters import (
    callers_stack_level,
    check_choice,
    check_integer,
    check_real,
    check_seed,
    is_auto,
    is_number,
    reason,
    resolve_device,
    short,
)
from ._texts import check_label_texts, check_texts, lazy_texts, names_of

__all__ = [
    "LazyColumn",
    "Target",
    "TargetKind",
    "addable",
    "as_classes",
    "as_numbers",
    "callers_stack_level",
    "check_choice",
    "check_classes",
    "check_exclude",
    "check_free",
    "check_integer",
    "check_label_texts",
    "check_real",
    "check_same_classes",
    "check_sample_weight",
    "check_seed",
    "check_target",
    "check_texts",
    "check_threshold",
    "csr_with_duplicates",
    "exact_array",
    "frame_to_array",
    "frame_to_csr",
    "free_host_bytes",
    "is_auto",
    "is_collection",
    "is_frame",
    "is_lazy",
    "is_nameless",
    "is_number",
    "is_sparse_frame",
    "lazy_texts",
    "left_in_container",
    "merge_duplicates",
    "names_of",
    "native",
    "reason",
    "refuse_masked",
    "resolve_device",
    "short",
    "size",
    "sound_sparse",
]
