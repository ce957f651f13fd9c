"""Everything that users pass in is checked here, before anything is computed."""

from ._duplicates import csr_with_duplicates, merge_duplicates
from ._label_lists import TargetKind
from ._label_names import as_classes, check_classes, check_same_classes, exact_array, is_nameless
from ._labels import Target, check_exclude, check_sample_weight, check_target
from ._matrices import (
    frame_to_array,
    frame_to_csr,
    is_frame,
    is_sparse_frame,
    sound_sparse,
)
from ._parameters import (
    callers_stack_level,
    check_choice,
    check_integer,
    check_real,
    check_seed,
    check_threshold,
    is_auto,
    resolve_device,
    short,
)
from ._texts import check_label_texts, check_texts

__all__ = [
    "Target",
    "TargetKind",
    "as_classes",
    "callers_stack_level",
    "check_choice",
    "check_classes",
    "check_exclude",
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
    "is_auto",
    "is_frame",
    "is_nameless",
    "is_sparse_frame",
    "merge_duplicates",
    "resolve_device",
    "short",
    "sound_sparse",
]
