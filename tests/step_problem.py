"""What the tests of DualEncoderXC and UniDEC share: data, and one step's batch and gradients."""

from __future__ import annotations

import copy

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from naive_losses import naive_loss
from setups import loss_settings, make_setup

from skxc._data._batches import TrainingRows
from skxc._data._tokens import TokenStore
from skxc._methods._dual_encoder import DualEncoderMethod, DualEncoderSettings
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder

SMALL = BagOfWordsEncoder(dim=16, min_df=1)
N_TEXTS, N_LABELS = 120, 12
TEMPERATURE = 0.2
STEP_TEXTS = [
    "a red guitar", "wireless keyboard and mouse for the kitchen", "history of music", "steel",
    "small blue glass lamp", "the garden chair", "a novel", "red cable", "large black table",
]  # fmt: skip
STEP_LABELS = [
    "guitar", "keyboard", "kitchen knife", "music of the string", "red", "blue and green", "lamp",
    "garden", "white table and chair", "history", "steel",
]  # fmt: skip


class Data:
    """The first titles that have one of the twelve most frequent subjects."""

    def __init__(self):
        library = load_library_subjects()
        counts = np.asarray(library.Y.sum(0)).ravel()
        labels = np.sort(np.argsort(-counts, kind="stable")[:N_LABELS])
        Y = library.Y[:, labels]
        rows = np.flatnonzero(np.diff(Y.indptr))[:N_TEXTS]
        self.texts, self.Y = [library.texts[i] for i in rows], Y[rows].astype(np.int64)
        self.label_texts = [library.label_texts[j] for j in labels]
        rng = np.random.default_rng(0)
        self.exclude = sp.csr_array(rng.random(self.Y.shape) < 0.2, dtype=np.int64)

    @property
    def lists(self):
        """The label texts of each row."""
        return [[self.label_texts[j] for j in row] for row in np.split(
            self.Y.indices, self.Y.indptr[1:-1])]  # fmt: skip


class StepProblem:
    """One batch and a float64 encoder; no label of the fourth text, no text of two labels."""

    def __init__(self, encoder, dropout=0.3):
        encoder = encoder.fit([*STEP_TEXTS, *STEP_LABELS], seed=0)
        self.module = encoder.build_module().double()
        self.label_tokens = encoder.tokenize(STEP_LABELS)
        rng, shape = np.random.default_rng(0), (len(STEP_TEXTS), len(STEP_LABELS))
        is_positive = rng.random(shape) < 0.2
        # every other label: also the first and the last of a chunk, whatever the chunks
        is_positive[np.arange(shape[1]) % 3, np.arange(shape[1])] = True
        is_positive[3] = is_positive[:, [2, 7]] = False
        self.targets = (is_positive * rng.uniform(0.2, 1, shape)).astype(np.float32)
        self.is_ignored = (rng.random(shape) < 0.2) & ~is_positive
        self.rows = TrainingRows(
            encoder.tokenize(STEP_TEXTS),
            sp.csr_array(self.targets),
            rng.uniform(0.5, 2, shape[0]).astype(np.float32),
            sp.csr_array(self.is_ignored, dtype=np.float32),
        )
        self.dropout = dropout

    @property
    def batch(self):
        return self.rows.batch(np.arange(len(self.rows)))

    def step(self, loss, encode_batch_size=None, pool_size=1000, positives_per_text=None):
        """The step on a module of its own."""
        setup = make_setup(
            DualEncoderSettings, copy.deepcopy(self.module), self.rows,
            label_tokens=self.label_tokens, pool_size=pool_size, temperature=TEMPERATURE,
            positives_per_text=positives_per_text, dropout=self.dropout,
            encode_batch_size=encode_batch_size, **loss_settings(loss),
        )  # fmt: skip
        return DualEncoderMethod(setup)

    def by_step(self, step, seed=3):
        """Loss and gradients that the step leaves."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            step.generator = torch.Generator().manual_seed(seed)
            loss = step(self.batch, 1.0, with_loss=True)
        return loss, gradients(step.module)

    def by_autograd(self, step, chunk_size=None, seed=3, targets=None, ignored=None):
        """The naive formula through one graph; encoded in the step's order, for its dropout."""
        targets = self.targets if targets is None else targets
        ignored = self.is_ignored if ignored is None else ignored
        module, batch = copy.deepcopy(self.module), self.batch
        pool = copy.deepcopy(step)._pick(batch).pool
        tokens = self.label_tokens.take(pool)

        def embed(tokens, chunk_size=None):
            slices = list(step._slices(tokens.lengths, chunk_size or len(tokens)))
            embeddings = torch.cat([module(tokens.take(rows)) for rows in slices])
            return F.normalize(embeddings, dim=1)[np.argsort(np.concatenate(slices))]

        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            if chunk_size is None:
                joint = embed(TokenStore.concatenate([batch.tokens, tokens]))
                texts, labels = joint[: len(batch)], joint[len(batch) :]
            else:
                texts = embed(batch.tokens)
                labels = embed(tokens, chunk_size)
        texts = texts * dropout_mask(texts.shape, self.dropout, seed)
        targets = targets[:, pool].astype(float)
        weights = batch.sample_weight.astype(float)
        others = map(torch.from_numpy, (targets, ignored[:, pool], weights))
        loss = naive_loss(step.loss, texts @ labels.T / TEMPERATURE, *others)
        loss.backward()
        return loss.detach(), gradients(module)


def dropout_mask(shape, rate, seed):
    """The mask of a step whose generator has this seed."""
    kept = torch.full(shape, 1 - rate, dtype=torch.float64)
    return torch.bernoulli(kept, generator=torch.Generator().manual_seed(seed)) / (1 - rate)


def gradients(module):
    """The parameters' gradients, dense, in one vector."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in module.parameters()]
    return torch.cat([p.to_dense().flatten() if p.is_sparse else p.flatten() for p in parts])
