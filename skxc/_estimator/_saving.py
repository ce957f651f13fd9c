"""Saving a fitted estimator to a folder, and loading it; and what a pickle tells of its version."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skxc._persistence import (
    ENCODER,
    ModelFolder,
    Packed,
    local_folder,
    replaced_folder,
    seal,
    unreplaced,
    write_json,
    write_tensors,
)
from skxc._validation import check_texts
from skxc.encoders._base import Encoder
from skxc.encoders._registry import encoder_classes

from ._indexed import IndexedModel
from ._sound import check_first_format, check_fitted

_LIBRARIES = (
    "numpy",
    "safetensors",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)
_TENSORS, _LABELS, _INDEX = "model.safetensors", "labels.json", "search.safetensors"
# saved by itself, torch's side of the model, and scikit-learn's: no part of what was learnt
_NOT_FITTED = {
    "encoder_",
    "_ranker",
    "_index",
    "_saved_index",
    "_metadata_request",
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
}
# the methods whose metadata (sample_weight, exclude) scikit-learn routes by request
_ROUTED = ("fit", "partial_fit", "predict", "predict_proba", "score")


class SavingMixin(IndexedModel, BaseEstimator):
    """`save`, and the state that pickles hold."""

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a folder, for :func:`skxc.load`.

        The folder appears under its name when it is complete: nothing that breaks off leaves half
        a model, and the old one is deleted only when the new one stands. It holds JSON and
        safetensors only, so loading it executes nothing; ``encoder/`` is a model of its own that
        transformers and sentence-transformers open, where the encoder
        is a transformer. Callbacks are not saved.

        Parameters
        ----------
        folder : str or path-like
            Where to write. A folder that holds a saved model is replaced; one that holds anything
            else is refused. The working directory stays what it is: its files are replaced.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter or a fitted attribute is of a kind that cannot be saved.
        FileExistsError
            If `folder` is a file, or holds the working directory or anything but a saved model.
        OSError
            If a file cannot be written; complete models that could not be put under the name are
            named.
        """
        self._save(folder)

    def _save(self, folder: str | os.PathLike[str], *, may_replace: bool = True) -> None:
        """Save, and refuse a folder that holds a model unless it may be replaced."""
        check_is_fitted(self)
        packed = Packed()
        config = self._packed(packed)
        own = {key: value for key, value in vars(self).items() if key in config["fitted"]}
        self._check_fitted(own)
        index = self._index_arrays()
        with replaced_folder(folder, may_replace=may_replace) as path:
            (path / ENCODER).mkdir()
            config["encoder"]["fitted"] = self.encoder_.write_files(
                path / ENCODER, is_normalized=vars(self).get("_is_normalized", False)
            )
            write_tensors(path / _TENSORS, packed.tensors)
            write_json(path / _LABELS, packed.labels)
            if index:
                write_tensors(path / _INDEX, index)
            seal(path, config)

    def _packed(self, packed: Packed) -> dict[str, Any]:
        """The content of config.json; arrays go to `packed`."""
        if not type(self).__module__.startswith("skxc."):
            raise TypeError(
                f"{type(self).__qualname__} is no estimator of skxc itself, and skxc.load makes "
                f"no others. Use joblib.dump for it."
            )
        parameters = self._saved_parameters()
        skipped = {*parameters, *_NOT_FITTED}
        own = vars(self).copy()  # another thread may predict for the first time meanwhile
        fitted = {k: v for k, v in own.items() if k not in skipped}
        return {
            "skxc_version": version(),
            "class": type(self).__name__,
            "parameters": {
                key: _pack_parameter(key, value, packed) for key, value in parameters.items()
            },
            "fitted": {key: packed.pack(value, key) for key, value in fitted.items()},
            "encoder": _pack_encoder(self.encoder_, packed),
            "requests": _requests(self),
            "libraries": {library: metadata.version(library) for library in _LIBRARIES},
        }

    def _saved_parameters(self) -> dict[str, Any]:
        """The parameters as a saved model has them."""
        parameters: dict[str, Any] = self.get_params(deep=False)
        return parameters

    @classmethod
    def _from_folder(cls, files: ModelFolder, *, is_mapped: bool) -> Self:
        """The estimator that `save` wrote."""
        try:
            return cls._described(files, files.config, is_mapped=is_mapped)
        except (MemoryError, ValueError) as error:
            why = str(error) or "there is not enough memory for it"
            raise ValueError(f"{files.root} holds no sound model: {why}") from error

    @classmethod
    def _described(cls, files: ModelFolder, config: Mapping[str, Any], *, is_mapped: bool) -> Self:
        packed = _opened(files, is_mapped=is_mapped)
        parameters = dict(config["parameters"])
        parameters["encoder"] = _unpack_encoder(parameters["encoder"], packed)
        model = cls(**{key: _own(value) for key, value in packed.unpack(parameters).items()})
        model.encoder_ = _read_encoder(files, packed, is_mapped=is_mapped)
        fitted = packed.unpack(config["fitted"])
        if fitted["_target_kind"] != "classes":
            fitted.setdefault("threshold_", 0.5)  # older files have none
        if config["format_version"] <= 3 and "dual_score_weight_" in fitted:  # UniDEC
            fitted["vector_score_weight_"] = 1.0  # before joined encoders
            fitted["vector_dual_score_weight_"] = fitted["dual_score_weight_"]
        if config["format_version"] <= 2:  # before the second stage
            fitted = {"reranker_": {}, "rerank_weight_": 0.0, "_sigmoid": (1.0, 0.0)} | fitted
        if config["format_version"] == 1:
            fitted = _upgraded(fitted)
        model._check_fitted(fitted)
        model.__dict__.update(fitted)
        if _INDEX in config["files"]:
            index = files.tensors(_INDEX, is_mapped=is_mapped)
            model._saved_index = model.label_embeddings_, index
        with sklearn.config_context(enable_metadata_routing=True):
            for method in _ROUTED:
                if requests := config["requests"].get(method):
                    getattr(model, f"set_{method}_request")(**requests)
        return model

    def _check_fitted(self, fitted: dict[str, Any]) -> None:
        """Raise unless these attributes are sound, as `fit` and `load` leave them."""
        if reserved := sorted({*fitted} & {*self._get_param_names(), *_NOT_FITTED}):
            raise ValueError(f"{reserved[0]!r} is no name of a fitted attribute.")
        check_fitted(type(self), fitted, self.encoder_._embedding_dim, self.encoder_.n_words)

    def __getstate__(self) -> Mapping[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        for name in ("_ranker", "_index", "_saved_index"):  # rebuilt from the arrays
            state.pop(name, None)
        return state | {"_skxc_version": version()}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        written_by = state.pop("_skxc_version", version())
        if written_by != version():
            warnings.warn(
                f"This {type(self).__name__} was pickled by skxc {written_by}, and this is skxc "
                f"{version()}: it may not work. Between versions, use save and skxc.load.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)


def read_encoder(folder: str | os.PathLike[str]) -> Encoder:
    """The fitted encoder of the model that a folder, or a name on the hub, holds.

    Raises
    ------
    OSError, ValueError
        As `skxc.load`.
    """
    path = os.fspath(folder)

    def read(root: Path) -> Encoder:
        files = ModelFolder(root)
        # not its arrays: they are to outlast the folder
        return _read_encoder(files, _opened(files, is_mapped=True), is_mapped=False)

    try:
        return unreplaced(local_folder(path), read)
    except (AttributeError, LookupError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(
            f"{path}: config.json does not describe a model that this skxc knows ({error!r})."
        ) from error


def _opened(files: ModelFolder, *, is_mapped: bool) -> Packed:
    """What config.json refers to."""
    lists = files.json(_LABELS)
    if not isinstance(lists, dict) or not {*map(type, lists.values())} <= {list}:
        raise ValueError(f"{_LABELS} is no object of lists.")
    labels = {name: np.array(items, object) for name, items in lists.items()}
    return Packed(files.tensors(_TENSORS, is_mapped=is_mapped), labels)


def _read_encoder(files: ModelFolder, packed: Packed, *, is_mapped: bool) -> Encoder:
    config = files.config["encoder"]
    encoder: Encoder = _unpack_encoder(config, packed)
    encoder.read_files(files, config["fitted"], is_mapped=is_mapped)
    return encoder


def _upgraded(fitted: dict[str, Any]) -> dict[str, Any]:
    """Fitted attributes of the format's first version, by their names of today."""
    check_first_format(fitted)
    table, fitted["label_names_"] = fitted["label_embeddings_"], fitted.pop("_label_names")
    if "_is_taught" in fitted:  # UniDEC
        is_seen, fitted["lexical_weights_"] = fitted.pop("_is_taught"), fitted.pop("lexicon_")
    elif "_sigmoid" in fitted:  # DualEncoderXC
        is_seen = (fitted["label_counts_"] > 0) & table.any(1)
    else:  # ReneeClassifier: the intercept of unseen labels is -3333
        is_seen = table[:, -1] > -3300
    return fitted | {"is_seen_": np.array(is_seen)}


def _own(value: Any) -> Any:
    """A parameter: the user's to change, so no read-only map."""
    return np.array(value) if isinstance(value, np.ndarray) else value


def version() -> str:
    """Of this skxc; the package itself lies above this module, and imports it."""
    version: str = sys.modules["skxc"].__version__
    return version


def _requests(model: Any) -> dict[str, Any]:
    """The metadata that `set_fit_request` and its like asked for."""
    requests = getattr(model, "_metadata_request", None)
    return {} if requests is None else {m: getattr(requests, m).requests for m in _ROUTED}


def _pack_parameter(name: str, value: Any, packed: Packed) -> Any:
    if name == "encoder":
        return _pack_encoder(value, packed)
    if name == "label_texts" and isinstance(value, Mapping):
        return packed.pack_mapping(value, name)
    if name == "label_texts" and not isinstance(value, str | None):
        value = np.array(check_texts(value, name), dtype=object)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return packed.pack(value, name)


def _pack_encoder(encoder: Any, packed: Packed) -> Any:
    if isinstance(encoder, str):
        return str(encoder)
    name = type(encoder).__name__
    if encoder_classes().get(name) is not type(encoder):
        raise TypeError(
            f"encoder={encoder!r} is a {type(encoder).__qualname__}, and skxc.load makes only "
            f"{', '.join(encoder_classes())}. Use joblib.dump for this model."
        )
    parameters = {
        key: _pack_encoder(value, packed)
        if type(value) in encoder_classes().values()
        else packed.pack(value, f"encoder.{key}")
        for key, value in encoder.saved_parameters().items()
    }
    return {"class": name, "parameters": parameters}


def _unpack_encoder(value: Any, packed: Packed) -> Any:
    if isinstance(value, str):
        return value
    parameters = {
        key: _unpack_encoder(part, packed)
        if isinstance(part, dict) and "class" in part
        else packed.unpack(part)
        for key, part in value["parameters"].items()
    }
    encoder = encoder_classes()[value["class"]](**parameters)
    encoder.set_params(**encoder.saved_parameters())  # no path of another machine is written to
    encoder.check_parameters()
    return encoder
