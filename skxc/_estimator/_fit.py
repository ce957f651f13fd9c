"""From (X, y) to a fitted estimator: set up, train, publish."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.optim import Optimizer

from skxc import _distributed as processes
from skxc._docstrings import completed_by
from skxc._methods._method import Ended, Method
from skxc._search._building import building
from skxc._training._checkpoint import Checkpoint, delete_checkpoint
from skxc._training._loop import BestEpoch, EpochCallback, History, Schedule, check_finite, train
from skxc._training._memory import explained_out_of_memory, training_memory
from skxc._training._optim import make_optimizers
from skxc._training._optimizer_state import optimizer_arrays, restore_
from skxc._training._setup import Settings, TrainingSetup
from skxc._validation import check_classes, check_same_classes, is_nameless, resolve_device

from ._callbacks import (
    CallbackSupportMixin,
    EpochCallbacks,
    FollowingCallbacks,
    epoch_callbacks,
    with_callbacks,
)
from ._fork import isolated_torch_seed, own_torch_seed
from ._inputs import (
    CheckedInputs,
    FitMode,
    given_metadata,
    label_names,
    with_labels_in_files,
)
from ._setup import SetupMixin
from ._sources import opened_labels, token_folder

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
OSError
    If a file that X or y names cannot be read, or there is no room for their tokens.
RuntimeError
    If another of several processes failed, or this fit is in a worker or thread of one of them.
TypeError
    If X, y or a parameter is of a wrong type.
"""


class FitMixin(SetupMixin, CallbackSupportMixin):
    """`fit`, `partial_fit` and `memory_estimate`."""

    @with_callbacks
    @completed_by(_SHARED)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, exclude: Any = None) -> Self:
        """Train on texts and their labels.

        An exception, Ctrl-C included, leaves the estimator as it was before. With `checkpoint_dir`,
        the same call goes on from where an earlier one was broken off. In several processes that
        torchrun started, each calls it with the same data, and all return the same model.
        """
        with processes.together():
            self.check_parameters()
            is_resumed = bool(self.warm_start and hasattr(self, "classes_"))
            classes = self.classes_ if is_resumed else None
            return self._fit(X, y, sample_weight, exclude, FitMode(is_resumed, classes=classes))

    def _fit_columns(self, X: Any, Y: Any, names: Any) -> Self:
        """`fit` on a matrix whose columns have names, which become `classes_`."""
        with processes.together():
            self.check_parameters()
            return self._fit(X, Y, None, None, FitMode(classes=check_classes(names, Y)))

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
        with processes.together():
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
        """Bytes that `fit` in one process would hold at its peak, beyond the data passed to it.

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
            setup = self._setup(inputs, device, seeds, folder, is_estimate=True)
        return training_memory(self._memory, setup, setup.settings).by_place(device)

    # --------------------------------------------------------------------------------- the ladder
    def _fit(self, X: Any, y: Any, sample_weight: Any, exclude: Any, mode: FitMode) -> Self:
        """Compute everything in locals, then publish: a broken-off fit changes nothing."""
        inputs = self._checked(X, y, sample_weight, exclude, mode)
        device, seeds = resolve_device(self.device), processes.broadcast(self._seeds(mode))
        processes.check_device(device)
        self.__dict__.pop("_ranker", None)  # a GPU's copy of the model; prediction rebuilds it
        data = {"X": X, "y": y, "metadata": given_metadata(sample_weight, exclude)}
        fingerprint = self._needed_fingerprint(inputs, device)
        with (
            self._opened_checkpoint(fingerprint, mode, seeds) as checkpoint,
            token_folder(inputs.texts, checkpoint.folder if checkpoint else None) as folder,
        ):
            if folder is not None:
                inputs = with_labels_in_files(inputs, folder)
            seeds = checkpoint.seeds if checkpoint else seeds
            fitted, callbacks = self._fitted(inputs, device, seeds, data, checkpoint, folder)
            processes.barrier()  # what fails in one process leaves all as they were
            with building(self):  # no thread is putting a model of the old arrays in its place
                self.__dict__.update(vars(fitted))  # at once: Ctrl-C finds no half of it
            if checkpoint and not self.keep_checkpoint and processes.rank() == 0:
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
    ) -> tuple[Self, list[EpochCallbacks | FollowingCallbacks]]:
        """A copy of the estimator, fitted, and the callbacks whose fit has not ended yet."""
        fitted, mode = copy.copy(self), inputs.mode
        callbacks: list[EpochCallbacks | FollowingCallbacks] = []
        with isolated_torch_seed(seeds[-1], device):
            of_tokens = checkpoint.of_tokens if checkpoint else None
            setup = self._setup(inputs, device, seeds, folder, of_tokens)
            self._check_memory(setup)
            with explained_out_of_memory(setup, self._remedies(setup)):
                method = self._method.begin(setup)
                own_torch_seed(seeds[-1], device)
                optimizers = self._optimizers(setup, method)
                if hasattr(self, "set_callbacks") and not mode.is_partial:
                    # in no variable of its own: a snapshot holds the method, which is freed below
                    callbacks.append(
                        epoch_callbacks(
                            self,
                            setup.settings.epochs,
                            data,
                            partial(fitted._snapshot, inputs, setup, method, optimizers),
                        )
                    )
                history = self._train(setup, method, optimizers, seeds[-1], callbacks, checkpoint)
        with explained_out_of_memory(setup, self._remedies(setup)):
            setup.module.eval()
            ended = self._with_second_stage(setup, method.end(setup))
            fitted._publish(inputs, setup, ended, history)
            is_partial = mode.is_partial
            fitted._optimizer_state = optimizer_arrays(optimizers, method, is_partial=is_partial)
            del method, optimizers  # moments of the model's size, some of them
            fitted._calibrate(setup, ended)
        # one whose labels are shared out serves no process alone: prediction builds another
        is_whole = ended.ranker.n_of_all is None
        fitted._ranker = ended.ranker if is_whole and setup.module.is_as_built else None
        return fitted, callbacks

    def _optimizers(self, setup: TrainingSetup[Any], method: Method[Any]) -> list[Optimizer]:
        """Of the encoder: new ones, or as the fit left them that training goes on from."""
        settings: Settings = setup.settings
        epsilon = settings.paper.adam_epsilon
        optimizers = make_optimizers(
            setup.module, settings.learning_rate, settings.weight_decay, epsilon
        )
        if setup.fitted is not None and not setup.module.has_new_parameters:
            restore_(optimizers, method, self._optimizer_state)
        return optimizers

    def _train(
        self,
        setup: TrainingSetup[Any],
        method: Method[Any],
        optimizers: list[Optimizer],
        seed: int,
        callbacks: Sequence[EpochCallback],
        checkpoint: Checkpoint | None,
    ) -> History:
        """Train, as the parameters say."""
        settings: Settings = setup.settings
        schedule = Schedule(
            epochs=min(settings.epochs, 1) if setup.is_partial else settings.epochs,
            batch_size=settings.batch_size,
            warmup_fraction=settings.warmup_fraction,
            max_grad_norm=settings.max_grad_norm,
            decay="constant" if setup.is_partial else settings.paper.schedule,
            is_bucketed=setup.encoder.is_padded,
            is_verbose=bool(self.verbose),
        )
        early = []
        if self.early_stopping and setup.held_out is not None:
            validate = partial(_validation_score, method, setup)
            early.append(BestEpoch(method, validate, self.n_iter_no_change))
        rng = np.random.default_rng(seed)
        callbacks = [*early, *callbacks]
        return train(method, optimizers, schedule, rng, callbacks, checkpoint)

    def _snapshot(
        self,
        inputs: CheckedInputs,
        setup: TrainingSetup[Any],
        method: Method[Any],
        optimizers: list[Optimizer],
        history: History,
    ) -> dict[str, Any]:
        """The attributes that `fit` would leave if it ended now, none of them shared with it."""
        probe = copy.copy(self)
        with isolated_torch_seed(0, setup.device):  # looking on changes no random number
            setup.module.eval()
            ended = self._with_second_stage(setup, method.end(setup))
            probe._publish(inputs, setup, ended, list(history))
            probe._optimizer_state = optimizer_arrays(optimizers, method, is_partial=False)
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


def _validation_score(method: Method[Any], setup: TrainingSetup[Any]) -> float:
    """P@1 on the held-out rows."""
    assert setup.held_out is not None
    setup.module.eval()
    score = method.ranker().precision_at_1(setup.held_out)
    setup.module.train()
    return score
