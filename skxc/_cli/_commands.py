"""What the commands do, with options that are parsed."""

from __future__ import annotations

import inspect
import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skxc._persistence import local_folder, read_config, unreplaced

from ._data import Source, read
from ._errors import InputError, input_checked
from ._evaluate import KS, evaluate, metrics_of, table
from ._explain import explain
from ._predict import predict
from ._saving import check_is_free, check_space, save
from ._serve import serve
from ._streams import tell_done

if TYPE_CHECKING:
    from sklearn.utils import Bunch

__all__ = ["evaluate", "explain", "fit", "info", "predict", "serve"]


# -------------------------------------------------------------------------------------------- fit
def fit(
    estimator: Any,
    *,
    out: str,
    overwrite: bool,
    encoder: str,
    test_size: float | None,
    **parameters: Any,
) -> None:
    """Train and save; `parameters` are DATA's, the estimator's, and each encoder's by its name."""
    from skxc._distributed import is_first_launched
    from skxc._training._checkpoint import delete_checkpoint
    from skxc._validation import resolve_device
    from skxc.encoders._registry import ENCODERS

    start = time.perf_counter()
    of_encoders = {name: parameters.pop(name, {}) for name in ENCODERS}
    source = Source(**{name: parameters.pop(name) for name in Source._fields})
    with input_checked():
        folder = check_is_free(out, overwrite=overwrite)
        # () is not None: label texts are set last, since reading the data may take long
        clf = estimator(_encoder(encoder, of_encoders), label_texts=(), **parameters)
        clf.check_parameters()
        resolve_device(clf.device)
        dataset = read(source, test_size)
        clf.set_params(label_texts=_label_texts(clf, dataset, source.data))
        check_space(clf.encoder, dataset.Y.shape[1], folder)
    is_kept = clf.keep_checkpoint
    clf.set_params(keep_checkpoint=True)  # until the model is saved
    with _progress_logged(is_wanted=bool(clf.verbose) and not sys.stderr.isatty()):
        if "label_names" in dataset:
            clf._fit_columns(dataset.texts, dataset.Y, dataset.label_names)
        else:
            clf.fit(dataset.texts, dataset.Y, exclude=dataset.exclude)
    if not is_first_launched():  # of several processes, which all have the model
        return
    save(clf.set_params(keep_checkpoint=is_kept), out, folder, overwrite=overwrite)
    if clf.checkpoint_dir is not None and not is_kept:
        delete_checkpoint(Path(clf.checkpoint_dir))
    tell_done(
        f"Saved {type(clf).__name__} (labels: {clf.n_labels_:,}, training texts: "
        f"{len(dataset.texts):,}, epochs: {clf.n_iter_}) to {out} after "
        f"{time.perf_counter() - start:.1f} s\n"
    )
    if "label_names" in dataset:  # of a table: it was split here, and by nobody else
        _tell_held_out(clf, dataset)


def _tell_held_out(clf: Any, dataset: Bunch) -> None:
    """The metrics on the part that was held out."""
    told = f"{dataset.DESCR}\n"
    if dataset.test_texts:
        told += table(metrics_of(clf, dataset, KS), KS)
    tell_done(told)


def _encoder(encoder: str, of_encoders: Mapping[str, Mapping[str, Any]]) -> Any:
    """The encoder, with its own parameters; those of the others must have their defaults."""
    from skxc.encoders._registry import BY_MODEL, ENCODERS, encoder_name, make_encoder

    chosen = encoder_name(encoder)
    for name, values in of_encoders.items():
        defaults = inspect.signature(ENCODERS[name]).parameters
        changed = [p for p, value in values.items() if value != defaults[p].default]
        if changed and name != chosen:
            raise InputError(
                f"--{name}.{changed[0]} is no parameter of --encoder {encoder}. Leave it out, or "
                f"pass {'a model' if name == BY_MODEL else name} as --encoder."
            )
    return make_encoder(encoder, **of_encoders[chosen])


def _label_texts(clf: Any, dataset: Bunch, data: str) -> list[str] | None:
    """The data's label texts, which estimators that embed them need."""
    if dataset.label_texts is None and hasattr(clf, "transform_labels"):
        what, remedy = "no label texts", "Add a file of them (Y.txt, a text a line)"
        if "label_names" in dataset:
            what = f"labels such as {dataset.label_names.tolist()[0]!r} and no label texts"
            remedy = "Pass --vocabulary FILE, which has a text for each"
        raise InputError(
            f"{data} has {what}, which {type(clf).__name__} needs. {remedy}, or train renee."
        )
    label_texts: list[str] | None = dataset.label_texts
    return label_texts


@contextmanager
def _progress_logged(*, is_wanted: bool) -> Iterator[None]:
    """Warnings on stderr; one line per epoch, too, where no terminal shows a progress bar."""
    logger, handler = logging.getLogger("skxc"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("skxc: %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    if is_wanted:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# ------------------------------------------------------------------------------------------- info
def info(*, model: str) -> None:
    """What the model's config.json says."""
    with input_checked():
        config = unreplaced(local_folder(model, is_whole=False), read_config)
        try:
            rows = _told(config)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ValueError(
                f"{model}: config.json does not describe a model that this skxc knows ({error!r})."
            ) from error
    width = max(map(len, rows))
    lines = (_printable(f"{name:<{width}}  {value}".rstrip()) for name, value in rows.items())
    sys.stdout.write("\n".join(lines) + "\n")


def _told(config: Mapping[str, Any]) -> dict[str, str]:
    """What there is to tell, under its names."""
    fitted, sizes = config["fitted"], {k: v["size"] for k, v in config["files"].items()}
    return {
        "class": config["class"],
        "labels": f"{fitted['n_labels_']:,}",
        "training texts": f"{fitted['n_samples_seen_']:,}",
        "epochs": f"{fitted['n_iter_']:,}",
        "size": f"{_megabytes(sum(sizes.values()))} MB",
        **{f"  {name}": f"{_megabytes(size)} MB" for name, size in sizes.items()},
        "saved by": f"skxc {config['skxc_version']}",
        **{f"  {name}": version for name, version in config["libraries"].items()},
        "parameters": "",
        **{f"  {name}": _shown(value) for name, value in config["parameters"].items()},
    }


def _printable(line: str) -> str:
    """The line without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.2f}"


def _shown(value: Any) -> str:
    """A parameter as config.json has it, in Python's notation."""
    if not isinstance(value, dict):
        return repr(value)
    if "class" in value:  # an encoder
        inner = (f"{name}={_shown(v)}" for name, v in value["parameters"].items())
        return f"{value['class']}({', '.join(inner)})"
    if value["$"] == "tuple":
        return f"({', '.join(map(_shown, value['items']))})"
    if value["$"] == "labels":
        return "texts, saved with the labels"
    return str(value.get("name", value.get("value", value["$"])))
