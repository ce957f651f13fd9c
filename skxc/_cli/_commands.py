"""What the commands do, with options that are parsed."""

from __future__ import annotations

import inspect
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skxc._persistence import read_config, unreplaced

from ._answers import loaded
from ._errors import InputError, input_checked
from ._predict import predict
from ._saving import check_is_free, check_space, save
from ._serve import serve
from ._streams import tell_done

if TYPE_CHECKING:
    from sklearn.utils import Bunch

__all__ = ["evaluate", "fit", "info", "predict", "serve"]

_KINDS = ("P", "nDCG", "R", "PSP", "PSnDCG")


# -------------------------------------------------------------------------------------------- fit
def fit(
    estimator: Any,
    *,
    data: str,
    out: str,
    overwrite: bool,
    layout: str,
    fields: str | list[str],
    encoder: str,
    **parameters: Any,
) -> None:
    """Train and save; `parameters` are the estimator's, and those of each encoder by its name."""
    from skxc._distributed import is_first_launched
    from skxc._training._checkpoint import delete_checkpoint
    from skxc._validation import resolve_device
    from skxc.encoders._registry import ENCODERS

    start = time.perf_counter()
    of_encoders = {name: parameters.pop(name, {}) for name in ENCODERS}
    with input_checked():
        folder = check_is_free(out, overwrite=overwrite)
        # () is not None: label texts are set last, since reading the data may take long
        clf = estimator(_encoder(encoder, of_encoders), label_texts=(), **parameters)
        clf.check_parameters()
        resolve_device(clf.device)
        dataset = _dataset(data, layout, fields)
        clf.set_params(label_texts=_label_texts(clf, dataset, data))
        check_space(clf.encoder, dataset.Y.shape[1], folder)
    is_kept = clf.keep_checkpoint
    clf.set_params(keep_checkpoint=True)  # until the model is saved
    with _progress_logged(is_wanted=bool(clf.verbose) and not sys.stderr.isatty()):
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


def _dataset(data: str, layout: str, fields: str | Sequence[str]) -> Bunch:
    """Read the data; `fields`, which a recipe may set, is for JSON alone."""
    from skxc.datasets import load_library_subjects, load_xc_folder
    from skxc.datasets._names import find_layout
    from skxc.datasets._readers import FIELDS, checked_fields

    fields = checked_fields(fields)
    is_packaged = data == "library-subjects"
    if not is_packaged and find_layout(Path(data), layout) == "json":
        return load_xc_folder(data, layout=layout, fields=fields)
    if fields != FIELDS:
        warnings.warn(
            f"--fields {','.join(fields)} is not used: {data} holds whole texts, not fields. Make "
            f"sure that they are what --fields asks for.",
            stacklevel=1,
        )
    return load_library_subjects() if is_packaged else load_xc_folder(data, layout=layout)


def _label_texts(clf: Any, dataset: Bunch, data: str) -> list[str] | None:
    """The data's label texts, which estimators that embed them need."""
    if dataset.label_texts is None and hasattr(clf, "transform_labels"):
        raise InputError(
            f"{data} has no label texts, which {type(clf).__name__} needs. Add a file of them "
            f"(Y.txt, a text a line), or train renee."
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


# --------------------------------------------------------------------------------------- evaluate
def evaluate(
    *,
    model: str,
    data: str,
    ks: list[int],
    propensity: str,
    json: bool,
    layout: str,
    fields: str | list[str],
    device: str | None,
) -> None:
    """Ranking metrics on a data set's test texts."""
    from skxc.metrics import PROPENSITY_CONSTANTS, propensities_from_counts, ranking_metrics

    if not ks or min(ks) < 1:
        raise InputError(f"--ks is {ks}. Pass cuts of at least 1, such as [1,3,5].")
    ks = sorted(set(ks))
    clf = loaded(model, device)
    with input_checked():
        dataset = _dataset(data, layout, fields)
        _check_labels(clf, dataset, data)
    clf.set_params(top_k=max(ks), sparse_output=True)
    proba = clf.predict_proba(dataset.test_texts, exclude=dataset.test_exclude)
    metrics = ranking_metrics(
        dataset.Y_test,
        proba,
        ks,
        propensities_from_counts(
            clf.label_counts_, clf.n_samples_seen_, *PROPENSITY_CONSTANTS[propensity]
        ),
        dataset.test_exclude,
    )
    sys.stdout.write(_as_json(metrics) if json else _table(metrics, ks))


def _check_labels(clf: Any, dataset: Bunch, data: str) -> None:
    """Raise if the data have another number of labels; warn if names differ."""
    n_labels = dataset.Y_test.shape[1]
    if n_labels != clf.n_labels_:
        raise InputError(
            f"{data} has {n_labels} labels, but the model {clf.n_labels_}. Pass the data set that "
            f"the model was trained on, or one with the same labels in the same order."
        )
    names = clf.label_names_
    if dataset.label_texts is None or not isinstance(names[0], str):
        return
    pairs = enumerate(zip(names, dataset.label_texts, strict=True))
    differing = [(i, name, text) for i, (name, text) in pairs if name != text]
    if differing:
        i, name, text = differing[0]
        warnings.warn(
            f"{len(differing)} of the {n_labels} labels have another name in {data} than in the "
            f"model, such as label {i}: {text!r}, {name!r}. They are compared by position.",
            stacklevel=1,
        )


def _as_json(metrics: dict[str, float]) -> str:
    return json.dumps(metrics) + "\n"


def _table(metrics: dict[str, float], ks: list[int]) -> str:
    """One row per metric, one column per cut, in percent."""
    lines = [f"{'%':<6}" + "".join(f"{f'@{k}':>8}" for k in ks)]
    for kind in _KINDS:
        values = "".join(f"{100 * metrics[f'{kind}@{k}']:8.2f}" for k in ks)
        lines.append(f"{kind:<6}{values}")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------- info
def info(*, model: str) -> None:
    """What the model's config.json says."""
    with input_checked():
        config = unreplaced(model, read_config)
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
