"""From (X, y) to a fitted estimator: validate, tokenise, train, publish."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch.optim import Optimizer

from skxc._data._batches import MOST_SHUFFLED, TrainingRows
from skxc._data._token_files import mapped_matrix
from skxc._docstrings import completed_by
from skxc._methods._method import Ended, Method
from skxc._search._building import building
from skxc._training._checkpoint import Checkpoint, delete_checkpoint
from skxc._training._loop import BestEpoch, EpochCallback, History, Schedule, check_finite, train
from skxc._training._memory import (
    check_memory,
    explained_out_of_memory,
    held_bytes,
    on_device,
    texts_at_once,
    training_memory,
)
from skxc._training._optim import make_optimizers
from skxc._training._optimizer_state import optimizer_arrays, restore_
from skxc._training._setup import Settings, TrainingSetup, n_tuning_texts
from skxc._validation import (
    Target,
    check_classes,
    check_exclude,
    check_label_texts,
    check_same_classes,
    check_sample_weight,
    check_target,
    check_threshold,
    is_lazy,
    is_nameless,
    lazy_texts,
    resolve_device,
)
from skxc.encoders._base import Encoder
from skxc.encoders._registry import resolve_encoder

from ._callbacks import CallbackSupportMixin, EpochCallbacks, with_callbacks
from ._checkpoints import CheckpointMixin
from ._fork import isolated_torch_seed
from ._inputs import (
    CheckedInputs,
    FitMode,
    given_metadata,
    label_names,
    warn_of_equal_texts,
    warn_of_no_label,
    with_labels_in_files,
    without,
)
from ._sources import opened, opened_labels, token_folder, tokenized

# of `fit` and its like
_SHARED = """
Parameters
----------
X : array-like of shape (n_samples,), str, or path
    Texts: list, tuple, 1-d or (n_samples, 1) array, pandas or polars Series. Or what is read in
    blocks, and never all in memory: the ``pathlib.Path`` of a file, a text a line; a
    :class:`~skxc.datasets.FileColumn`; a column of Hugging Face's ``datasets``; or any object
    that can be iterated over again, and gives texts or batches of them in the same order.
y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,), or path
    Labels: a SciPy sparse matrix or array, a dense indicator or DataFrame, with 1 or a relevance in
    (0, 1] where a label applies; a list of label lists (inside cross-validation binarize first:
    each fold would see other labels); or 1-d classes. Or the path of a sparse matrix (".npz"), or
    label lists or classes in what may also be X.
sample_weight : array-like of shape (n_samples,), default=None
    Weight of each text in the loss, at least 0; only their ratios count.
exclude : sparse matrix of shape (n_samples, n_labels), default=None
    Pairs that training is to ignore: neither right nor wrong, whatever y says. Where texts and
    labels are the same items, the pairs of an item with itself.

Returns
-------
object
    The estimator itself.

Raises
------
ValueError
    If X, y or a parameter is out of what is accepted, or the model would not fit into memory.
TypeError
    If X, y or a parameter is of a wrong type.
"""


class FitMixin(CheckpointMixin, CallbackSupportMixin):
    """`fit`, `partial_fit` and `memory_estimate`."""

    @with_callbacks
    @completed_by(_SHARED)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, exclude: Any = None) -> Self:
        """Train on texts and their labels.

        An exception, Ctrl-C included, leaves the estimator as it was before. With `checkpoint_dir`,
        the same call goes on from where an earlier one was broken off.
        """
        self.check_parameters()
        is_resumed = bool(self.warm_start and hasattr(self, "classes_"))
        classes = self.classes_ if is_resumed else None
        return self._fit(X, y, sample_weight, exclude, FitMode(is_resumed, classes=classes))

    @completed_by(_SHARED)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        exclude: Any = None,
    ) -> Self:
        """Train one pass over these texts, at constant learning rates.

        The first call fixes the labels and the encoder's vocabulary: words that come later are not
        learnt. Make it a large one; the later ones may be small.

        Parameters
        ----------
        classes : array-like of shape (n_labels,), default=None
            All labels that will ever come: needed on the first call where y is 1-d, and where its
            label lists do not name them all. Names for a matrix stand in its columns' order.

        Raises
        ------
        ValueError
            As `fit`; or if y holds a label that the first call did not name.
        """
        y = opened_labels(y)
        is_resumed = hasattr(self, "classes_")
        if not is_resumed:
            first = FitMode(False, True, check_classes(classes, y))
            return self._fit(X, y, sample_weight, exclude, first)
        known = self.classes_
        if classes is not None:
            check_same_classes(list(classes), known, y, self._target_kind)
        return self._fit(X, y, sample_weight, exclude, FitMode(True, True, known))

    @completed_by(_SHARED)
    def memory_estimate(self, X: Any, y: Any, exclude: Any = None) -> dict[str, dict[str, int]]:
        """Bytes that `fit` would hold at its peak, beyond the texts and labels passed to it.

        Reads the texts and builds the encoder, as `fit` does before its first step; trains nothing.
        `fit` compares the same estimate with what is free, and refuses what does not fit.

        Returns
        -------
        dict of str to dict of str to int
            By place, "cpu" and the GPU where training runs on one: bytes of "weights" (encoder and
            labels), "optimizer" (moments, and copies for early stopping), "activations" (what a
            step or a search holds) and "data" (tokens, labels, vocabulary). They add up.
        """
        inputs = self._checked(X, y, None, exclude, FitMode())
        device, seeds = resolve_device(self.device), self._seeds(inputs.mode)
        with isolated_torch_seed(seeds[-1], device), token_folder(inputs.texts, None) as folder:
            setup = self._setup(inputs, device, seeds, folder)
        return training_memory(self._memory, setup, setup.settings).by_place(device)

    # --------------------------------------------------------------------------------- the ladder
    def _fit(self, X: Any, y: Any, sample_weight: Any, exclude: Any, mode: FitMode) -> Self:
        """Compute everything in locals, then publish: a broken-off fit changes nothing."""
        inputs = self._checked(X, y, sample_weight, exclude, mode)
        device, seeds = resolve_device(self.device), self._seeds(mode)
        self.__dict__.pop("_ranker", None)  # a GPU's copy of the model; prediction rebuilds it
        data = {"X": X, "y": y, "metadata": given_metadata(sample_weight, exclude)}
        with (
            self._opened_checkpoint(inputs, seeds, device) as checkpoint,
            token_folder(inputs.texts, checkpoint.folder if checkpoint else None) as folder,
        ):
            if folder is not None:
                inputs = with_labels_in_files(inputs, folder)
            seeds = checkpoint.seeds if checkpoint else seeds
            fitted, callbacks = self._fitted(inputs, device, seeds, data, checkpoint, folder)
            with building(self):  # no thread is putting a model of the old arrays in its place
                self.__dict__.update(vars(fitted))  # at once: Ctrl-C finds no half of it
            if checkpoint and not self.keep_checkpoint:
                delete_checkpoint(checkpoint.folder)
        for callback in callbacks:
            callback.end_fit()
        return self

    def _fitted(
        self,
        inputs: CheckedInputs,
        device: torch.device,
        seeds: list[int],
        data: dict[str, Any],  # as it was given, for callbacks
        checkpoint: Checkpoint | None,
        folder: Path | None,  # for tokens in files
    ) -> tuple[Self, list[EpochCallbacks]]:
        """A copy of the estimator, fitted, and the callbacks whose fit has not ended yet."""
        fitted, mode = copy.copy(self), inputs.mode
        callbacks: list[EpochCallbacks] = []
        with isolated_torch_seed(seeds[-1], device):
            of_tokens = checkpoint.of_tokens if checkpoint else None
            setup = self._setup(inputs, device, seeds, folder, of_tokens)
            self._check_memory(setup)
            with explained_out_of_memory(setup, self._remedies(setup)):
                method = self._method.begin(setup)
                if hasattr(self, "set_callbacks") and not mode.is_partial:
                    # in no variable of its own: a snapshot holds the method, which is freed below
                    callbacks.append(
                        EpochCallbacks(
                            self,
                            setup.settings.epochs,
                            data,
                            partial(fitted._snapshot, inputs, setup, method),
                        )
                    )
                optimizers, history = self._train(setup, method, seeds[-1], callbacks, checkpoint)
        with explained_out_of_memory(setup, self._remedies(setup)):
            setup.module.eval()
            ended = self._with_second_stage(setup, method.end(setup))
            fitted._publish(inputs, setup, ended, history)
            is_partial = mode.is_partial
            fitted._optimizer_state = optimizer_arrays(optimizers, method, is_partial=is_partial)
            del method, optimizers  # moments of the model's size, some of them
            fitted._calibrate(setup, ended)
        fitted._ranker = ended.ranker
        return fitted, callbacks

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, exclude: Any, mode: FitMode
    ) -> CheckedInputs:
        self.check_parameters()
        X, y = opened(X), opened_labels(y)
        is_first = not mode.is_resumed
        texts = lazy_texts(X) if is_lazy(X) else self._check_texts(X, reset=is_first)
        kind = self._target_kind if mode.is_resumed else None
        target = check_target(y, len(texts), mode.classes, kind)
        if mode.is_partial and mode.classes is None and target.kind == "classes":
            raise ValueError("classes must be passed on the first call to partial_fit.")
        if not mode.is_resumed and target.kind != "classes":
            check_threshold(self.threshold, len(target.labels))
        given = check_sample_weight(sample_weight, len(texts))
        weights = None if given is None else given.astype(np.float32)
        mask = check_exclude(exclude, target.Y.shape)
        label_texts = self._check_label_texts(target, is_resumed=mode.is_resumed)
        return CheckedInputs(texts, target, weights, mask, label_texts, mode)

    def _check_label_texts(self, target: Target, *, is_resumed: bool) -> list[str] | None:
        """One text per label, or None where there are none."""
        return check_label_texts(self.label_texts, target.labels)

    def _setup(
        self,
        inputs: CheckedInputs,
        device: torch.device,
        seeds: list[int],
        folder: Path | None = None,  # for tokens in files
        of_tokens: Mapping[str, str] | None = None,  # their fingerprint
    ) -> TrainingSetup[Any]:
        """Texts tokenised, rows held out, the encoder built."""
        mode, encoder = inputs.mode, self._fitted_encoder(inputs, seeds[-1])
        Y = without(inputs.target.Y, inputs.mask)
        tokens, label_tokens = tokenized(
            encoder, inputs.texts, inputs.label_texts, folder, of_tokens
        )
        warn_of_equal_texts(tokens, inputs.texts, encoder)
        if not (mode.is_partial and mode.is_resumed):
            warn_of_no_label(Y if inputs.weights is None else Y[inputs.weights > 0], inputs.mask)
        rows = TrainingRows(tokens, Y, inputs.weights, inputs.mask)
        # by the first seed: a warm start holds out the same texts again
        rows, held_out = self._split(rows, np.random.default_rng(seeds[0]))
        if folder is not None:
            rows = replace(rows, Y=mapped_matrix(rows.Y, folder))
        module = on_device(encoder.build_module(), device).train()
        del encoder.weights_  # the module has them
        settings = self._settings(encoder, module.dim, Y, is_partial=mode.is_partial)
        if settings.encode_batch_size is None and encoder.is_padded:
            stores = [rows.tokens] if label_tokens is None else [rows.tokens, label_tokens]
            lengths = np.concatenate([store.lengths for store in stores])
            n_texts = texts_at_once(module, lengths, self._dtype(device), device)
            settings = replace(settings, encode_batch_size=n_texts)
        return TrainingSetup(
            settings=settings,
            module=module,
            rows=rows,
            held_out=held_out,
            encoder=encoder,
            label_texts=inputs.label_texts,
            label_tokens=label_tokens,
            device=device,
            dtype=self._dtype(device),
            generator=torch.Generator(device).manual_seed(seeds[-1]),
            fitted=vars(self) if mode.is_resumed else None,
            is_partial=mode.is_partial,
            n_reranked=self._n_searched(rows),
        )

    def _train(
        self,
        setup: TrainingSetup[Any],
        method: Method[Any],
        seed: int,
        callbacks: Sequence[EpochCallback],
        checkpoint: Checkpoint | None,
    ) -> tuple[list[Optimizer], History]:
        """Train, as the parameters say."""
        settings: Settings = setup.settings
        optimizers = make_optimizers(setup.module, settings.learning_rate, settings.weight_decay)
        if setup.fitted is not None:
            restore_(optimizers, method, self._optimizer_state)
        schedule = Schedule(
            epochs=1 if setup.is_partial else settings.epochs,
            batch_size=settings.batch_size,
            warmup_fraction=settings.warmup_fraction,
            max_grad_norm=settings.max_grad_norm,
            is_constant=setup.is_partial,
            is_bucketed=setup.encoder.is_padded,
            is_verbose=bool(self.verbose),
        )
        early = []
        if self.early_stopping and setup.held_out is not None:
            validate = partial(_validation_score, method, setup)
            early.append(BestEpoch(method, validate, self.n_iter_no_change))
        rng = np.random.default_rng(seed)
        callbacks = [*early, *callbacks]
        return optimizers, train(method, optimizers, schedule, rng, callbacks, checkpoint)

    def _snapshot(
        self,
        inputs: CheckedInputs,
        setup: TrainingSetup[Any],
        method: Method[Any],
        history: History,
    ) -> dict[str, Any]:
        """The attributes that `fit` would leave if it ended now, none of them shared with it."""
        probe = copy.copy(self)
        with isolated_torch_seed(0, setup.device):  # looking on changes no random number
            setup.module.eval()
            ended = self._with_second_stage(setup, method.end(setup))
            probe._publish(inputs, setup, ended, list(history))
            probe._calibrate(setup, ended)
            setup.module.train()
        known = vars(self)
        return {k: v if v is known.get(k) else copy.deepcopy(v) for k, v in vars(probe).items()}

    def _publish(
        self, inputs: CheckedInputs, setup: TrainingSetup[Any], ended: Ended, history: History
    ) -> None:
        """Set the fitted attributes."""
        target, mode, encoder = inputs.target, inputs.mode, copy.copy(setup.encoder)
        counts = np.bincount(target.Y.indices, minlength=len(target.classes)).astype(np.int64)
        encoder.weights_ = {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in setup.module.state_dict().items()
        }
        for weights in encoder.weights_.values():
            check_finite(weights)
        is_stream = mode.is_resumed and mode.is_partial
        self.label_counts_ = counts + (self.label_counts_ if is_stream else 0)
        self.n_samples_seen_ = target.Y.shape[0] + (self.n_samples_seen_ if is_stream else 0)
        self.history_ = (self.history_ if mode.is_resumed else []) + history
        self.n_iter_ = len(self.history_)
        self.classes_ = target.classes
        self.n_labels_ = len(target.classes)
        self.encoder_ = encoder
        if not mode.is_resumed or is_nameless(target.classes):
            self.label_names_ = label_names(target, inputs.label_texts)
        if not is_stream:  # one batch of another kind changes no prediction's container
            self._target_kind, self._target_dtype = target.kind, target.dtype
        self.__dict__.update(ended.arrays)

    # ------------------------------------------------------------------------------------- pieces
    def _check_memory(self, setup: TrainingSetup[Any]) -> None:
        """Raise where training would not fit."""
        estimate = partial(training_memory, self._memory, setup)
        remedies, held = self._remedies(setup), held_bytes(setup)
        check_memory(estimate, setup.settings, remedies, setup.device, held)

    def _remedies(self, setup: TrainingSetup[Any]) -> dict[str, Callable[[int], str]]:
        """Settings that take less memory when lowered, least harmful first; how to pass them."""
        encoder: Any = setup.encoder

        def narrowed(dim: int) -> str:
            return f"encoder={clone(encoder).set_params(**{encoder.dim_parameter: dim})!r}"

        names = [n for n in self._method.memory_parameters if getattr(setup.settings, n)]
        return {name: f"{name}={{}}".format for name in names} | {"dim": narrowed}

    def _seeds(self, mode: FitMode) -> list[int]:
        """One seed an epoch already run, and one for this fit.

        A stream of fits from one random_state then never meets the same dropout twice.
        """
        n_done = self.n_iter_ if mode.is_resumed else 0
        draws = check_random_state(self.random_state).randint(2**31 - 1, size=n_done + 1)
        return [int(seed) for seed in draws]

    def _fitted_encoder(self, inputs: CheckedInputs, seed: int) -> Encoder:
        encoder: Encoder = resolve_encoder(self.encoder)
        if not inputs.mode.is_resumed:
            try:
                return encoder.fit(inputs.texts, label_texts=inputs.label_texts or [], seed=seed)
            except MemoryError as error:
                raise ValueError(
                    f"The encoder does not fit into memory ({error}). Lower "
                    f"{encoder.dim_parameter} of {encoder!r}."
                ) from error
        if repr(encoder) != repr(self.encoder_):
            raise ValueError(
                f"encoder={encoder!r} differs from the fitted one, {self.encoder_!r}, that "
                f"training would go on from. Set it back, or fit anew with warm_start=False."
            )
        return copy.copy(self.encoder_)

    def _split(
        self, rows: TrainingRows, rng: np.random.Generator
    ) -> tuple[TrainingRows, TrainingRows | None]:
        """Training rows, and rows held out for validation or for what is tuned afterwards."""
        n_held_out = n_tuning_texts(len(rows)) if self._is_tuned else 0
        if self.early_stopping:
            n_held_out = round(len(rows) * float(self.validation_fraction))
            if not 0 < n_held_out < len(rows):
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {len(rows)} texts leaves "
                    f"{n_held_out} for validation and {len(rows) - n_held_out} for training. "
                    f"Pass more texts, another fraction, or early_stopping=False."
                )
        if not n_held_out:
            return rows, None
        order = rng.permutation(len(rows))
        held_out, kept = order[:n_held_out], order[n_held_out:]
        if len(kept) > MOST_SHUFFLED:  # epochs go through parts of them
            kept.sort()
        return rows.view(kept), rows.take(held_out)


def _validation_score(method: Method[Any], setup: TrainingSetup[Any]) -> float:
    """P@1 on the held-out rows."""
    assert setup.held_out is not None
    setup.module.eval()
    score = method.ranker().precision_at_1(setup.held_out)
    setup.module.train()
    return score
