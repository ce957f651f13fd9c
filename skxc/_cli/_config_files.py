"""Files of options: small, plain YAML, before the parser reads them."""

from __future__ import annotations

from pathlib import Path

from ._errors import InputError

_LARGEST = 100_000  # bytes: parameters of NumPy arrays' size have no place there
_DEEPEST = 20


def checked_config(value: str) -> str:
    """The value of --config, or what it names if that can be read only once.

    Raises
    ------
    InputError
        If it is too large, no UTF-8 text, or YAML that grows when it is read.
    """
    try:
        with open(value, "rb") as file:
            content = file.read(_LARGEST + 1)
        is_lasting = Path(value).is_file()  # and no pipe
    except (OSError, ValueError):
        content, is_lasting = value.encode("utf8", "surrogateescape"), True
    name = f"--config {value}" if len(value) < 100 else "--config"
    if len(content) > _LARGEST:
        raise InputError(f"{name} holds more than {_LARGEST:,} bytes. Pass a file of options.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8 ({error.reason}). Pass a file of options."
        ) from error
    _check_growth(text, name)
    return value if is_lasting else text


def _check_growth(text: str, name: str) -> None:
    """Raise for aliases, a few of which can stand for gigabytes, and for deep nesting."""
    import yaml

    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{name} holds the alias *{event.anchor}. Write the value out.")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise InputError(f"{name} is nested more than {_DEEPEST} times. Pass plain values.")
    except yaml.YAMLError:
        return  # which the parser explains
