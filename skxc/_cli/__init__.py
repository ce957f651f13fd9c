"""The command line: `skxc fit`, `skxc predict` and what `skxc --help` lists."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import skxc

from ._data import is_data
from ._errors import InputError, one_line
from ._fit_parser import fit_parser
from ._parsers import (
    evaluate_parser,
    explain_parser,
    info_parser,
    predict_parser,
    serve_parser,
)
from ._parsing import Parser, parsed
from ._signals import Terminated, orderly_end
from ._streams import drop_unwritable, prepare_output, tell

__all__ = ["main"]

_HELP = """\
usage: skxc COMMAND ...

Extreme multi-label text classification.

commands:
  fit [ESTIMATOR] DATA --out MODEL train an estimator and save it
  predict MODEL [TEXTS]            the best labels of each text
  explain MODEL [TEXTS]            how far each word moved the scores of a text's labels
  evaluate MODEL DATA              ranking metrics on the test texts
  serve MODEL                      answer requests over HTTP, with a page for people
  info MODEL                       describe a saved model

"skxc COMMAND --help" explains more.

examples:
  skxc fit data.csv --text title,body --labels subjects --separator ";" --out model
  skxc predict model new.csv --text title,body --out labels.csv
  skxc fit renee library-subjects --out model
  echo "a history of wooden churches" | skxc predict model --top-k 3
  echo "a history of wooden churches" | skxc explain model
  skxc evaluate model library-subjects

An error is one line on stderr (with SKXC_DEBUG=1 in the environment, Python's traceback).
Exit codes: 0 done, 1 failed, 2 wrong usage or input, 129 hung up, 130 interrupted, 141 output
closed early, 143 terminated.
"""

_FIT_HELP = """\
usage: skxc fit [ESTIMATOR] DATA --out MODEL [options]

Train an estimator on the training texts of DATA and save it to the folder MODEL.
DATA may be your own table: a part of its rows is held out, and the metrics on it are shown.

estimators (unidec if there is none):
  renee          ReneeClassifier: one-vs-all classifier over all labels
  dual-encoder   DualEncoderXC: labels are their texts, embedded beside the documents
  unidec         UniDEC: both together; start with it if labels have texts

"skxc fit ESTIMATOR --help" lists the options: all parameters of the estimator.

examples:
  skxc fit data.csv --text title,body --labels subjects --separator ";" --out model
  skxc fit corpus.tsv --vocabulary subjects.csv --language en --out model
  skxc fit renee library-subjects --out model
  skxc fit unidec path/to/data --epochs 10 --bag.dim 128 --out model
  skxc fit dual-encoder path/to/data --encoder path/to/transformer --out model
  skxc fit renee path/to/data --out model --print-config > fit.yaml
  skxc fit renee --config fit.yaml --learning-rate 0.02
"""

_DEFAULT = "unidec"  # estimator


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments, without the program's name; None: those of the process.

    Returns
    -------
    int
        The exit code, as ``skxc --help`` lists them.
    """
    prepare_output()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            try:
                with orderly_end():
                    _run(list(sys.argv[1:] if argv is None else argv))
            finally:
                sys.stdout.flush()  # --help and --print-config end in SystemExit
            return 0
        except KeyboardInterrupt:
            tell("skxc: interrupted\n")
            return 130
        except Terminated as end:
            tell("skxc: terminated\n")
            return end.exit_code
        except BrokenPipeError:
            return 141
        except Exception as error:
            if os.environ.get("SKXC_DEBUG"):
                raise
            tell(f"skxc: error: {one_line(error)}\n")
            return 2 if isinstance(error, InputError) else 1
        finally:
            drop_unwritable(sys.stdout, sys.stderr)


def _run(argv: list[str]) -> None:
    command, arguments = (argv[0], argv[1:]) if argv else ("", [])
    if command in ("-h", "--help"):
        sys.stdout.write(_HELP)
    elif command == "--version":
        sys.stdout.write(f"skxc {skxc.__version__}\n")
    elif command == "fit":
        _run_fit(arguments)
    elif command in _COMMANDS:
        options = parsed(_COMMANDS[command](), arguments)
        from . import _commands  # slow imports, once the arguments are known to be right

        getattr(_commands, command)(**options)
    else:
        raise InputError(
            f"{command!r} is no command. Pass one of fit, {', '.join(_COMMANDS)} or --help."
        )


_COMMANDS: dict[str, Callable[[], Parser]] = {
    "predict": predict_parser,
    "evaluate": evaluate_parser,
    "explain": explain_parser,
    "info": info_parser,
    "serve": serve_parser,
}


def _run_fit(argv: list[str]) -> None:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_FIT_HELP)
        return
    if name in skxc._ESTIMATORS:
        argv = argv[1:]
    elif name.startswith("-") or is_data(name):
        name = _DEFAULT
    else:
        raise InputError(
            f"{name!r} is no estimator ({', '.join(skxc._ESTIMATORS)}), and there is no file or "
            f"folder of that name to train on."
        )
    estimator = getattr(skxc, skxc._ESTIMATORS[name])
    options = parsed(fit_parser(name, estimator), argv)
    from ._commands import fit

    fit(estimator, **options)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    tell(f"skxc: warning: {' '.join(str(message).split())}\n")
