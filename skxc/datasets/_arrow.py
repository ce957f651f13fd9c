"""pyarrow, which is not needed for anything else."""

from __future__ import annotations

from typing import Any


def arrow(what: str) -> Any:
    """The package pyarrow, with its modules `ipc` and `parquet`.

    Raises
    ------
    ImportError
        If it is not installed; `what` is what needs it.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            f"{what} needs the package pyarrow, which is not installed. Install it with "
            f'pip install "skxc[arrow]".'
        ) from error
    return pyarrow
