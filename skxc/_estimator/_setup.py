"""From what `fit` is given to what a training starts from: checked, tokenised, held out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skxc._data._batches import MOST_SHUFFLED, TrainingRows
from skxc._data._token_files import TokenRows, mapped_matrix
from skxc._data._tokens import TokenStore
from skxc._training._memory import (
    check_memory,
    held_bytes,
    on_device,
    texts_at_once,
    training_memory,
)
from skxc._training._setup import TrainingSetup, n_tuning_texts
from skxc._validation import (
    Target,
    check_exclude,
    check_label_texts,
    check_sample_weight,
    check_target,
    check_threshold,
    is_lazy,
    lazy_texts,
)
from skxc.encoders._base import Encoder
from skxc.encoders._registry import resolve_encoder

from ._checkpoints import CheckpointMixin
from ._inputs import CheckedInputs, FitMode, warn_of_equal_texts, warn_of_no_label, without
from ._sources import opened, opened_labels, tokenized
from ._vectors import embedded


class SetupMixin(CheckpointMixin):
    """Checks the data and builds a `TrainingSetup`."""

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, exclude: Any, mode: FitMode
    ) -> CheckedInputs:
        self.check_parameters()
        X, y = opened(X), opened_labels(y)
        is_first = not mode.is_resumed
        texts = lazy_texts(X) if is_lazy(X) else self._check_texts(X, reset=is_first)
        kind = self._target_kind if mode.is_resumed else None
        y = self._given_labels(y, len(texts))
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

    def _given_labels(self, y: Any, n_texts: int) -> Any:
        """The labels, as they are given."""
        return y

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
        *,
        is_estimate: bool = False,  # nothing is trained: a frozen encoder embeds nothing
    ) -> TrainingSetup[Any]:
        """Texts tokenised, rows held out, the encoder built."""
        mode, encoder = inputs.mode, self._fitted_encoder(inputs, seeds[-1])
        Y = without(inputs.target.Y, inputs.mask)
        tokens, label_tokens = tokenized(
            encoder, inputs.texts, inputs.label_texts, folder, of_tokens
        )
        warn_of_equal_texts(tokens, inputs.texts, encoder)
        module = on_device(encoder.build_training_module(), device).train()
        del encoder.weights_  # the module has them
        if self.epochs != 0 and not (mode.is_partial and mode.is_resumed):
            warn_of_no_label(Y if inputs.weights is None else Y[inputs.weights > 0], inputs.mask)
        rows = TrainingRows(tokens, Y, inputs.weights, inputs.mask)
        settings = self._settings(encoder, module.dim, Y, is_partial=mode.is_partial)
        if settings.encode_batch_size is None and encoder.is_padded:
            stores = [tokens] if label_tokens is None else [tokens, label_tokens]
            lengths = np.concatenate([store.lengths for store in stores])
            n_texts = texts_at_once(module, lengths, self._dtype(device), device)
            settings = replace(settings, encode_batch_size=n_texts)
        setup = TrainingSetup(
            settings=settings,
            module=module,
            rows=rows,
            held_out=None,
            encoder=encoder,
            label_texts=inputs.label_texts,
            label_tokens=label_tokens,
            device=device,
            dtype=self._dtype(device),
            generator=torch.Generator(device).manual_seed(seeds[-1]),
            fitted=vars(self) if mode.is_resumed else None,
            is_partial=mode.is_partial,
        )
        if module.frozen_dim is not None and not is_estimate:
            # before the vectors, which may take hours
            self._check_memory(self._with_rows_held_out(setup, seeds[0], None))
            setup = self._with_vectors(setup, folder)
            if not self._begins_fitted(mode):
                module.begin_at_(_some_vectors(setup.rows.tokens))
        return self._with_rows_held_out(setup, seeds[0], folder)

    def _begins_fitted(self, mode: FitMode) -> bool:
        """Whether the encoder's weights are those of an earlier fit."""
        return mode.is_resumed

    def _with_rows_held_out(
        self, setup: TrainingSetup[Any], seed: int, folder: Path | None
    ) -> TrainingSetup[Any]:
        """Split the rows, by the first seed: a warm start holds out the same texts again."""
        rows, held_out = self._split(setup.rows, np.random.default_rng(seed))
        if folder is not None:
            rows = replace(rows, Y=mapped_matrix(rows.Y, folder))
        return replace(setup, rows=rows, held_out=held_out, n_reranked=self._n_searched(rows))

    def _with_vectors(self, setup: TrainingSetup[Any], folder: Path | None) -> TrainingSetup[Any]:
        """What a frozen encoder makes of the texts and labels."""
        embed = partial(
            embedded,
            setup.module,
            dtype=setup.dtype,
            folder=folder,
            at_once=self.encode_batch_size,
            is_verbose=bool(self.verbose),
        )
        tokens, of_labels = embed(setup.rows.tokens, what="texts"), setup.label_tokens
        if isinstance(tokens, TokenRows) and isinstance(of_labels, TokenRows):  # of one file
            of_labels = TokenRows(tokens.base, of_labels.rows)
        elif of_labels is not None:
            of_labels = embed(of_labels, what="labels")
        return replace(setup, rows=replace(setup.rows, tokens=tokens), label_tokens=of_labels)

    def _check_memory(self, setup: TrainingSetup[Any]) -> None:
        """Raise where training would not fit."""
        estimate = partial(training_memory, self._memory, setup)
        remedies, held = self._remedies(setup), held_bytes(setup)
        check_memory(estimate, setup.settings, remedies, setup.device, held)

    def _remedies(self, setup: TrainingSetup[Any]) -> dict[str, Callable[[int], str]]:
        """Settings that take less memory when lowered, least harmful first; how to pass them."""
        encoder: Any = setup.encoder

        def narrowed(dim: int) -> str:
            return f"encoder={encoder.narrowed(dim)!r}"

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
                encoder.fit(inputs.texts, label_texts=inputs.label_texts or [], seed=seed)
                encoder.forget()
                return encoder
            except MemoryError as error:
                raise ValueError(
                    f"The encoder does not fit into memory ({error}). Lower "
                    f"{encoder.dim_parameter} of {encoder!r}."
                ) from error
        encoder.forget()  # as the fitted one has
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


def _some_vectors(tokens: TokenStore) -> NDArray[np.float32]:
    """Vectors of the texts; of very many, of texts from all over the set."""
    n_rows = min(len(tokens), MOST_SHUFFLED)
    if n_rows < len(tokens):
        tokens = tokens.take(np.linspace(0, len(tokens) - 1, n_rows).astype(np.int64))
    assert tokens.vectors is not None
    return tokens.vectors
