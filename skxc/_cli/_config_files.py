"""Options as YAML: small and plain, or growth and hanging are somebody's aim."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jsonargparse import get_loader, set_loader

from ._errors import InputError

MODE = "plain yaml"  # the parser's: files of options, and each value of one
_LARGEST = 100_000  # bytes: parameters of NumPy arrays' size have no place there
_DEEPEST = 20
_LONGEST_NUMBER = 1000  # characters; YAML's sexagesimal ones take quadratic time


def readable_config(path: str | os.PathLike[str]) -> str:
    """The text of a file of options.

    Raises
    ------
    InputError
        If it cannot be read, is too large, or is no UTF-8 text.
    """
    name = f"--config {os.fspath(path)}"
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise InputError(f"{name} holds more than {_LARGEST:,} bytes. Pass a file of options.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 ({error.reason}). Pass a file of options."
        ) from error


def _load(text: str) -> Any:
    """The value of YAML that does not grow when it is read."""
    _check_growth(text)
    return get_loader("yaml")(text)


def _check_growth(text: str) -> None:
    """Raise for aliases, a few of which can stand for gigabytes, and for deep nesting."""
    import yaml  # type: ignore[import-untyped,unused-ignore]  # of jsonargparse

    depth, anchors = 0, set()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) and event.anchor in anchors:  # else it is no YAML
            raise InputError(f"YAML alias *{event.anchor} is not accepted. Write the value out.")
        anchors.add(event.anchor if isinstance(event, yaml.NodeEvent) else None)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InputError(f"YAML nested more than {_DEEPEST} times is not accepted.")
        is_number = isinstance(event, yaml.ScalarEvent) and event.value.strip("+-")[:1].isdigit()
        if is_number and len(event.value) > _LONGEST_NUMBER:
            raise InputError(f"A number of {len(event.value):,} characters is not accepted.")


def loaded_list(text: str) -> list[Any] | None:
    """What a list between brackets holds; None: the text is none."""
    import yaml

    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        value = _load(text)
    except yaml.YAMLError:
        return None
    return value if isinstance(value, list) else None


def register() -> None:
    """Make the mode known to jsonargparse."""
    import yaml

    set_loader(MODE, _load, (yaml.YAMLError,))


def is_read_once(path: str | os.PathLike[str]) -> bool:
    """Whether it is a pipe."""
    return not Path(path).is_file()
