"""The folder of a saved model: JSON and safetensors, written whole or not at all.

Nothing that is read here is executed: values are rebuilt from a fixed list of plain types, and
arrays are views of bytes. What the folder says of itself is checked before anything is used.
"""

from ._hub import HubModel, is_out_of_reach, local_folder, upload
from ._leftovers import Kind, claimed, locked, try_lock
from ._opening import unreplaced
from ._reading import CONFIG, ENCODER, ModelFolder, read_config, read_tensors, real_path
from ._replaceable import check_replaceable
from ._values import LARGEST, Packed, check_numbers
from ._writing import (
    new_path,
    replaced_file,
    replaced_folder,
    seal,
    staging_folder,
    write_json,
    write_tensors,
)

__all__ = [
    "CONFIG",
    "ENCODER",
    "LARGEST",
    "HubModel",
    "Kind",
    "ModelFolder",
    "Packed",
    "check_numbers",
    "check_replaceable",
    "claimed",
    "is_out_of_reach",
    "local_folder",
    "locked",
    "new_path",
    "read_config",
    "read_tensors",
    "real_path",
    "replaced_file",
    "replaced_folder",
    "seal",
    "staging_folder",
    "try_lock",
    "unreplaced",
    "upload",
    "write_json",
    "write_tensors",
]
