"""From (X, y) to a fitted estimator: validate, tokenise, make the step, train, publish."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch.optim import Optimizer

from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._functional._lexical import co_occurring_pairs
from skxc._training._loop import (
    BestEpoch,
    History,
    Schedule,
    Step,
    Watcher,
    check_converged,
    train,
)
from skxc._training._optim import RowAdagrad, make_optimizers
from skxc._validation import (
    Target,
    check_choice,
    check_exclude,
    check_integer,
    check_real,
    check_sample_weight,
    check_target,
    check_threshold,
    is_nameless,
    resolve_device,
)
from skxc.encoders._base import Encoder, EncoderModule
from skxc.encoders._registry import resolve_encoder

from ._callbacks import CallbackSupportMixin, EpochCallbacks, with_callbacks
from ._declarations import EstimatorDeclarations
from ._memory import Memory, check_memory, explained_out_of_memory
from ._predict import SearchTable

_LEAST_STEPS_AN_EPOCH = 50
# fewer texts than this tell too little to tune anything by
LEAST_TUNING_TEXTS = 50
# torch's random state is the process's: fits in several threads take turns
_TORCH_RANDOM = threading.RLock()


@dataclass(frozen=True)
class TrainingSetup:
    """What an estimator's `_make_step` builds its step from."""

    module: EncoderModule  # in training mode, on `device`
    rows: TrainingRows  # without the held-out rows
    held_out: TrainingRows | None
    target: Target
    encoder: Encoder
    label_texts: list[str] | None
    device: torch.device
    dtype: torch.dtype  # of the label table: float32 or bfloat16
    generator: torch.Generator  # on `device`
    settings: Mapping[str, Any]  # parameters, "dim" and, in place of None, this encoder's defaults
    fitted: Any | None  # the estimator itself where training goes on from its weights
    is_partial: bool  # one pass of `partial_fit`

    @property
    def tuning_rows(self) -> TrainingRows | None:
        """The held-out rows, where they are enough to tune anything by."""
        held_out = self.held_out
        return held_out if held_out is not None and len(held_out) >= LEAST_TUNING_TEXTS else None

    @property
    def data_bytes(self) -> int:
        """Tokens, labels and the vocabulary."""
        parts = [self.rows, self.held_out, self.label_tokens]
        kept, _ = self.encoder.reading_bytes(0)
        return kept + sum(part.nbytes for part in parts if part is not None)

    @property
    def reading_bytes(self) -> int:
        """What reading the texts took on top of what is kept of them."""
        parts = [self.rows, self.held_out]
        tokens = [part.tokens for part in parts if part is not None]
        return self.encoder.reading_bytes(sum(len(t.ids) for t in tokens))[1] - sum(
            t.nbytes for t in tokens
        )

    @cached_property
    def label_tokens(self) -> TokenStore | None:
        """The label texts as the encoder reads them."""
        return None if self.label_texts is None else self.encoder.tokenize(self.label_texts)

    @cached_property
    def word_pairs(self) -> sp.csr_array:
        """The pairs of a label and a word that it was seen with, (n_labels, n_words)."""
        assert self.label_tokens is not None
        n_words: int = self.encoder.n_words
        return co_occurring_pairs(
            self.rows.tokens.as_csr(n_words), self.rows.Y, self.label_tokens.as_csr(n_words)
        )


@dataclass(frozen=True)
class _Resume:
    """How a fit relates to an earlier one."""

    is_resumed: bool = False  # go on from the fitted weights
    is_partial: bool = False  # one pass, and keep the optimisers' state
    classes: NDArray[Any] | None = None


@dataclass(frozen=True)
class _Task:
    """What a fit is given, checked."""

    texts: list[str]
    target: Target
    weights: NDArray[np.float32] | None
    mask: sp.csr_array | None
    label_texts: list[str] | None
    resume: _Resume


class FitMixin(EstimatorDeclarations, CallbackSupportMixin):
    """`fit` and `partial_fit`; an estimator adds `_make_step` and `_check_own_parameters`."""

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, exclude: Any = None) -> Self:
        """Train on texts and their labels.

        An exception, Ctrl-C included, leaves the estimator as it was before.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts: list, tuple, 1-d or (n_samples, 1) array, pandas or polars Series.
        y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
            Labels: a SciPy sparse matrix or array, a dense indicator or DataFrame, with 1 or a
            relevance in (0, 1] where a label applies; a list of label lists (inside
            cross-validation binarize first: each fold would see other labels); or 1-d classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each text in the loss, at least 0; only their ratios count.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that training is to ignore: neither right nor wrong, whatever y says. Where texts
            and labels are the same items, the pairs of an item with itself.

        Returns
        -------
        object
            The estimator itself.

        Raises
        ------
        ValueError
            If X, y or a parameter is out of what is accepted, or the model would not fit into
            memory.
        TypeError
            If X, y or a parameter is of a wrong type.
        """
        is_resumed = bool(self.warm_start and hasattr(self, "classes_"))
        classes = self.classes_ if is_resumed else None
        return self._fit(X, y, sample_weight, exclude, _Resume(is_resumed, classes=classes))

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
        X : array-like of shape (n_samples,), str
            Texts.
        y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
            Labels, as in `fit`.
        classes : array-like of shape (n_labels,), default=None
            All labels that will ever come: needed on the first call where y is 1-d, and where its
            label lists do not name them all. Names for a matrix stand in its columns' order.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each text in the loss, at least 0; only their ratios count.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            Pairs that training is to ignore: neither right nor wrong, whatever y says. Where texts
            and labels are the same items, the pairs of an item with itself.

        Returns
        -------
        object
            The estimator itself.

        Raises
        ------
        ValueError
            As `fit`; or if y holds a label that the first call did not name.
        """
        is_resumed = hasattr(self, "classes_")
        if not is_resumed:
            first = _Resume(False, True, _first_classes(classes, y))
            return self._fit(X, y, sample_weight, exclude, first)
        known = self.classes_
        if classes is not None and not np.array_equal(np.unique(classes), np.unique(known)):
            raise ValueError(
                f"classes={classes!r} differs from the classes of the first call to partial_fit. "
                f"Pass the same, or leave it out."
            )
        return self._fit(X, y, sample_weight, exclude, _Resume(True, True, known))

    def memory_estimate(self, X: Any, y: Any, exclude: Any = None) -> dict[str, dict[str, int]]:
        """Bytes that `fit` would hold at its peak, beyond the texts and labels passed to it.

        Reads the texts and builds the encoder, as `fit` does before its first step; trains nothing.
        `fit` compares the same estimate with what is free, and refuses what does not fit.

        Parameters
        ----------
        X : array-like of shape (n_samples,), str
            Texts.
        y : {sparse matrix, array-like} of shape (n_samples, n_labels) or (n_samples,)
            Labels, as in `fit`.
        exclude : sparse matrix of shape (n_samples, n_labels), default=None
            As in `fit`.

        Returns
        -------
        dict of str to dict of str to int
            By place, "cpu" and the GPU where training runs on one: bytes of "weights" (encoder and
            labels), "optimizer" (moments, and copies for early stopping), "activations" (what a
            step or a search holds) and "data" (tokens, labels, vocabulary). They add up.

        Raises
        ------
        ValueError
            If X, y or a parameter is out of what is accepted.
        """
        task = self._checked(X, y, None, exclude, _Resume())
        device, seeds = resolve_device(self.device), self._seeds(task.resume)
        with isolated_torch_seed(seeds[-1], device):
            setup = self._setup(task, device, seeds)
        return self._memory(setup, setup.settings).by_place(device)

    # --------------------------------------------------------------------------------- the ladder
    def _fit(self, X: Any, y: Any, sample_weight: Any, exclude: Any, resume: _Resume) -> Self:
        """Compute everything in locals, then publish: a broken-off fit changes nothing."""
        task = self._checked(X, y, sample_weight, exclude, resume)
        device, seeds = resolve_device(self.device), self._seeds(resume)
        vars(self).get("_runtime", {}).clear()  # a GPU's copy of the model; prediction rebuilds it
        fitted = copy.copy(self)
        callbacks: list[EpochCallbacks] = []
        with isolated_torch_seed(seeds[-1], device):
            setup = self._setup(task, device, seeds)
            self._check_memory(setup)
            with explained_out_of_memory(setup.settings, self._savers(setup), device):
                step, rows = fitted._make_step(setup)
                if hasattr(self, "set_callbacks") and not resume.is_partial:
                    data = {"X": X, "y": y, "metadata": _given(sample_weight, exclude)}
                    n_epochs = setup.settings["epochs"]
                    callbacks.append(
                        EpochCallbacks(self, n_epochs, data, partial(fitted._snapshot, setup, step))
                    )
                optimizers, history = fitted._train(setup, step, rows, seeds[-1], callbacks)
        fitted._publish(setup, step, history)
        fitted._optimizer_state = _optimizer_state(optimizers, step, resume.is_partial)
        del step, rows, optimizers  # moments of the model's size, some of them
        fitted._runtime.update(device=device, module=setup.module.eval())
        fitted._tune(setup)
        self.__dict__.update(vars(fitted))  # at once: Ctrl-C finds no half of it
        for callback in callbacks:
            callback.end_fit()
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, exclude: Any, resume: _Resume) -> _Task:
        """What was passed, in one form."""
        self._check_parameters()
        texts = self._check_texts(X, reset=not resume.is_resumed)
        target = check_target(y, len(texts), resume.classes)
        if resume.is_partial and resume.classes is None and target.kind == "classes":
            raise ValueError("classes must be passed on the first call to partial_fit.")
        weights = check_sample_weight(sample_weight, len(texts))
        if weights is not None:
            weights = weights / weights.mean()  # the learning rates are made for weights around 1
        mask = check_exclude(exclude, target.Y.shape)
        label_texts = self._check_label_texts(target, is_resumed=resume.is_resumed)
        return _Task(texts, target, weights, mask, label_texts, resume)

    def _setup(self, task: _Task, device: torch.device, seeds: list[int]) -> TrainingSetup:
        """Texts tokenised, rows held out, the encoder built."""
        encoder = self._fitted_encoder(task, seeds[-1])
        Y = _without(task.target.Y, task.mask)
        rows = TrainingRows(encoder.tokenize(task.texts), Y, task.weights, task.mask)
        # by the first seed: a warm start holds out the same texts again
        rows, held_out = self._split(rows, np.random.default_rng(seeds[0]))
        module = encoder.build_module().to(device).train()
        del encoder.weights_  # the module has them
        return TrainingSetup(
            module=module,
            rows=rows,
            held_out=held_out,
            target=task.target,
            encoder=encoder,
            label_texts=task.label_texts,
            device=device,
            dtype=self._dtype(device),
            generator=torch.Generator(device).manual_seed(seeds[-1]),
            settings=self._settings(encoder, module, Y, task.resume.is_partial),
            fitted=self if task.resume.is_resumed else None,
            is_partial=task.resume.is_partial,
        )

    def _train(
        self,
        setup: TrainingSetup,
        step: Step,
        rows: TrainingRows,
        seed: int,
        callbacks: Sequence[Watcher],
    ) -> tuple[list[Optimizer], History]:
        """Train the step, as the parameters say."""
        settings = setup.settings
        optimizers = make_optimizers(
            setup.module, settings["learning_rate"], settings["weight_decay"]
        )
        if setup.fitted is not None:
            self._restore_optimizers(optimizers, step)
        watchers: list[Watcher] = []
        if self.early_stopping and setup.held_out is not None:
            validate = partial(self._validation_score, setup.module, step, setup.held_out)
            watchers.append(BestEpoch(step, validate, self.n_iter_no_change))
        watchers += callbacks
        rng, schedule = np.random.default_rng(seed), self._schedule(setup)
        return optimizers, train(step, rows, optimizers, schedule, rng, watchers)

    def _snapshot(self, setup: TrainingSetup, step: Step, history: History) -> dict[str, Any]:
        """The attributes that `fit` would leave if it ended now, none of them shared with it."""
        probe = copy.copy(self)
        with isolated_torch_seed(0, setup.device):  # looking on changes no random number
            probe._publish(setup, step, list(history))
            probe._tune(setup)
        probe._runtime = {}
        known = vars(self)
        return {k: v if v is known.get(k) else copy.deepcopy(v) for k, v in vars(probe).items()}

    # ------------------------------------------------------------------------------------- memory
    def _memory(self, setup: TrainingSetup, settings: Mapping[str, Any]) -> Memory:
        """What training with `settings` holds at its peak."""
        n_rows = len(setup.rows) + len(setup.label_texts or [])  # label texts may be rows, too
        settings = {**settings, "batch_size": min(settings["batch_size"], n_rows)}
        parts = dict.fromkeys(("weights", "optimizer", "copies"), 0)
        for parameter in setup.module.parameters():
            n_bytes = parameter.nbytes
            if getattr(parameter, "is_row_sparse", False):
                n_bytes = n_bytes * settings["dim"] // setup.module.dim
            else:
                parts["optimizer"] += 3 * n_bytes  # the gradient and AdamW's two moments
            parts["weights"] += n_bytes
        if settings["early_stopping"]:
            parts["copies"] = parts["weights"]
        host = {"published": parts["weights"], "data": setup.data_bytes}
        memory = Memory(parts, host) + self._own_memory(setup, settings)
        # the texts are read before anything else is there
        others = sum(memory.by_place(setup.device)["cpu"].values()) - setup.data_bytes
        return memory + Memory({}, {"data": max(setup.reading_bytes - others, 0)})

    def _check_memory(self, setup: TrainingSetup) -> None:
        """Raise where training would not fit."""
        estimate, savers = partial(self._memory, setup), self._savers(setup)
        check_memory(estimate, setup.settings, savers, setup.device, self._held_bytes(setup))

    def _held_bytes(self, setup: TrainingSetup) -> dict[str, int]:
        """What of the estimate is allocated before training, by place."""
        module = sum(parameter.nbytes for parameter in setup.module.parameters())
        if setup.device.type == "cpu":
            return {"cpu": setup.data_bytes + module}
        return {"cpu": setup.data_bytes, str(setup.device): module}

    def _savers(self, setup: TrainingSetup) -> dict[str, Callable[[int], str]]:
        """Numbers that save memory when lowered, least harmful first; and how to pass them."""
        encoder: Any = setup.encoder

        def narrowed(dim: int) -> str:
            return f"encoder={clone(encoder).set_params(**{encoder.dim_parameter: dim})!r}"

        numbers = [name for name in self._memory_savers if setup.settings[name]]
        by_name = {name: f"{name}={{}}".format for name in numbers}
        return by_name | {"dim": narrowed}

    def _seeds(self, resume: _Resume) -> list[int]:
        """One seed an epoch already run, and one for this fit.

        A stream of fits from one random_state then never meets the same dropout twice.
        """
        n_done = self.n_iter_ if resume.is_resumed else 0
        draws = check_random_state(self.random_state).randint(2**31 - 1, size=n_done + 1)
        return [int(seed) for seed in draws]

    def _check_parameters(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1)
        check_integer("top_k", self.top_k, 1)
        check_integer("n_iter_no_change", self.n_iter_no_change, 1)
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) is not None:
                check_real(name, getattr(self, name), ends="(]")
        check_real("weight_decay", self.weight_decay)
        check_threshold(self.threshold)
        check_real("warmup_fraction", self.warmup_fraction, high=1)
        if self.dropout is not None:
            check_real("dropout", self.dropout, high=1, ends="[)")
        check_real("validation_fraction", self.validation_fraction, high=1, ends="()")
        check_choice("sparse_output", self.sparse_output, ("auto", True, False))
        check_choice("precision", self.precision, ("auto", "float32", "bfloat16"))
        for name in ("early_stopping", "warm_start"):
            check_choice(name, getattr(self, name), (True, False))
        if not isinstance(self.verbose, bool):
            check_integer("verbose", self.verbose, 0)
        self._check_own_parameters()

    def _settings(
        self, encoder: Encoder, module: EncoderModule, Y: sp.csr_array, is_partial: bool
    ) -> dict[str, Any]:
        """The parameters, with the value for this encoder and this set where one is None."""
        parameters = self.get_params(deep=False) | {"dim": module.dim}
        defaults = dict(self._pretrained_defaults if encoder.is_pretrained else self._defaults)
        if not is_partial:  # a small set needs steps more than it needs large batches
            enough_steps = max(Y.shape[0] // _LEAST_STEPS_AN_EPOCH, 8)
            defaults["batch_size"] = min(defaults["batch_size"], enough_steps)
        epochs = defaults["epochs"]
        if isinstance(epochs, range):  # a text's labels share its gradient: one each
            labels_per_text = Y.nnz / max(Y.shape[0], 1)
            defaults["epochs"] = int(np.clip(labels_per_text, epochs[0], epochs[-1]))
        return parameters | {k: v for k, v in defaults.items() if parameters.get(k) is None}

    def _fitted_encoder(self, task: _Task, seed: int) -> Encoder:
        encoder = resolve_encoder(self.encoder)
        if not task.resume.is_resumed:
            try:
                return encoder.fit(task.texts, label_texts=task.label_texts or [], seed=seed)
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

    def _dtype(self, device: torch.device) -> torch.dtype:
        if self.precision != "auto":
            return getattr(torch, self.precision)
        # GPUs before Ampere (8.0) have no bfloat16 units
        is_fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if is_fast else torch.float32

    def _split(
        self, rows: TrainingRows, rng: np.random.Generator
    ) -> tuple[TrainingRows, TrainingRows | None]:
        """Training rows, and rows held out for validation or for what is tuned afterwards."""
        n_held_out = min(len(rows) // 20, 500) if self._is_tuned else 0
        if n_held_out < LEAST_TUNING_TEXTS:
            n_held_out = 0
        if self.early_stopping:
            n_held_out = round(len(rows) * self.validation_fraction)
            if not 0 < n_held_out < len(rows):
                raise ValueError(
                    f"validation_fraction={self.validation_fraction} of {len(rows)} texts leaves "
                    f"{n_held_out} for validation and {len(rows) - n_held_out} for training. "
                    f"Pass more texts, another fraction, or early_stopping=False."
                )
        if not n_held_out:
            return rows, None
        order = rng.permutation(len(rows))
        return rows.take(order[n_held_out:]), rows.take(order[:n_held_out])

    def _schedule(self, setup: TrainingSetup) -> Schedule:
        settings = setup.settings
        return Schedule(
            epochs=1 if setup.is_partial else settings["epochs"],
            batch_size=settings["batch_size"],
            warmup_fraction=settings["warmup_fraction"],
            max_grad_norm=settings["max_grad_norm"],
            is_constant=setup.is_partial,
            is_bucketed=setup.encoder.is_padded,
            is_verbose=bool(self.verbose),
        )

    def _validation_score(self, module: EncoderModule, step: Step, rows: TrainingRows) -> float:
        """P@1 on `rows`, as `score` gives it."""
        module.eval()
        table = SearchTable.of(step.label_embeddings(), step.label_words())
        labels, _ = self._search(module, table, rows.tokens, k=1, exclude=rows.exclude)
        module.train()
        hits = np.asarray(rows.Y[np.arange(len(labels)), labels[:, 0]]).ravel() > 0
        weights = rows.sample_weight
        if weights is not None and not weights.any():
            weights = None
        return float(np.average(hits, weights=weights))

    def _publish(self, setup: TrainingSetup, step: Step, history: History) -> None:
        target, encoder = setup.target, copy.copy(setup.encoder)
        counts = np.bincount(target.Y.indices, minlength=len(target.classes)).astype(np.int64)
        is_resumed = setup.fitted is not None
        encoder.weights_ = {
            name: tensor.detach().float().cpu().numpy().copy()
            for name, tensor in setup.module.state_dict().items()
        }
        self.label_counts_ = counts + (self.label_counts_ if is_resumed and setup.is_partial else 0)
        seen_before = self.n_samples_seen_ if is_resumed and setup.is_partial else 0
        self.n_samples_seen_ = seen_before + target.Y.shape[0]
        self.history_ = (self.history_ if is_resumed else []) + history
        self.n_iter_ = len(self.history_)
        self.classes_ = target.classes
        self.n_labels_ = len(target.classes)
        self.encoder_ = encoder
        self.label_embeddings_ = self._final_table(step)
        check_converged(float(self.label_embeddings_.sum(dtype=np.float64)))
        if not is_resumed or is_nameless(target.classes):
            self._label_names = _label_names(target, setup.label_texts)
        self._target_kind, self._target_dtype = target.kind, target.dtype
        self._runtime: dict[str, Any] = {}

    def _restore_optimizers(self, optimizers: list[Optimizer], step: Step) -> None:
        saved = self._optimizer_state
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            if state:
                current = optimizer.state_dict()
                # torch.tensor copies: the saved arrays stay as they are if training is broken off
                current["state"] = {
                    int(i): {k: torch.tensor(v) for k, v in s.items()} for i, s in state.items()
                }
                optimizer.load_state_dict(current)
        for name, tensor in step.optimizer_state().items():
            if name in saved["step"]:
                tensor.copy_(torch.tensor(saved["step"][name]))


def _given(sample_weight: Any, exclude: Any) -> dict[str, Any]:
    """The metadata of a fit that are not None."""
    metadata = {"sample_weight": sample_weight, "exclude": exclude}
    return {name: value for name, value in metadata.items() if value is not None}


def _without(Y: sp.csr_array, mask: sp.csr_array | None) -> sp.csr_array:
    """Y without the pairs of the mask."""
    if mask is None:
        return Y
    kept = Y - Y * (mask != 0)
    kept.eliminate_zeros()
    return sp.csr_array(kept, dtype=np.float32)


def _first_classes(classes: Any, y: Any) -> NDArray[Any] | None:
    """What `classes_` will be: in the columns' order where y is a matrix, else sorted."""
    if classes is None:
        return None
    return np.asarray(classes) if getattr(y, "ndim", 1) == 2 else np.unique(classes)


def _optimizer_state(optimizers: list[Optimizer], step: Step, is_partial: bool) -> dict[str, Any]:
    """What training goes on from, as NumPy arrays.

    After `fit` that is row-wise Adagrad's one number a row, without which words that were learnt
    would leap again; momentum and Adam's moments, of the model's size, only between partial fits.
    """
    states: list[dict[str, Any]] = [{} for _ in optimizers]
    for kept, optimizer in zip(states, optimizers, strict=True):
        if is_partial or isinstance(optimizer, RowAdagrad):
            for i, state in optimizer.state_dict()["state"].items():
                kept[str(i)] = {
                    name: torch.as_tensor(value).cpu().numpy().copy()
                    for name, value in state.items()
                }
    own = step.optimizer_state() if is_partial else {}
    return {"optimizers": states, "step": {k: v.cpu().numpy().copy() for k, v in own.items()}}


def _label_names(target: Target, label_texts: list[str] | None) -> NDArray[Any]:
    """What `predict_labels` answers: label texts where Y's columns have no names of their own."""
    if is_nameless(target.classes) and label_texts is not None and target.kind != "classes":
        return np.array(label_texts, dtype=object)
    return target.classes


@contextmanager
def isolated_torch_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch on the CPU and `device`; their random states are put back afterwards."""
    is_cuda = device.type == "cuda"
    with _TORCH_RANDOM, torch.random.fork_rng([device] if is_cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, too
        if is_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
