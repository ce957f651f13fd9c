"""The options of `skxc fit`: all parameters of an estimator and of its encoders."""

from __future__ import annotations

import inspect
import re
from ast import literal_eval
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_type_hints

from jsonargparse import ActionYesNo

from ._options import DATA_HELP, add_columns, add_fields, add_layout
from ._parsing import Parser, new_parser


def fit_parser(name: str, estimator: type) -> Parser:
    from skxc.encoders._registry import BY_MODEL, ENCODERS

    parser = new_parser(
        f"fit {name}",
        "DATA --out MODEL [options]",
        f"Train {estimator.__name__} on the training texts of DATA; save it to the folder MODEL.\n"
        "Label texts come from DATA; pairs of its filter file are left out.\n\n"
        "Options may be written with - in place of _. For None, write null.",
    )
    parser.add_argument("data", metavar="DATA", type=str, help=DATA_HELP)
    parser.add_argument(
        "--out", metavar="MODEL", type=str, required=True, help="Folder to save the model to."
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace the model that --out holds."
    )
    add_layout(parser)
    add_fields(parser)
    add_columns(parser)
    parser.add_argument(
        "--test_size",
        type=int | float | None,
        default=None,
        help="Share, or number, of a table's or corpus' rows to hold out; 0: train on all. "
        "(int or float, default: 0.1)",
    )
    group = parser.add_argument_group(f"parameters of {estimator.__name__}")
    _add_encoder(group)
    _add_parameters(group, estimator, skip=("encoder", "label_texts", "warm_start", "verbose"))
    group.add_argument(
        "--verbose",
        type=int,
        default=1,
        help="1: a progress bar, or one line per epoch if stderr is no terminal; 0: neither. "
        "(int, default: 1)",
    )
    for name, encoder in ENCODERS.items():
        value = "with any other --encoder" if name == BY_MODEL else f"with --encoder {name}"
        group = parser.add_argument_group(f"parameters of {encoder.__name__}, {value}")
        _add_parameters(group, encoder, f"{name}.", skip=("model", "words"))
    return parser


def _add_encoder(group: Any) -> None:
    from skxc.encoders._registry import BY_MODEL, ENCODERS

    summaries = {name: (cls.__doc__ or "").split("\n")[0] for name, cls in ENCODERS.items()}
    text = "".join(f'"{k}": {_plain(v)} ' for k, v in summaries.items() if k != BY_MODEL)
    text += "Any other string: a Hugging Face model id or a local folder. (str, default: bag)"
    group.add_argument("--encoder", type=str, default="bag", help=text)


def _add_parameters(group: Any, owner: type, prefix: str = "", skip: Iterable[str] = ()) -> None:
    """An option for every parameter of the constructor; types and help from its documentation."""
    from docstring_parser import DocstringStyle, parse

    described = parse(owner.__doc__ or "", DocstringStyle.NUMPYDOC).params
    texts = {p.arg_name: p for p in described if p.args[0] == "param"}
    hints = get_type_hints(owner.__init__)  # type: ignore[misc]
    for name, parameter in inspect.signature(owner).parameters.items():
        if name in skip:
            continue
        kind = re.sub(r",? *default\b.*", "", texts[name].type_name or "")
        settings: dict[str, Any] = {"default": parameter.default}
        if hints[name] is bool:
            settings["action"] = ActionYesNo
        elif kind.startswith("{"):
            choices = literal_eval(f"[{kind[1:-1]}]")
            settings["type"] = Literal[tuple(choices)]
        else:
            settings["type"] = _accepted(hints[name])
        text = f"{_plain(texts[name].description or '')} ({kind}, default: {parameter.default})"
        group.add_argument(f"--{prefix}{name}", help=text.replace("%", "%%"), **settings)


def _plain(text: str) -> str:
    """A docstring's text without markup."""
    text = re.sub(r" ?\[\d+\]_", "", re.sub(r"\bof \[\d+\]_", "of the paper", text))
    text = re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``|`([^`]*)`", r"\1\2\3", text)
    return " ".join(text.split())


def _accepted(hint: Any) -> Any:
    """The type of an option's value: plain, so that config files import nothing."""
    if hint is Any:
        return bool | int | float | str | None
    if float in (hint, *get_args(hint)):
        return int | hint  # 2 stays a count where 0.5 is a share
    return hint
