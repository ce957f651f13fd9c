"""The estimators on a GPU: as on a CPU, whatever is asked of them; skipped where there is none."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from contract import assert_equal_models
from gpu import no_waiting
from loss_problem import Problem
from naive_losses import LOSSES

import skxc
from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._functional._grad_cache import CachedEncoding
from skxc._functional._pairs import Pairs
from skxc._functional._top_k import top_k_inner_products
from skxc._methods._unidec import UniDECMethod
from skxc._training._checkpoint import Checkpoint
from skxc._training._loop import _Loop
from skxc.datasets import load_library_subjects, make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, JoinedEncoder, TransformerEncoder
from skxc.encoders._base import autocast

pytestmark = pytest.mark.gpu
ESTIMATORS = {"renee": ReneeClassifier, "dual": DualEncoderXC, "unidec": UniDEC}
N_TEXTS, N_LABELS = 200, 30


@pytest.fixture(scope="module")
def data():
    library = load_library_subjects()
    counts = np.asarray(library.Y.sum(0)).ravel()
    labels = np.sort(np.argsort(-counts, kind="stable")[:N_LABELS])
    rows = np.flatnonzero(np.diff(library.Y[:, labels].indptr))[:N_TEXTS]
    texts = [library.texts[i] for i in rows]
    return texts, library.Y[rows][:, labels], [library.label_texts[j] for j in labels]


@pytest.fixture(scope="module")
def bert(tiny_bert, tmp_path_factory):
    """tiny_bert without dropout."""
    folder = tmp_path_factory.mktemp("bert") / "model"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    Path(folder / "config.json").write_text(json.dumps(config))
    return TransformerEncoder(str(folder), max_length=32)


@pytest.fixture(scope="module")
def larger_bert(tiny_bert, tmp_path_factory):
    """The folder of a random BERT whose activations weigh something."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert") / "model"
    shutil.copytree(tiny_bert, folder)
    config = BertConfig.from_pretrained(tiny_bert)
    config.update({"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4})
    config.update({"intermediate_size": 1024})
    BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["bag", "bert"])
def encoder(request, bert):
    return BagOfWordsEncoder(dim=32, min_df=1) if request.param == "bag" else bert


@pytest.fixture(params=ESTIMATORS)
def make(request, data, encoder):
    def make(**parameters):
        own = {"renee": {"classifier_init": "label_texts"}, "dual": {"k": 3}}.get(request.param, {})
        settings = {"epochs": 3, "batch_size": 16, "dropout": 0.0, "random_state": 0}
        return ESTIMATORS[request.param](
            encoder, label_texts=data[2], **settings | own | parameters
        )

    return make


def test_on_a_gpu_in_float32_the_model_is_that_of_a_cpu(make, data):
    on_gpu, on_cpu = (
        make(device=device, precision="float32").fit(*data[:2]) for device in ("cuda", "cpu")
    )
    # AdamW makes a whole step of a gradient that is nothing but rounding
    coarse = 1 if isinstance(on_cpu.encoder, BagOfWordsEncoder) else 10
    np.testing.assert_allclose(
        on_gpu.label_embeddings_,
        on_cpu.label_embeddings_,
        rtol=coarse * 2e-3,
        atol=coarse * 2e-4,
    )
    scores, expected = (clf.predict_top_k(data[0], 5)[1] for clf in (on_gpu, on_cpu))
    np.testing.assert_allclose(scores, expected, rtol=coarse * 2e-3, atol=coarse * 5e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("is_joined", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_a_frozen_transformer_gives_what_it_does_on_a_cpu(
    estimator, is_joined, precision, bert, data, tmp_path
):
    encoder = TransformerEncoder(bert.model, max_length=32, trainable=False, cache_dir=tmp_path)
    encoder = JoinedEncoder(encoder) if is_joined else encoder
    settings = {"label_texts": data[2], "epochs": 5, "batch_size": 16, "random_state": 0}
    on_gpu, on_cpu = (
        estimator(encoder, device=device, precision=p, **settings).fit(*data[:2])
        for device, p in (("cuda", precision), ("cpu", "float32"))
    )
    labels, expected = (clf.predict_top_k(data[0], 1)[0] for clf in (on_gpu, on_cpu))
    assert (labels == expected).mean() > 0.8
    moved = on_gpu.set_params(device="cpu").predict_top_k(data[0], 1)[0]
    assert (moved == labels).mean() > 0.9
    if estimator is not ReneeClassifier:
        assert on_gpu.add_labels(["a label of words"]).n_labels_ == N_LABELS + 1


@pytest.mark.parametrize(
    ("make", "encoder", "parameters"),
    [
        ("renee", "bag", {}),
        ("dual", "bag", {"max_grad_norm": 1.0}),
        ("unidec", "bag", {"lexical_learning_rate": 0, "learn_temperature": True}),
    ],
    indirect=["make", "encoder"],
    ids=str,
)
def test_a_step_does_not_wait_for_the_gpu(make, data, monkeypatch, parameters):
    run_step, n_steps = _Loop.run_step, []

    def watched(loop, batch, *, with_loss):
        if not n_steps:  # the first compiles, and fills the caches
            loss = run_step(loop, batch, with_loss=with_loss)
        else:
            with no_waiting():
                loss = run_step(loop, batch, with_loss=with_loss)
        n_steps.append(batch)
        return loss

    monkeypatch.setattr(_Loop, "run_step", watched)
    make(device="cuda", epochs=1, **parameters).fit(*data[:2])
    assert len(n_steps) > 3


def test_a_classifier_on_the_host_learns_what_one_on_the_gpu_does(data, monkeypatch):
    places, begin = [], UniDECMethod.begin

    def watched(setup):
        method = begin(setup)
        places.append(method.classifier.device.type)
        return method

    monkeypatch.setattr(UniDECMethod, "begin", watched)
    clf = UniDEC(
        BagOfWordsEncoder(dim=32, min_df=1), label_texts=data[2], epochs=2, random_state=0,
        device="cuda", precision="float32",
    )  # fmt: skip
    on_gpu = clf.fit(*data[:2]).classifier_weights_
    monkeypatch.setattr("skxc._methods._unidec_start.device_share", lambda _: 0)
    on_host = clf.fit(*data[:2]).classifier_weights_
    assert places == ["cuda", "cpu"]
    np.testing.assert_allclose(on_gpu, on_host, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("k", [1, 5, 100])
def test_the_search_on_a_gpu_finds_what_one_on_a_cpu_does(k):
    g = torch.Generator().manual_seed(k)
    queries = torch.randint(-3, 4, (50, 4), generator=g).float()  # exact, and many ties
    table = torch.randint(-3, 4, (30_000, 4), generator=g).float()
    pairs = torch.rand(30_000, 50, generator=g) < 0.01
    unseen = torch.arange(0, 30_000, 7)
    found = [
        top_k_inner_products(
            queries.to(place), table.to(place), k, chunk_size=4096,
            exclude=Pairs(*(i.to(place) for i in pairs.nonzero(as_tuple=True))),
            unseen=unseen.to(place),
        )
        for place in ("cuda", "cpu")
    ]  # fmt: skip
    for on_gpu, on_cpu in zip(*found, strict=True):
        assert torch.equal(on_gpu.cpu(), on_cpu)


def test_in_bfloat16_it_learns_as_much(make, data):
    scores = [
        make(device="cuda", precision=precision, epochs=8).fit(*data[:2]).score(*data[:2])
        for precision in ("bfloat16", "float32")
    ]
    assert scores[0] > scores[1] - 0.1


def test_a_model_trained_on_a_gpu_predicts_on_a_cpu(make, data, tmp_path):
    clf = make(device="cuda", precision="float32").fit(*data[:2])
    _, scores = clf.predict_top_k(data[0], 5)
    clf.save(tmp_path / "model")
    loaded = skxc.load(tmp_path / "model", device="cpu")
    pickled = pickle.loads(pickle.dumps(clf)).set_params(device="cpu")
    for other in (loaded, pickled, clf.set_params(device="cpu")):
        np.testing.assert_allclose(other.predict_top_k(data[0], 5)[1], scores, rtol=1e-3, atol=1e-3)


def test_predicting_twice_builds_the_model_once(make, data):
    clf = make(device="cuda").fit(*data[:2])
    clf.predict_proba(data[0])
    ranker = clf._ranker
    clf.predict_proba(data[0])
    assert clf._ranker is ranker


@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": True, "n_iter_no_change": 1},
        {"max_grad_norm": 1.0, "dropout": 0.3},
        {"verbose": 1, "batch_size": 7},
    ],
    ids=str,
)
def test_what_all_have_runs(make, data, parameters):
    clf = make(device="cuda", **parameters).fit(*data[:2])
    assert np.isfinite(clf.label_embeddings_).all()
    assert clf.predict_proba(data[0]).shape == data[1].shape


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (ReneeClassifier, {"momentum": 0.9}),
        (ReneeClassifier, {"label_chunk_size": 7, "augment": False}),
        (DualEncoderXC, {"negatives": "mined", "pool_size": 20, "mining_interval": 1}),
        (DualEncoderXC, {"negatives": "all", "loss": "soft-top-k", "k": 2}),
        (UniDEC, {"negatives": "mined", "pool_size": 20, "mining_interval": 1}),
        (UniDEC, {"batches": "clustered", "mining_interval": 1, "learn_temperature": True}),
        (UniDEC, {"classifier_loss": "one-vs-all", "projection_dim": 16}),
        (UniDEC, {"encode_batch_size": 7, "max_grad_norm": 1.0}),
        (ReneeClassifier, {"encode_batch_size": 7, "max_grad_norm": 1.0}),
    ],
    ids=str,
)
def test_what_one_has_runs(cls, parameters, data, encoder):
    clf = cls(
        encoder, label_texts=data[2], epochs=3, random_state=0, device="cuda", **parameters
    ).fit(data[0], data[1], exclude=data[1][::-1] * 0)
    assert np.isfinite(clf.label_embeddings_).all()
    assert clf.predict_proba(data[0]).shape == data[1].shape


def test_streams_and_warm_starts_go_on(make, data):
    clf = make(device="cuda")
    for _ in range(3):
        clf.partial_fit(data[0][:50], data[1][:50])
    clf.set_params(warm_start=True, epochs=1).fit(*data[:2])
    assert clf.n_iter_ == 4
    assert np.isfinite(clf.label_embeddings_).all()


def test_labels_of_more_than_one_chunk_are_embedded_in_two_passes(data, encoder, monkeypatch):
    def fitted():
        return DualEncoderXC(
            encoder, label_texts=data[2], negatives="all", epochs=2, batch_size=16, dropout=0.0,
            random_state=0, device="cuda", precision="float32",
        ).fit(*data[:2])  # fmt: skip

    in_one_block = fitted()
    monkeypatch.setattr("skxc._methods._dual_encoder._SCORES_AT_ONCE", 16 * 5)
    np.testing.assert_allclose(
        fitted().label_embeddings_, in_one_block.label_embeddings_, rtol=1e-2, atol=1e-3
    )


def test_dropout_is_replayed_when_texts_are_encoded_again(tiny_bert):
    encoder = TransformerEncoder(tiny_bert, max_length=32).fit([], seed=0)
    module = encoder.build_module().cuda().train()
    texts = [encoder.tokenize(["red table", "a blue lamp"]), encoder.tokenize(["white chair"])]
    gradient = torch.randn(3, 32, device="cuda")
    rows = [torch.tensor([0, 1]), torch.tensor([2])]
    torch.cuda.manual_seed(3)
    embeddings = torch.cat([module(tokens) for tokens in texts])
    embeddings.backward(gradient)
    expected = {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    torch.cuda.manual_seed(3)
    cached = CachedEncoding(module, list(zip(texts, rows, strict=True)), torch.device("cuda"))
    torch.testing.assert_close(cached.embeddings, embeddings.detach())
    cached.backward(gradient)
    for name, parameter in module.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_two_passes_equal_one_graph_with_dropout_on(loss):
    problem = Problem(device="cuda")
    with torch.random.fork_rng([problem.device]):
        torch.cuda.manual_seed(3)
        want = problem.by_autograd(loss, problem.chunks(5))
        torch.cuda.manual_seed(3)
        got = problem.by_two_passes(loss, problem.chunks(5))
    assert got[0].is_cuda
    for ours, theirs in zip([*got[:2], *got[2]], [*want[:2], *want[2]], strict=True):
        torch.testing.assert_close(ours.cpu(), theirs.cpu(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("encoder", ["bag", "bert"])
@pytest.mark.parametrize("estimator", ESTIMATORS.values())
def test_it_holds_what_was_estimated(estimator, encoder, larger_bert):
    data = make_extreme_classification(3_000, 30_000, random_state=0)
    own = {"augment": False} if estimator is ReneeClassifier else {}
    if encoder == "bert":
        own |= {"encoder": TransformerEncoder(larger_bert, max_length=32)}
    clf = estimator(label_texts=data.label_texts, epochs=1, device="cuda", random_state=0, **own)
    needed = clf.memory_estimate(data.texts, data.Y)["cuda"]
    matrix = torch.ones(8, 8, device="cuda", requires_grad=True)
    (matrix @ matrix).sum().backward()  # cuBLAS takes a workspace for each thread, which it keeps
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    clf.fit(data.texts, data.Y)
    held = torch.cuda.max_memory_allocated() - before
    assert sum(needed.values()) == pytest.approx(held, rel=0.2)


def test_one_seed_is_one_model(make, data):
    first, second = (make(device="cuda", dropout=0.2).fit(*data[:2]) for _ in range(2))
    np.testing.assert_allclose(
        first.label_embeddings_, second.label_embeddings_, rtol=1e-2, atol=1e-2
    )


def test_one_seed_gives_the_same_bits_with_deterministic_algorithms(data, bert):
    if os.environ.get("CUBLAS_WORKSPACE_CONFIG") not in (":4096:8", ":16:8"):
        pytest.skip("needs CUBLAS_WORKSPACE_CONFIG=:4096:8 before the process starts")
    clf = DualEncoderXC(
        bert, label_texts=data[2], negatives="all", encode_batch_size=16, epochs=2, dropout=0.2,
        device="cuda", random_state=0,
    )  # fmt: skip
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (clf.fit(*data[:2]).label_embeddings_ for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    np.testing.assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_blocks_replay_dropout_and_equal_the_uncompiled(tiny_bert, dtype, caplog):
    encoder = TransformerEncoder(tiny_bert, max_length=24).fit([], seed=0)
    tokens = encoder.tokenize(["red lamp", "a small blue chair", "piano and guitar", "table"])
    plain, compiled = (
        encoder.set_params(compile=is_compiled).build_module().cuda().train()
        for is_compiled in (False, True)
    )
    for rows in ([0, 1, 2], [0, 0], [1]):  # padding, none, a single text
        found = []
        for module, with_graph in ((compiled, False), (compiled, True), (plain, True)):
            torch.cuda.manual_seed(0)
            with torch.set_grad_enabled(with_graph), autocast(torch.device("cuda"), dtype):
                found.append(module(tokens.take(np.array(rows))).detach())
        assert torch.equal(found[0], found[1])
        tolerance = 1e-4 if dtype == torch.float32 else 0.1
        torch.testing.assert_close(found[0], found[2], rtol=tolerance, atol=tolerance)
    assert "runs uncompiled" not in caplog.text


def test_out_of_memory_is_told_in_words_and_changes_nothing():
    data = make_extreme_classification(200, 200_000, random_state=0)
    clf = ReneeClassifier(BagOfWordsEncoder(dim=512), epochs=1, augment=False, device="cuda")
    clf.fit(data.texts[:50], data.Y[:50][:, :5])
    before = pickle.loads(pickle.dumps(clf))
    gc.collect()
    torch.cuda.empty_cache()
    limit = torch.cuda.memory_reserved() + 150e6  # the table needs 208
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(limit / total)
    try:
        with pytest.raises(ValueError, match="Training needs"):
            clf.fit(data.texts, data.Y)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert_equal_models(clf, before)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_killed_fit_goes_on_from_its_checkpoint(name, precision, data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def dying(self):
        write(self)
        raise Killed

    texts, Y, label_texts = data
    own = {"label_texts": label_texts, "epochs": 3, "random_state": 0, "precision": precision}
    made = ESTIMATORS[name]
    whole = made(BagOfWordsEncoder(dim=32), device="cuda", **own).fit(texts, Y)
    clf = made(BagOfWordsEncoder(dim=32), device="cuda", checkpoint_dir=tmp_path, **own)
    clf.set_params(checkpoint_interval=0)
    write = Checkpoint._write
    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "_write", dying)
            with pytest.raises(Killed):
                clf.fit(texts, Y)
    clf.fit(texts, Y)
    assert [e["loss"] for e in clf.history_] == pytest.approx([e["loss"] for e in whole.history_])
    scores = [m.predict_top_k(texts[:50], 3)[1] for m in (clf, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-3, atol=1e-3)
