"""UniDEC: its step against autograd, and what it has beyond the common contract."""

from __future__ import annotations

import copy
import math
import pickle
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from contract import assert_equal_models
from naive_losses import EXACT, naive_loss
from setups import loss_settings, make_setup
from step_problem import (
    N_LABELS,
    N_TEXTS,
    SMALL,
    TEMPERATURE,
    Data,
    StepProblem,
    gradients,
)
from torch import nn

from skxc import UniDEC
from skxc._data._tokens import TokenStore
from skxc._estimator import _fit
from skxc._functional._losses import BalancedSoftmax, DecoupledSoftmax, Softmax
from skxc._methods import _unidec, _unidec_score
from skxc._methods._heads import Heads
from skxc._methods._unidec import UniDECMethod
from skxc._methods._unidec_score import ScoreWeights
from skxc._methods._unidec_start import UniDECSettings
from skxc._search._ranker import Ranker
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder
from skxc.metrics import ranking_metrics

LOSSES = [DecoupledSoftmax(), Softmax(), BalancedSoftmax()]
LOSS_NAMES = ["decoupled-softmax", "softmax", "balanced-softmax"]
# of embeddings after different orders of the same sums
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
STILL = {"learning_rate": 1e-12, "classifier_learning_rate": 1e-12, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def data():
    return Data()


@pytest.fixture(scope="module")
def make(data):
    """`make(**parameters)`: a tiny unfitted model of the twelve labels."""

    def make(**parameters):
        settings = {
            "encoder": SMALL, "label_texts": data.label_texts, "epochs": 4, "batch_size": 16,
            "pool_size": 6, "rerank_weight": 0, "random_state": 0,
        }  # fmt: skip
        return UniDEC(**settings | parameters)

    return make


def tensors(model):
    """All that training changes, by name."""
    own = {"rows": model.classifier_weights_, "temperature": np.array(model.temperature_)}
    return own | model.head_weights_ | model.encoder_.weights_


def assert_close_tensors(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], **CLOSE | tolerance, err_msg=name)


def spy(monkeypatch, owner, name):
    """What every call of a function or method was given and returned."""
    function, calls = getattr(owner, name), []

    def recorded(*args, **keywords):
        result = function(*args, **keywords)
        calls.append((args, result))
        return result

    monkeypatch.setattr(owner, name, recorded)
    return calls


def unit(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


# -------------------------------------------------------------------------------- one step's maths
class Problem(StepProblem):
    """The dual encoder's batch, with float64 heads, classifier and temperature."""

    def __init__(self, encoder, dropout=0.3):
        super().__init__(encoder, dropout)
        # their products with float32 relevances are exact
        self.rows.sample_weight[:] = np.resize([1, 0.5, 2, 0.25], len(self.rows))

    def step(self, loss, *, dim=None, pool_size=100, encode_batch_size=None, **options):
        torch.manual_seed(5)
        options["classifier_loss"] = "one-vs-all" if options.pop("is_one_vs_all", False) else None
        heads = Heads(self.module.dim, dim).double()
        for parameter in heads.parameters():  # intercepts, too, are not 0
            nn.init.normal_(parameter, std=0.5)
        setup = make_setup(
            UniDECSettings, copy.deepcopy(self.module), self.rows, label_tokens=self.label_tokens,
            pool_size=pool_size, encode_batch_size=encode_batch_size, dropout=self.dropout,
            **loss_settings(loss) | options,
        )  # fmt: skip
        return UniDECMethod(
            setup,
            heads=heads,
            classifier=torch.randn(self.targets.shape[1], heads.dim, dtype=torch.float64),
            words=None,
            log_scale=nn.Parameter(-torch.tensor(TEMPERATURE).double().log()),
            is_seen=self.targets.any(0),
            weights=ScoreWeights(0.5, 0.0, 0.0),
        )

    def by_step(self, step, seed=3):
        """The gradients, and the loss, which is summed in float32 at least."""
        step, found = copy.deepcopy(step), []
        step._update = lambda ids, gradient, rate: found.append(gradient)
        torch.manual_seed(seed)
        step.generator = torch.Generator().manual_seed(seed)
        loss = step(self.batch, 1.0, with_loss=True)
        heads, scale = gradient_of(*step.heads.parameters()), gradient_of(step.log_scale)
        return (gradients(step.module), heads, scale, found[0].flatten()), loss

    def by_autograd(self, step, seed=3):
        """The naive formulas through one graph."""
        step, batch = copy.deepcopy(step), self.batch
        pool = copy.deepcopy(step)._pick(batch).pool
        rows = step.classifier[torch.from_numpy(pool)].requires_grad_()
        texts = np.flatnonzero(self.targets[:, pool].any(1))  # the others sit it out
        tokens = batch.tokens.take(texts)
        tokens = TokenStore.concatenate([tokens, self.label_tokens.take(pool)])
        torch.manual_seed(seed)
        slices = list(step._slices(tokens.lengths, len(tokens)))
        joint = torch.cat([step.module(tokens.take(rows)) for rows in slices])
        joint = joint[np.argsort(np.concatenate(slices))]
        generator, paper = torch.Generator().manual_seed(seed), step.settings.paper

        def dropped(vectors, rate):
            if not rate:
                return vectors
            return (
                vectors
                * torch.empty_like(vectors).bernoulli_(1 - rate, generator=generator)
                / (1 - rate)
            )

        of_texts, of_labels = joint.split([len(texts), len(pool)])
        text_space, row_space = torch.clone, torch.clone
        if not step.heads.is_shared:
            text_space = lambda e: torch.tanh(step.heads.of_label_texts(e))  # noqa: E731
            row_space = step.heads.of_classifier
        a = F.normalize(dropped(text_space(of_texts), paper.head_dropout), dim=1)
        mask = dropped(torch.ones_like(a), step.settings.dropout)  # of both spaces
        b = a
        if not step.heads.is_shared:
            b = F.normalize(dropped(row_space(of_texts), paper.head_dropout), dim=1)
        a, b = (space * mask * step.log_scale.exp() for space in (a, b))
        labels = F.normalize(dropped(text_space(of_labels), paper.head_dropout), dim=1)
        picked = dropped(rows, paper.row_dropout)
        targets = torch.from_numpy(self.targets[texts][:, pool].astype(float))
        others = targets, torch.from_numpy(self.is_ignored[texts][:, pool])
        weights = torch.from_numpy(batch.sample_weight[texts].astype(float))

        def softmax(scores):
            keywords = step.dual_step.keywords
            loss = naive_loss(keywords["loss"], scores, *others, weights)
            if not keywords["both_directions"]:
                return loss
            swapped = (targets * weights[:, None]).T, others[1].T
            return (loss + naive_loss(keywords["loss"], scores.T, *swapped)) / 2

        dual_weight = step.settings.dual_weight
        total = dual_weight * softmax(a @ labels.T)
        scores = b @ (picked if step.is_one_vs_all else F.normalize(picked, dim=1)).T

        def one_vs_all(scores):  # of each text, summed over the pool
            terms = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
            return torch.where(others[1], 0.0, terms).sum(1) * weights

        shifted = scores - math.log(len(rows))
        of_rows = one_vs_all(shifted).mean() if step.is_one_vs_all else softmax(scores)
        n_labels = (~others[1]).sum(1)
        of_rows = of_rows + paper.one_vs_all_weight * (one_vs_all(scores) / n_labels).mean()
        total = total + (1 - dual_weight) * of_rows
        total.backward()
        heads, scale = gradient_of(*step.heads.parameters()), gradient_of(step.log_scale)
        return (gradients(step.module), heads, scale, gradient_of(rows)), total.detach()


def flushed(step):
    """The classifier's rows, their weight decay applied."""
    step.optimizer.flush()
    return step.classifier


def gradient_of(*parameters):
    """The gradients, 0 where there is none, in one vector."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([torch.zeros(0).double(), *(part.flatten() for part in parts)])


@pytest.fixture(scope="module", params=["bag", "bert"])
def problem(request):
    if request.param == "bag":
        return Problem(BagOfWordsEncoder(dim=8, min_df=1))
    folder = request.getfixturevalue("tiny_bert")  # with the transformer's own dropout
    return Problem(TransformerEncoder(model=folder, max_length=16))


@pytest.fixture(autouse=True)
def _isolated_random_state():
    with torch.random.fork_rng([]):
        yield


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("both_directions", [False, True])
@pytest.mark.parametrize("is_one_vs_all", [False, True])
@pytest.mark.parametrize("dim", [None, 5])
@pytest.mark.parametrize(("pool_size", "encode_batch_size"), [(4, 2), (100, None)])
def test_a_step_equals_autograd_of_both_naive_losses_with_dropout_on(
    problem, loss, both_directions, is_one_vs_all, dim, encode_batch_size, pool_size
):
    step = problem.step(
        loss, dim=dim, both_directions=both_directions, is_one_vs_all=is_one_vs_all,
        encode_batch_size=encode_batch_size, pool_size=pool_size,
    )  # fmt: skip
    assert len(copy.deepcopy(step)._pick(problem.batch).pool) == min(pool_size, 11)
    got, value = problem.by_step(step)
    want, wanted_value = problem.by_autograd(step)
    torch.testing.assert_close(got, want, **EXACT)
    torch.testing.assert_close(value.double(), wanted_value, rtol=1e-6, atol=1e-6)
    assert all(g.abs().max() > 1e-4 for g in got if len(g))
    assert (problem.by_step(step, seed=4)[0][0] - got[0]).abs().max() > 1e-4  # dropout is on


@pytest.mark.parametrize(
    "paper",
    [{"head_dropout": 0.4}, {"row_dropout": 0.3}, {"one_vs_all_weight": 2.0},
     {"head_dropout": 0.4, "row_dropout": 0.3, "one_vs_all_weight": 1.0}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("is_one_vs_all", [False, True])
@pytest.mark.parametrize("dim", [None, 5])
def test_a_step_equals_autograd_with_the_papers_details(problem, paper, is_one_vs_all, dim):
    step = problem.step(DecoupledSoftmax(), dim=dim, is_one_vs_all=is_one_vs_all, paper=paper)
    got, value = problem.by_step(step)
    want, wanted_value = problem.by_autograd(step)
    torch.testing.assert_close(got, want, **EXACT)
    torch.testing.assert_close(value.double(), wanted_value, rtol=1e-6, atol=1e-6)
    without = problem.step(DecoupledSoftmax(), dim=dim, is_one_vs_all=is_one_vs_all)
    plain, _ = problem.by_step(without)
    assert (got[0] - plain[0]).abs().max() > 1e-4


@pytest.mark.parametrize("dim", [None, 5])
def test_heads_and_temperature_have_the_papers_rates_decay_and_epsilon(dim):
    problem, rate = Problem(BagOfWordsEncoder(dim=8, min_df=1)), 0.5
    paper = {"head_learning_rate": 0.03, "head_weight_decay": 0.2, "adam_epsilon": 1e-2}
    step = problem.step(Softmax(), dim=dim, paper=paper)
    want = copy.deepcopy(step)
    _, of_heads, of_scale, of_rows = problem.by_step(step)[0]
    step.generator = torch.Generator().manual_seed(3)
    step(problem.batch, rate, with_loss=False)
    pool = torch.from_numpy(copy.deepcopy(want)._pick(problem.batch).pool)
    rows = want.classifier[pool].requires_grad_()
    heads, every = [*want.heads.parameters()], torch.cat([of_heads, of_scale, of_rows])
    parameters = [*heads, want.log_scale, rows]
    for p, gradient in zip(parameters, every.split([p.numel() for p in parameters]), strict=True):
        p.grad = gradient.view(p.shape)
    if heads:
        torch.optim.AdamW(heads, 0.03 * rate, eps=1e-2, weight_decay=0.2).step()
    torch.optim.AdamW([want.log_scale, rows], 0.01 * rate, eps=1e-2, weight_decay=0).step()
    updated = want.classifier.index_copy(0, pool, rows.detach())
    torch.testing.assert_close(flushed(step), updated, **EXACT)
    torch.testing.assert_close(step.log_scale, want.log_scale, **EXACT)
    for got, wanted in zip(step.heads.parameters(), heads, strict=True):
        torch.testing.assert_close(got, wanted, **EXACT)


def test_a_decay_that_leaves_nothing_of_the_projections_is_refused(make, data):
    paper = {"head_learning_rate": 0.5, "head_weight_decay": 2}
    message = "A learning rate of 0.5 times paper['head_weight_decay']=2 is 1 or more"
    with pytest.raises(ValueError, match=re.escape(message)):
        make(paper=paper, projection_dim=5).fit(data.texts, data.Y)


@pytest.mark.parametrize("pool_size", [100, 4])
def test_the_pool_has_no_random_labels_on_request(pool_size):
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1))
    step = problem.step(Softmax(), pool_size=pool_size, paper={"random_labels": False})
    pool = step._pick(problem.batch).pool
    own = np.unique(problem.batch.positives.labels)
    assert set(pool) <= set(own)
    assert len(pool) == min(pool_size, len(own))
    others = problem.step(Softmax(), pool_size=pool_size)._pick(problem.batch).pool
    assert (len(others) > len(own)) == (pool_size > len(own))


@pytest.mark.parametrize("dual_weight", [0.0, 1.0])
@pytest.mark.parametrize("is_one_vs_all", [False, True])
@pytest.mark.parametrize("dim", [None, 5])
def test_either_loss_can_be_left_out(dual_weight, is_one_vs_all, dim):
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1))
    step = problem.step(
        DecoupledSoftmax(), dim=dim, is_one_vs_all=is_one_vs_all, dual_weight=dual_weight
    )
    got, _ = problem.by_step(step)
    torch.testing.assert_close(got, problem.by_autograd(step)[0], **EXACT)
    assert got[-1].any() == (dual_weight == 0)


@pytest.mark.parametrize("dim", [None, 5])
def test_an_update_is_adams_on_the_picked_rows_heads_and_temperature_alone(dim):
    problem, rate = Problem(BagOfWordsEncoder(dim=8, min_df=1)), 0.5
    step = problem.step(Softmax(), dim=dim, pool_size=4)
    pool = torch.from_numpy(copy.deepcopy(step)._pick(problem.batch).pool)
    want = copy.deepcopy(step)
    _, *found = problem.by_step(step)[0]
    step.generator = torch.Generator().manual_seed(3)
    step(problem.batch, rate, with_loss=False)
    rows = want.classifier[pool].requires_grad_()
    parameters = [*want.heads.parameters(), want.log_scale, rows]
    sizes = [p.numel() for p in parameters]
    for p, gradient in zip(parameters, torch.cat(found).split(sizes), strict=True):
        p.grad = gradient.view(p.shape)
    torch.optim.AdamW(parameters, 0.01 * rate, weight_decay=0.0).step()
    updated = want.classifier.index_copy(0, pool, rows.detach())
    torch.testing.assert_close(flushed(step), updated, **EXACT)
    torch.testing.assert_close(step.log_scale, want.log_scale, **EXACT)
    torch.testing.assert_close(step.heads.state_dict(), want.heads.state_dict(), **EXACT)
    assert (step.classifier != problem.step(Softmax(), dim=dim).classifier).any(1).sum() == 4


@pytest.mark.parametrize(
    "options", [{}, {"both_directions": True}, {"is_one_vs_all": True}], ids=str
)
def test_a_text_without_a_positive_in_the_pool_takes_no_part_and_is_counted(options):
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1), dropout=0.0)
    has_positive, results = problem.targets.any(1), []
    for kept in (np.arange(9), np.flatnonzero(has_positive)):
        problem.rows = problem.rows.take(kept)
        step = problem.step(DecoupledSoftmax(), **options)
        results.append(problem.by_step(step)[0])
        step(problem.batch, 1.0, with_loss=False)
        assert step.report() == {"without_positive": 1 - has_positive.sum() / len(kept)}
    torch.testing.assert_close(*results, **EXACT)


def test_a_batch_without_positives_changes_nothing():
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1))
    problem.rows = problem.rows.take(np.array([3]))
    step = problem.step(Softmax(), dim=5)
    before = copy.deepcopy(step.state())
    assert step(problem.batch, 1.0, with_loss=True) == 0
    torch.testing.assert_close(step.state(), before, rtol=0, atol=0)


def test_texts_without_a_word_send_no_huge_gradient_to_the_heads():
    """Their embedding is 0, and while intercepts are 0 so is what is divided by its length."""
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1))
    problem.rows = replace(problem.rows, tokens=without_first(problem.rows.tokens))
    problem.label_tokens = without_first(problem.label_tokens)
    step = problem.step(Softmax(), dim=5)
    for linear in (step.heads.of_label_texts, step.heads.of_classifier):
        nn.init.zeros_(linear.bias)
    assert problem.by_step(step)[0][1].abs().max() < 100


def without_first(tokens):
    """The texts, no word left of the first one."""
    n = tokens.offsets[1]
    weights = None if tokens.weights is None else tokens.weights[n:]
    return TokenStore(tokens.ids[n:], np.maximum(tokens.offsets - n, 0), weights)


@pytest.mark.parametrize("is_one_vs_all", [False, True])
def test_texts_of_weight_0_have_a_part_in_neither_direction(is_one_vs_all):
    problem = Problem(BagOfWordsEncoder(dim=8, min_df=1))
    problem.rows.sample_weight[:4] = 0
    step = problem.step(Softmax(), both_directions=True, is_one_vs_all=is_one_vs_all)
    assert all(gradient.isfinite().all() for gradient in problem.by_step(step)[0])


# ---------------------------------------------------------------------------------- pools, batches
@pytest.mark.parametrize("excludes", [False, True])
@pytest.mark.parametrize("pool_size", [3, 6, 100])
def test_pools_hold_what_was_asked_for_and_tell_the_whole_truth(
    make, data, monkeypatch, excludes, pool_size
):
    asked, seen = (
        spy(monkeypatch, _unidec, "pick_some_labels"),
        spy(monkeypatch, UniDECMethod, "_pick"),
    )
    exclude = data.exclude if excludes else None
    monkeypatch.setattr(_unidec, "_LEAST_RANDOM", 2)
    model = make(negatives="mined", pool_size=pool_size, positives_per_text=1, batch_size=4)
    model.fit(data.texts, data.Y, exclude=exclude)
    n_unasked, n_dropped, n_texts = 0, 0, 0
    n_steps = len(seen) // model.n_iter_
    calls = enumerate(zip(seen, asked, strict=True))
    for i, (((step, batch), picked), ((_, drawn, hard, _), wanted)) in calls:
        pool = picked.pool
        assert set(wanted) <= set(pool)
        n_random = max(math.ceil(len(wanted) / 2), 2)
        assert len(pool) == min(len(wanted) + n_random, pool_size, N_LABELS)
        assert (np.diff(pool) > 0).all()
        everything = step.rows.Y[batch.index][:, pool].toarray()
        index, truth = picked.batch.index, everything[everything.any(1)]
        np.testing.assert_array_equal(index, batch.index[everything.any(1)])
        targets = np.zeros_like(truth)
        targets[picked.positives.rows, picked.positives.labels] = picked.positives.values
        np.testing.assert_array_equal(targets, truth)
        n_unasked += (truth > 0).sum() - drawn.sum()
        if excludes:
            is_ignored = np.zeros(truth.shape)
            is_ignored[picked.ignored.rows, picked.ignored.labels] = 1
            np.testing.assert_array_equal(
                is_ignored, step.rows.exclude[index][:, pool].toarray() > 0
            )
            assert not (is_ignored * truth).any()
        assert len(drawn) == len(batch.positives.labels)
        n_dropped += len(batch) - len(truth)
        n_texts += len(batch)
        # where the pool is all labels there is nothing to mine
        assert (len(hard) > 0) == (i >= 2 * n_steps and pool_size < N_LABELS)
    if pool_size > 3:
        assert n_unasked > 0  # positives that the text itself did not draw
    shares = [entry["without_positive"] for entry in model.history_]
    assert np.mean(shares) == pytest.approx(n_dropped / n_texts)
    if pool_size == 3:
        assert n_dropped > 0


@pytest.mark.parametrize("excludes", [False, True])
def test_mined_negatives_are_the_best_wrong_labels_refreshed_every_interval(
    make, data, monkeypatch, excludes
):
    seen = spy(monkeypatch, Ranker, "hard_negatives")
    begun = spy(monkeypatch, UniDECMethod, "begin_epoch")
    paper = {"shortlist_size": 5}
    model = make(negatives="mined", epochs=7, mining_interval=2, paper=paper)
    model.fit(data.texts, data.Y, exclude=data.exclude if excludes else None)
    assert len(begun) == 7
    assert len(seen) == 3  # before epochs 2, 4 and 6
    for (ranker, rows, k), found in seen:
        known = rows.Y.toarray() > 0
        if excludes:
            known |= rows.exclude.toarray() > 0
        assert found.shape == (len(rows), k) == (len(rows), 5)
        for row, is_known in zip(found, known, strict=True):
            assert not is_known[row[row >= 0]].any()
            assert (row >= 0).sum() == min(5, (~is_known).sum())
        assert len(ranker.table.rows) == N_LABELS


@pytest.mark.parametrize("dim", [None, 5])
def test_clustered_batches_hold_every_text_once_and_are_refreshed_every_interval(
    make, data, monkeypatch, dim
):
    seen = spy(monkeypatch, UniDECMethod, "batches")
    clusterings = spy(monkeypatch, _unidec, "balanced_clusters")
    model = make(batches="clustered", epochs=6, mining_interval=2, projection_dim=dim)
    model.fit(data.texts, data.Y)
    n_rows = N_TEXTS
    assert [batches is None for _, batches in seen] == [True, True, False, False, False, False]
    assert len(clusterings) == 2
    orders = [np.concatenate(batches) for _, batches in seen[2:]]
    for (_, batches), order in zip(seen[2:], orders, strict=True):
        assert sorted(order) == list(range(n_rows))
        sizes = [len(batch) for batch in batches]
        assert sorted(sizes)[1:] == [16] * (n_rows // 16)
        assert min(sizes) == n_rows % 16
    assert not np.array_equal(orders[0], orders[1])  # the clusters come in another order
    for (embeddings, size, _), clusters in clusterings:
        assert size == 8
        assert not embeddings.requires_grad
        order = np.concatenate(clusters)
        cosines = unit(embeddings.numpy())[order] @ unit(embeddings.numpy())[order].T
        own = np.concatenate([np.full(len(c), i) for i, c in enumerate(clusters)])
        is_same = own[:, None] == own
        assert cosines[is_same].mean() > cosines[~is_same].mean() + 0.1


# ------------------------------------------------------------------------------------------- scores
def two_cosines(model, texts):
    """What the two views say, from the fitted arrays alone; the rows as they are scored."""
    module = model.encoder_.build_module()

    def embed(texts):
        with torch.no_grad():
            return module(model.encoder_.tokenize(texts)).numpy()

    def head(name, x):
        if not model.head_weights_:
            return x
        return x @ model.head_weights_[f"{name}.weight"].T + model.head_weights_[f"{name}.bias"]

    def of_label_texts(x):
        x = head("of_label_texts", x)
        return unit(np.tanh(x) if model.head_weights_ else x)

    x, labels = embed(texts), embed(list(model.label_texts_))
    rows = model.classifier_weights_
    rows = unit(rows) if model.classifier_loss is None else rows
    return (of_label_texts(x) @ of_label_texts(labels).T, unit(head("of_classifier", x)) @ rows.T)


@pytest.mark.parametrize("dim", [None, 5])
@pytest.mark.parametrize("classifier_loss", [None, "one-vs-all"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_scores_are_the_weighted_mean_of_both_views_or_the_one_that_there_is(
    make, data, dim, classifier_loss, weight
):
    Y = data.Y.tolil()
    Y[:, [1, 5]] = 0
    texts = ["?!", "", *data.label_texts[2:]]  # no word: taught, and not; 5: its text alone
    model = make(
        label_texts=texts, projection_dim=dim, classifier_loss=classifier_loss,
        dual_score_weight=weight, lexical_learning_rate=0,
    )  # fmt: skip
    with pytest.warns(UserWarning, match="hold no word"):
        model.fit(data.texts, Y.toarray())
    by_text, by_row = two_cosines(model, data.texts)
    want = weight * by_text + (1 - weight) * by_row
    want[:, 0], want[:, 1], want[:, 5] = by_row[:, 0], -1e4, by_text[:, 5]
    np.testing.assert_allclose(model.decision_function(data.texts), want, rtol=1e-4, atol=1e-5)
    assert model.label_embeddings_.shape == (N_LABELS, SMALL.dim if dim is None else 2 * dim)
    assert model.dual_score_weight_ == weight
    labels, scores = model.predict_top_k(data.texts)
    np.testing.assert_allclose(scores, -np.sort(-want), rtol=1e-4, atol=1e-5)
    assert (labels[:, -1] == 1).all()
    np.testing.assert_allclose(
        model.transform_labels(texts)[[1, 5]], model.label_embeddings_[[1, 5]], atol=1e-6
    )


@pytest.mark.parametrize("dim", [None, 5])
def test_the_score_weight_is_the_best_of_the_held_out_texts(make, data, monkeypatch, dim):
    seen = spy(monkeypatch, UniDEC, "_calibrate")
    monkeypatch.setattr("skxc._training._setup.LEAST_TUNING_TEXTS", 1)
    settings = {"projection_dim": dim, "lexical_learning_rate": 0}
    model = make(**settings).fit(data.texts, data.Y)
    (((_, setup, _), _),), values = seen, []
    held_out = setup.tuning_rows
    assert len(held_out) == 6
    others = [
        make(**settings, dual_score_weight=weight).fit(data.texts, data.Y)
        for weight in _unidec_score._GRIDS["dual"]
    ]
    for other in others:
        labels, scores = other._get_ranker().top_k(held_out.tokens, 5)
        ranked = sp.csr_array((scores.ravel() + 2, labels.ravel(), np.arange(0, 31, 5)))
        ranked.resize(held_out.Y.shape)
        values.append(ranking_metrics(held_out.Y, ranked)["nDCG@5"])
    best = int(np.argmax(values))
    assert min(values) < max(values)
    assert model.dual_score_weight_ == _unidec_score._GRIDS["dual"][best]
    assert_equal_models(model, others[best])
    assert model._sigmoid == others[best]._sigmoid


def test_few_held_out_texts_leave_the_first_weights_whatever_was_fitted_before(make, data):
    first = make().fit(data.texts, data.Y)
    assert first.dual_score_weight_ == 0.35
    assert first.word_score_weights_.tolist() == [0.65, 0.2]
    again = make(dual_score_weight=0.9).fit(data.texts, data.Y)
    again.set_params(dual_score_weight="auto").fit(data.texts, data.Y)
    assert_equal_models(again, first)


# ----------------------------------------------------------------------------- what must not matter
@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("dim", [None, 5])
def test_the_order_of_the_labels_permutes_the_model(make, data, monkeypatch, loss, dim):
    settings = {"loss": loss, "pool_size": N_LABELS, "projection_dim": dim}
    order = np.random.default_rng(0).permutation(N_LABELS)
    torch.manual_seed(0)
    rows = torch.randn(N_LABELS, dim or SMALL.dim)
    # sums in another order: Adam makes steps of the same size from tiny gradients, too
    close = {"rtol": 1e-3, "atol": 1e-3}
    monkeypatch.setattr(_unidec, "initial_classifier", lambda *_: rows.clone())
    want = make(**settings).fit(data.texts, data.Y)
    monkeypatch.setattr(_unidec, "initial_classifier", lambda *_: rows[order].clone())
    texts = np.array(data.label_texts)[order]
    got = make(**settings, label_texts=texts).fit(data.texts, data.Y[:, order])
    np.testing.assert_allclose(want.label_embeddings_[order], got.label_embeddings_, **close)
    np.testing.assert_allclose(want.transform(data.texts), got.transform(data.texts), **close)


@pytest.mark.parametrize(
    "parameters",
    [
        {"negatives": "mined", "batches": "clustered", "mining_interval": 1, "projection_dim": 4},
        {"learn_temperature": True, "both_directions": True, "classifier_loss": "one-vs-all"},
    ],
)
def test_the_same_seed_gives_the_same_model_and_another_one_another(make, data, parameters):
    first, second, other = (
        make(**parameters, random_state=seed).fit(data.texts, data.Y) for seed in (0, 0, 1)
    )
    assert_equal_models(first, second)
    assert_close_tensors(tensors(first), tensors(second), rtol=0, atol=0)
    assert first._sigmoid == second._sigmoid
    assert not np.array_equal(first.label_embeddings_, other.label_embeddings_)


@pytest.mark.parametrize(
    "parameters",
    [
        *({"loss": loss} for loss in LOSS_NAMES),
        {"classifier_loss": "one-vs-all"},
        {"projection_dim": 16, "both_directions": True},
    ],
    ids=str,
)
def test_training_recovers_the_labels_of_its_texts(make, data, parameters):
    model = make(epochs=15, **parameters).fit(data.texts, data.Y)
    assert model.score(data.texts, data.Y) > 0.75
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]


# ---------------------------------------------------------------------------------------- going on
PROJECTED = {"projection_dim": 5, "learn_temperature": True}


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize("parameters", [{}, PROJECTED])
def test_training_goes_on_from_all_that_was_fitted(make, data, method, parameters):
    model = make(warm_start=True, **parameters).fit(data.texts, data.Y)
    first = copy.deepcopy(model)
    model.set_params(epochs=1, **STILL)
    getattr(model, method)(data.texts, data.Y)
    assert_close_tensors(tensors(model), tensors(first))
    np.testing.assert_allclose(model.label_embeddings_, first.label_embeddings_, **CLOSE)
    model.set_params(learning_rate=None, classifier_learning_rate=None)
    getattr(model, method)(data.texts, data.Y)
    assert not np.allclose(model.classifier_weights_, first.classifier_weights_, **CLOSE)
    assert model.n_iter_ == 6


def test_a_stream_keeps_what_adam_knows_of_the_rows(make, data):
    model = make(pool_size=N_LABELS, batch_size=20)
    for n in (1, 2, 3):
        model.partial_fit(data.texts[:20], data.Y[:20])
        assert (model._optimizer_state["step"]["n_updates"] == n).all()


def test_a_stream_keeps_what_adam_knows_of_the_projections(make, data):
    """The first step of a new Adam is the learning rate long, whatever the gradient."""
    settings = {"projection_dim": 5, "batch_size": 20, "classifier_learning_rate": 1e-3}
    model = make(**settings).partial_fit(data.texts[:20], data.Y[:20])
    before = model.head_weights_["of_classifier.weight"].copy()
    model.partial_fit(data.texts[20:40], data.Y[20:40])
    moved = np.abs(model.head_weights_["of_classifier.weight"] - before)
    assert moved.std() > 0.1 * moved.mean()


def test_another_projection_cannot_go_on(make, data):
    model = make(warm_start=True, epochs=1).fit(data.texts, data.Y).set_params(projection_dim=5)
    with pytest.raises(ValueError, match="projection_dim"):
        model.fit(data.texts, data.Y)


def test_validation_searches_the_table_that_prediction_does(make, data, monkeypatch):
    """Also where training goes on without texts of a label that was taught before."""
    settings = {"dual_score_weight": 0.5, "warm_start": True, "epochs": 1, "early_stopping": True}
    model = make(**settings).fit(data.texts, data.Y)
    Y = data.Y.tolil()
    Y[:, 5] = 0
    seen = spy(monkeypatch, Ranker, "precision_at_1")
    model.fit(data.texts, Y.tocsr())
    np.testing.assert_allclose(seen[-1][0][0].table.rows, model.label_embeddings_, atol=1e-6)


@pytest.mark.parametrize("parameters", [{}, PROJECTED])
def test_early_stopping_keeps_all_of_the_best_epoch(make, data, monkeypatch, parameters):
    epochs = []
    validation_score = _fit._validation_score

    def recorded(method, setup):
        score = validation_score(method, setup)
        epochs.append(copy.deepcopy((method.state(), method.ranker().table.rows)))
        return score

    monkeypatch.setattr(_fit, "_validation_score", recorded)
    model = make(
        early_stopping=True, validation_fraction=0.3, epochs=30, n_iter_no_change=3,
        dual_score_weight=0.5, **parameters,
    ).fit(data.texts, data.Y)  # fmt: skip
    best = int(np.argmax([entry["validation_score"] for entry in model.history_]))
    assert model.n_iter_ == best + 1 + 3 < 30
    state, table = epochs[best]
    np.testing.assert_array_equal(model.classifier_weights_, state["classifier"])
    for name, weights in model.head_weights_.items():
        np.testing.assert_array_equal(weights, state[f"heads.{name}"])
    assert model.temperature_ == pytest.approx(float((-state["log_scale"]).exp()))
    np.testing.assert_allclose(model.label_embeddings_, table, atol=1e-6)


# --------------------------------------------------------------------------------------- add_labels
@pytest.mark.parametrize("parameters", [{}, PROJECTED])
def test_added_labels_are_their_texts_until_training_goes_on_with_them(make, data, parameters):
    model = make(**parameters).fit(data.texts, data.Y)
    new = [data.texts[0], data.texts[1]]
    model.add_labels(new)
    assert model.label_embeddings_.shape[0] == model.classifier_weights_.shape[0] == N_LABELS + 2
    np.testing.assert_array_equal(model.label_embeddings_[-2:], model.transform_labels(new))
    assert not model.classifier_weights_[-2:].any()
    assert model.predict_top_k(new, k=1)[0].ravel().tolist() == [N_LABELS, N_LABELS + 1]
    by_text, _ = two_cosines(model, data.texts)
    scores = model.transform(data.texts) @ model.label_embeddings_.T
    np.testing.assert_allclose(scores[:, -2:], by_text[:, -2:], rtol=1e-4, atol=1e-5)
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_labels(data.texts) == model.predict_labels(data.texts)
    Y = sp.csr_array(sp.hstack([data.Y, data.Y[:, [0]], 0 * data.Y[:, [0]]]))
    for _ in range(3):
        again.partial_fit(data.texts, Y)
    assert again.label_texts_.tolist() == [*data.label_texts, *new]
    assert again.classifier_weights_[-2].any()
    by_text, by_row = two_cosines(again, data.texts)
    scores, weight = again.transform(data.texts) @ again.label_embeddings_.T, 0.35
    want = weight * by_text + (1 - weight) * by_row
    want[:, -1] = by_text[:, -1]  # no text has taught it
    np.testing.assert_allclose(scores, want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=re.escape("Y has 12 columns, but the model knows 14")):
        again.partial_fit(data.texts, data.Y)


# ------------------------------------------------------------------------------------------ corners
@pytest.mark.parametrize("kind", ["matrix", "classes"])
@pytest.mark.parametrize("pool_size", [1, 2])
@pytest.mark.parametrize("parameters", [{}, {"negatives": "mined", "batches": "clustered"},
                                        {"both_directions": True}])  # fmt: skip
def test_two_labels(make, kind, pool_size, parameters):
    texts = ["red apple", "fast car", "green apple", "old car"] * 10
    names = np.array(["apple", "car"] * 20)
    Y = np.stack([names == "apple", names == "car"], 1).astype(int)
    y = {"matrix": sp.csr_matrix(Y), "classes": names}[kind]
    model = make(
        label_texts=["an apple", "a car"], pool_size=pool_size, mining_interval=1, epochs=10,
        **parameters,
    ).fit(texts, y)  # fmt: skip
    if pool_size == 2:
        assert model.score(texts, y) == 1
    assert np.isfinite(model.label_embeddings_).all()


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("parameters", [
    {"both_directions": True}, {"classifier_loss": "one-vs-all", "projection_dim": 4},
    {"negatives": "mined", "batches": "clustered", "mining_interval": 1},
])  # fmt: skip
def test_texts_and_labels_without_any_positive_are_fine(make, data, loss, parameters):
    Y = data.Y.tolil()
    Y[::3] = 0
    Y[:, 5] = 0
    model = make(loss=loss, epochs=3, pool_size=4, **parameters).fit(data.texts, Y.tocsr())
    assert np.isfinite(model.label_embeddings_).all()
    assert min(entry["without_positive"] for entry in model.history_) > 0.2
    assert model.predict_top_k([data.label_texts[5]], k=1)[0].item() == 5


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_transformer_has_projections_of_its_width_and_trains(make, data, tiny_bert, precision):
    encoder = TransformerEncoder(model=tiny_bert, max_length=16)
    model = make(
        encoder=encoder, negatives="mined", batches="clustered", mining_interval=1, epochs=3,
        learning_rate=3e-3, classifier_learning_rate=0.01, encode_batch_size=4, max_grad_norm=1.0,
        learn_temperature=True, precision=precision,
    ).fit(data.texts[:60], data.Y[:60])  # fmt: skip
    start = encoder.fit(data.texts, seed=0).weights_
    changed = [k for k, v in start.items() if not np.array_equal(v, model.encoder_.weights_[k])]
    assert any("layer.0" in name for name in changed)
    assert model.label_embeddings_.shape == (N_LABELS, 2 * 32)
    assert model.label_embeddings_.dtype == np.float32
    assert model.transform(data.texts[:3]).shape == (3, 2 * 32)
    assert np.isfinite([epoch["loss"] for epoch in model.history_]).all()
    assert model.temperature_ != 1 / 18


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"loss": "bce"}, ValueError, "loss='bce' is unknown. Pass one of 'decoupled-softmax'"),
        ({"classifier_loss": "bce"}, ValueError, "classifier_loss='bce' is unknown."),
        ({"negatives": "hard"}, ValueError, "negatives='hard' is unknown. Pass one of 'random'"),
        ({"batches": "mined"}, ValueError, "batches='mined' is unknown. Pass one of 'random'"),
        ({"both_directions": 2}, ValueError, "both_directions=2 is unknown. Pass one of True"),
        ({"learn_temperature": 2}, ValueError, "learn_temperature=2 is unknown."),
        ({"dual_weight": 1.5}, ValueError, "dual_weight=1.5 is out of range. Pass a number in [0"),
        ({"dual_weight": "auto"}, TypeError, "dual_weight must be a number in [0, 1], got 'auto'"),
        ({"dual_score_weight": -0.1}, ValueError, "dual_score_weight=-0.1 is out of range."),
        ({"dual_score_weight": "best"}, TypeError, "dual_score_weight must be a number in [0, 1]"),
        ({"temperature": 0}, ValueError, "temperature=0 is out of range. Pass a number in (0"),
        ({"classifier_learning_rate": 0}, ValueError, "classifier_learning_rate=0 is out of range"),
        ({"projection_dim": 0}, ValueError, "projection_dim=0 is too small."),
        ({"projection_dim": "wide"}, TypeError, "projection_dim must be an integer"),
        ({"pool_size": 0}, ValueError, "pool_size=0 is too small."),
        ({"encode_batch_size": 0}, ValueError, "encode_batch_size=0 is too small."),
        ({"positives_per_text": 0}, ValueError, "positives_per_text=0 is too small."),
        ({"negatives_per_text": 2.5}, TypeError, "negatives_per_text must be an integer"),
        ({"mining_interval": 0}, ValueError, "mining_interval=0 is too small."),
        ({"label_texts": None}, ValueError, "UniDEC needs label_texts: it scores labels by"),
    ],
)
def test_parameters_out_of_range_are_named(make, data, parameters, error, message):
    model = make(**parameters)
    with pytest.raises(error, match=re.escape(message)):
        model.fit(data.texts, data.Y)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(("labels_per_text", "n_epochs"), [(1, 4), (5, 5), (6, 6), (12, 8)])
def test_texts_of_many_labels_are_gone_through_more_often(data, make, labels_per_text, n_epochs):
    Y = np.zeros((len(data.texts), 12), int)
    for i, row in enumerate(Y):
        row[np.arange(i, i + labels_per_text) % 12] = 1
    names = [f"label {i}" for i in range(12)]
    model = make(label_texts=names, epochs=None).fit(data.texts, Y)
    assert len(model.history_) == model.n_iter_ == n_epochs
    model.set_params(epochs=2).fit(data.texts, Y)
    assert model.n_iter_ == 2


def test_epochs_count_whole_labels_and_no_excluded_pairs(data, make):
    Y = np.zeros((len(data.texts), 12), int)
    for i, row in enumerate(Y):
        row[np.arange(i, i + 6 + i % 2) % 12] = 1  # 6.5 labels a text
    names = [f"label {i}" for i in range(12)]
    model = make(label_texts=names, epochs=None)
    assert model.fit(data.texts, Y).n_iter_ == 6
    exclude = sp.csr_array(Y * (np.arange(12) % 2))
    assert model.fit(data.texts, Y, exclude=exclude).n_iter_ == 4


@pytest.mark.parametrize("dual_weight", [0.0, 1.0])
def test_a_fit_by_one_loss_alone(data, make, dual_weight):
    model = make(dual_weight=dual_weight).fit(data.texts, data.Y)
    assert model.lexical_weights_["learnt"].any() == (dual_weight < 1)
    assert np.isfinite(model.predict_proba(data.texts).data).all()


def test_weights_of_words_that_overflow_are_told():
    clf = UniDEC(
        BagOfWordsEncoder(dim=4, min_df=1),
        temperature=1e15,
        lexical_learning_rate=1e15,
        random_state=0,
        epochs=1,
    )
    with pytest.raises(ValueError, match="Training diverged"):
        clf.fit(["red apple", "green pear"] * 9, [["apple"], ["pear"]] * 9)


def test_heads_and_rows_of_a_gpu_begin_with_numbers_of_their_own():
    setup = make_setup(UniDECSettings, SimpleNamespace(dim=4), rows=None)
    setup = replace(setup, device=torch.device("cuda"))
    first, second = (torch.randn(8, generator=setup.host_generator) for _ in range(2))
    assert not torch.equal(first, second)
