"""Texts, labels and a small encoder, whose losses and gradients are known by autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from naive_losses import LOSSES, naive_loss
from torch import nn

from skxc._functional._grad_cache import LabelChunk, two_pass_step
from skxc._functional._losses import Softmax
from skxc._functional._pairs import Pairs, Positives

TEMPERATURE = 0.3
SOFTMAXES = [loss for loss in LOSSES if isinstance(loss, Softmax)]


class Problem:
    """Label features, an encoder with dropout, texts and their pairs; the third has no positive."""

    def __init__(
        self, n_labels=17, batch=5, dim=4, seed=0, *, dropout=0.4, relevance=False, device="cpu"
    ):
        self.n_labels = n_labels
        self.g = torch.Generator().manual_seed(seed)
        self.features = self.normal(n_labels, 6)
        self.net = nn.Sequential(
            nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, dim), nn.Dropout(dropout)
        ).double()
        for parameter in self.net.parameters():
            parameter.data = self.normal(*parameter.shape)
        self.texts = self.normal(batch, dim)
        self.targets = (torch.rand(batch, n_labels, generator=self.g) < 0.3).double()
        self.targets[2:3] = 0
        self.targets[0, -1] = self.targets[-1, 0] = 1
        if relevance:
            self.targets *= torch.rand(
                batch, n_labels, dtype=torch.float64, generator=self.g
            ).clamp(min=0.01)
        is_free = self.targets == 0
        self.is_ignored = is_free & (torch.rand(batch, n_labels, generator=self.g) < 0.2)
        self.device = torch.device(device)
        self.net.to(self.device)
        self.features, self.texts = self.features.to(self.device), self.texts.to(self.device)
        self.n_encoded = []

    def normal(self, *shape):
        return torch.randn(*shape, dtype=torch.float64, generator=self.g)

    def encode(self, features):
        self.n_encoded.append((len(features), torch.is_grad_enabled()))
        return F.normalize(self.net(features), dim=1)

    def chunks(self, size, order=None):
        """Slices of the labels in order, or index tensors of any order."""
        if order is None:
            starts = range(0, self.n_labels, size)
            labels = [slice(i, min(i + size, self.n_labels)) for i in starts]
        else:
            labels = order.split(size)
        return [LabelChunk(self.features[ids], ids) for ids in labels]

    def positives(self):
        labels, rows = self.targets.T.nonzero(as_tuple=True)
        return Positives(labels, rows, self.targets[rows, labels])

    def ignored(self):
        return Pairs(*self.is_ignored.T.nonzero(as_tuple=True))

    def encode_dense(self, chunks):
        """All labels in one graph, in the order of their ids."""
        labels = torch.cat([torch.arange(self.n_labels)[chunk.labels] for chunk in chunks])
        encoded = torch.cat([F.normalize(self.net(chunk.inputs), dim=1) for chunk in chunks])
        return encoded[labels.argsort()]

    def by_autograd(self, loss, chunks, sample_weight=None, ignores=True):
        """Text gradient, loss and the parameters' gradients."""
        self.net.zero_grad()
        texts = self.texts.clone().requires_grad_()
        scores = texts @ self.encode_dense(chunks).T / TEMPERATURE
        is_ignored = self.is_ignored if ignores else None
        value = naive_loss(loss, scores.cpu(), self.targets, is_ignored, sample_weight)
        value.backward()
        return texts.grad, value.detach(), self.gradients()

    def by_two_passes(self, loss, chunks, sample_weight=None, ignores=True):
        self.net.zero_grad()
        ignored = self.ignored() if ignores else None
        gradient, value = two_pass_step(
            self.encode, chunks, self.texts, self.positives(), loss,
            temperature=TEMPERATURE, ignored=ignored, sample_weight=sample_weight,
        )  # fmt: skip
        return gradient, value, self.gradients()

    def gradients(self):
        return [p.grad.clone() for p in self.net.parameters()]
