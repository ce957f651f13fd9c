"""What is said of memory before training."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from allocations import Allocations

from skxc import DualEncoderXC, ReneeClassifier, UniDEC
from skxc._estimator._fit import FitMixin
from skxc._estimator._inputs import FitMode
from skxc._methods._unidec_start import classifier_device
from skxc._search import _ranker
from skxc._search._ranker import Ranker
from skxc._training import _optimizer_state
from skxc._training._memory import (
    Memory,
    check_memory,
    texts_at_once,
    training_memory,
)
from skxc._validation import left_in_container
from skxc.datasets import make_extreme_classification
from skxc.encoders import BagOfWordsEncoder, TransformerEncoder

CPU = torch.device("cpu")
MIB = 1 << 20
REMEDIES = {"batch_size": "batch_size={}".format, "dim": "encoder=Bag(dim={})".format}


@dataclass(frozen=True)
class Toy:
    """Settings."""

    dim: int
    batch_size: int


def toy_estimate(settings):
    """1 MiB an embedding dimension, 1 MiB a text of the batch."""
    return Memory({"weights": settings.dim * MIB, "activations": settings.batch_size * MIB})


def toy_check(monkeypatch, free, **settings):
    monkeypatch.setattr("skxc._training._memory.free_bytes", lambda device: free)
    check_memory(toy_estimate, Toy(**settings), REMEDIES, CPU, held={})


@pytest.mark.parametrize(("limit", "want"), [("1000", 400), ("max", math.inf), ("?", math.inf)])
def test_a_containers_limit_counts(tmp_path, limit, want):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 300\n")
    assert left_in_container(tmp_path) == want


def test_without_a_container_there_is_no_limit(tmp_path):
    assert left_in_container(tmp_path) == math.inf


def test_the_estimate_is_logged_by_part(monkeypatch, caplog):
    with caplog.at_level(logging.INFO, logger="skxc"):
        toy_check(monkeypatch, 100 * MIB, dim=3, batch_size=7)
    assert (
        "needs about 10 MiB on cpu (weights 3 MiB, optimizer 0 B, activations 7 MiB, "
        in caplog.text
    )


@pytest.mark.parametrize(
    ("dim", "batch_size", "remedy"),
    [
        (5, 180, "Pass batch_size=95, which would fit."),
        (180, 5, "Pass encoder=Bag(dim=95), which would fit."),
        (60, 60, "Pass batch_size=40 or encoder=Bag(dim=40), which would fit."),
        (
            200,
            200,
            "Lower batch_size=100 and encoder=Bag(dim=100), or pass fewer texts or labels: none "
            "alone would do.",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_largest_values_that_would(
    monkeypatch, dim, batch_size, remedy
):
    needed = f"Training needs about {dim + batch_size} MiB (weights {dim} MiB, optimizer 0 B, "
    with pytest.raises(ValueError, match=re.escape(needed)) as raised:
        toy_check(monkeypatch, 100 * MIB, dim=dim, batch_size=batch_size)
    assert str(raised.value).endswith(f"but cpu has 100 MiB for it. {remedy}")


def test_what_is_allocated_already_is_not_asked_for_twice(monkeypatch):
    monkeypatch.setattr("skxc._training._memory.free_bytes", lambda device: 40 * MIB)
    settings = Toy(dim=60, batch_size=30)
    check_memory(toy_estimate, settings, REMEDIES, CPU, held={"cpu": 50 * MIB})
    with pytest.raises(ValueError, match="Training needs about 90 MiB"):
        check_memory(toy_estimate, settings, REMEDIES, CPU, held={"cpu": 49 * MIB})


def test_host_and_device_are_counted_apart_unless_they_are_one():
    memory = Memory({"weights": 1, "activations": 2}, {"weights": 10}) + Memory({"weights": 100})
    gpu = torch.device("cuda:0")
    nothing = dict.fromkeys(("weights", "optimizer", "activations", "data"), 0)
    assert memory.by_place(CPU) == {"cpu": nothing | {"weights": 111, "activations": 2}}
    assert memory.by_place(gpu) == {
        "cuda:0": nothing | {"weights": 101, "activations": 2},
        "cpu": nothing | {"weights": 10},
    }


@pytest.mark.parametrize(("published", "weights"), [(0, 10), (7, 10), (8, 11), (20, 23)])
def test_published_copies_come_when_activations_and_copies_are_gone(published, weights):
    parts = {"weights": 10, "optimizer": 1, "copies": 4, "activations": 3, "published": published}
    parts["epoch"] = 2  # less than a step's
    (peak,) = Memory(parts, {"data": 2}).by_place(CPU).values()
    assert peak == {"weights": weights, "optimizer": 5, "activations": 3, "data": 2}


# -------------------------------------------------------------------------------- the estimators
@pytest.fixture(scope="module")
def data():
    return make_extreme_classification(200, 50, random_state=0)


def make(estimator, data, **parameters):
    return estimator(label_texts=data.label_texts, random_state=0, **parameters)


ESTIMATORS = pytest.mark.parametrize("estimator", [ReneeClassifier, DualEncoderXC, UniDEC])


@ESTIMATORS
def test_the_estimate_is_public_and_trains_nothing(estimator, data):
    clf = make(estimator, data)
    before = dict(vars(clf))
    parts = clf.memory_estimate(data.texts, data.Y)["cpu"]
    assert parts.keys() == {"weights", "optimizer", "activations", "data"}
    assert all(isinstance(n, int) and n >= 0 for n in parts.values())
    assert vars(clf) == before


@ESTIMATORS
def test_wider_embeddings_and_larger_batches_need_more(estimator, data):
    def needed(**parameters):
        if estimator is UniDEC:  # the words' weights have no width
            parameters["lexical_learning_rate"] = 0
        clf = make(estimator, data, rerank_weight=0, **parameters)  # it has no width either
        return clf.memory_estimate(data.texts, data.Y)["cpu"]

    narrow, wide = (needed(encoder=BagOfWordsEncoder(dim=dim)) for dim in (64, 256))
    assert wide["weights"] == pytest.approx(4 * narrow["weights"], rel=0.15)
    small, large = (needed(batch_size=n) for n in (16, 64))
    assert large["activations"] > small["activations"]
    assert needed(early_stopping=True)["optimizer"] > needed()["optimizer"]


@ESTIMATORS
def test_the_estimate_for_another_width_is_the_one_that_width_gives(estimator, data):
    clf = make(estimator, data, encoder=BagOfWordsEncoder(dim=96))
    task = clf._checked(data.texts, data.Y, None, None, FitMode())
    setup = clf._setup(task, CPU, [0])
    settings = replace(setup.settings, dim=24, batch_size=10)
    narrowed = training_memory(clf._memory, setup, settings)
    other = make(estimator, data, encoder=BagOfWordsEncoder(dim=24), batch_size=10)
    assert narrowed.by_place(CPU) == other.memory_estimate(data.texts, data.Y)


@ESTIMATORS
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_batch_is_no_larger_than_there_are_texts(estimator, data, method):
    clf = make(estimator, data, batch_size=10**9, epochs=1)
    all_at_once = clf.set_params(batch_size=250).memory_estimate(data.texts, data.Y)
    assert clf.set_params(batch_size=10**9).memory_estimate(data.texts, data.Y) == all_at_once
    getattr(clf, method)(data.texts, data.Y)


@ESTIMATORS
def test_an_encoder_too_wide_for_memory_is_refused_with_its_parameter(estimator, data):
    clf = make(estimator, data, encoder=BagOfWordsEncoder(dim=10**12))
    message = r"does not fit into memory .* Lower dim of BagOfWordsEncoder\(dim=1000000000000\)"
    with pytest.raises(ValueError, match=message):
        clf.fit(data.texts, data.Y)


@pytest.mark.parametrize("memory", [64 << 20, 1 << 30])
def test_a_transformer_embeds_64_texts_on_a_cpu_and_a_quarter_of_a_gpu(
    data, tiny_bert, monkeypatch, memory
):
    clf = make(UniDEC, data, encoder=TransformerEncoder(tiny_bert, max_length=16))
    inputs = clf._checked(data.texts, data.Y, None, None, FitMode())
    setup = clf._setup(inputs, CPU, [0])
    assert setup.settings.encode_batch_size == 64
    gpu = torch.device("cuda")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory)
    )
    lengths = setup.rows.tokens.lengths
    n_texts = texts_at_once(setup.module, lengths, torch.float32, gpu)
    held = setup.module.activation_bytes(lengths, n_texts, setup.module.dim, torch.float32)
    assert 0.9 * memory / 4 < held <= memory / 4
    bag = make(UniDEC, data)
    assert bag._setup(inputs, CPU, [0]).settings.encode_batch_size is None


def test_a_table_lies_on_a_gpu_where_it_takes_no_more_than_a_quarter(data, monkeypatch):
    clf = make(UniDEC, data)
    setup = clf._setup(clf._checked(data.texts, data.Y, None, None, FitMode()), CPU, [0])
    assert classifier_device(setup, 1 << 40) == CPU
    setup = replace(setup, device=torch.device("cuda"))
    rows = 4 * setup.n_labels * setup.module.dim
    for memory, place in ((12 * rows, "cuda"), (12 * rows - 4, "cpu")):
        monkeypatch.setattr(
            torch.cuda,
            "get_device_properties",
            lambda _, memory=memory: SimpleNamespace(total_memory=memory),
        )
        assert classifier_device(setup, rows).type == place
        parts = training_memory(clf._method.memory, setup, setup.settings).by_place(setup.device)
        assert parts[place]["optimizer"] >= 2 * rows
        assert parts["cpu" if place == "cuda" else "cuda"]["optimizer"] == 0


@pytest.mark.parametrize(
    ("parameters", "least"),
    [
        ({"negatives": "mined", "pool_size": 20}, 180 * 50 * 12),
        ({"batches": "clustered"}, 180 * 256 * 4),
    ],
    ids=str,
)
def test_what_is_done_between_epochs_counts(data, monkeypatch, parameters, least):
    monkeypatch.setattr("skxc._methods._unidec_start.device_share", lambda _: 1 << 40)
    clf = make(UniDEC, data, batch_size=1, **{"pool_size": 20} | parameters)
    setup = clf._setup(clf._checked(data.texts, data.Y, None, None, FitMode()), CPU, [0])
    on_gpu = replace(setup, device=torch.device("cuda"))
    assert clf._method.memory(on_gpu, setup.settings).host["epoch"] >= least
    clf.set_params(negatives="random", batches="random")
    setup = replace(on_gpu, settings=replace(setup.settings, negatives="random", batches="random"))
    assert clf._method.memory(setup, setup.settings).host["epoch"] == 0


def test_a_pretrained_encoder_counts_its_activations_and_moments(data, tiny_bert):
    clf = make(ReneeClassifier, data, encoder=TransformerEncoder(tiny_bert, max_length=6))
    parts = clf.memory_estimate(data.texts, data.Y)["cpu"]
    n_bytes = sum(w.nbytes for w in clf.fit(data.texts, data.Y).encoder_.weights_.values())
    assert parts["optimizer"] == pytest.approx(3 * n_bytes, rel=0.01)
    longer = clf.set_params(encoder__max_length=12).memory_estimate(data.texts, data.Y)["cpu"]
    assert longer["activations"] > 1.5 * parts["activations"]


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [
        (ReneeClassifier, {"augment": False, "label_chunk_size": 4096}),
        (ReneeClassifier, {"augment": False, "label_chunk_size": 4096, "momentum": 0.9}),
        (ReneeClassifier, {"augment": False, "early_stopping": True, "epochs": 2}),
        (DualEncoderXC, {}),
        (DualEncoderXC, {"early_stopping": True, "epochs": 2}),
        # what it weighs its words and views by is the host's
        (UniDEC, {"lexical_learning_rate": 0, "dual_score_weight": 0.5}),
    ],
    ids=str,
)
def test_a_gpu_would_hold_what_was_estimated(estimator, parameters, monkeypatch):
    """A GPU's sizes on a CPU, every tensor counted."""
    data = make_extreme_classification(2_000, 20_000, random_state=0)
    monkeypatch.setitem(_ranker._SIZES, "cpu", _ranker._SIZES["cuda"])
    monkeypatch.setattr("skxc._functional._top_k._is_on_host", lambda _: False)
    monkeypatch.setattr("skxc._search._ranker.has_int8_products", lambda: False)
    monkeypatch.setattr("skxc._methods._unidec_start.device_share", lambda _: 1 << 40)
    clf = make(estimator, data, **{"epochs": 1} | parameters)
    setup = clf._setup(clf._checked(data.texts, data.Y, None, None, FitMode()), CPU, [0])
    on_gpu = replace(setup, device=torch.device("cuda"))
    memory = training_memory(clf._memory, on_gpu, setup.settings)
    needed = memory.by_place(on_gpu.device)["cuda"]
    del setup, on_gpu
    allocations, begin = Allocations(), clf._method.begin

    def counted_begin(setup):
        allocations.peak = 0  # the encoder's weights were read on the host
        return begin(setup)

    monkeypatch.setattr(clf._method, "begin", counted_begin)
    with allocations:
        clf.fit(data.texts, data.Y)
    assert sum(needed.values()) == pytest.approx(allocations.peak, rel=0.2)


@ESTIMATORS
@pytest.mark.parametrize("stage", ["_train", "_publish"])
def test_an_unforeseen_lack_of_memory_is_the_same_sentence(estimator, data, monkeypatch, stage):
    def out_of_memory(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    clf = make(estimator, data, batch_size=32)
    monkeypatch.setattr(FitMixin, stage, out_of_memory)
    with pytest.raises(ValueError, match="Training needs more memory than cpu has free") as raised:
        clf.fit(data.texts, data.Y)
    assert "(CUDA out of memory. Tried to allocate 2 GiB.). Pass batch_size=16 or" in str(
        raised.value
    )
    assert "encoder=BagOfWordsEncoder(dim=128)" in str(raised.value)
    assert not hasattr(clf, "classes_")


@ESTIMATORS
def test_a_lack_of_memory_for_the_optimizers_state_is_the_same_sentence(
    estimator, data, monkeypatch
):
    def out_of_memory(*args):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    clf = make(estimator, data, warm_start=True).fit(data.texts, data.Y)
    monkeypatch.setattr(_optimizer_state, "_restore_", out_of_memory)
    with pytest.raises(ValueError, match="Training needs more memory than cpu has free"):
        clf.fit(data.texts, data.Y)


@ESTIMATORS
def test_an_encoder_that_does_not_fit_is_told_in_words(estimator, data, monkeypatch):
    def out_of_memory(self, device):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    clf = make(estimator, data)
    monkeypatch.setattr(torch.nn.Module, "to", out_of_memory)
    with pytest.raises(ValueError, match=r"The encoder needs \d+ KiB, but cpu has .* for it. Pass"):
        clf.fit(data.texts, data.Y)
    assert not hasattr(clf, "classes_")


@ESTIMATORS
@pytest.mark.parametrize("stage", ["_embed_batch", "table", "module"])
def test_prediction_tells_a_lack_of_memory_in_words(estimator, data, monkeypatch, stage):
    def out_of_memory(*args):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore.")

    clf = make(estimator, data).fit(data.texts, data.Y)
    dense = make(estimator, data).fit(data.texts, data.Y.toarray())
    calls = [clf.predict_top_k, clf.predict, dense.predict_proba]
    if stage == "module":
        clf._ranker = dense._ranker = None
        monkeypatch.setattr(torch.nn.Module, "to", out_of_memory)
    elif stage == "table":
        monkeypatch.setattr(Ranker, stage, property(out_of_memory))
    else:
        monkeypatch.setattr(Ranker, stage, out_of_memory)
    if stage != "table":  # these only embed
        calls += [clf.transform, *([clf.transform_labels] if estimator is DualEncoderXC else [])]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"Prediction needs more memory .* Tried to .* 2 GiB.\)"
        ):
            call(data.texts[:3])
    monkeypatch.undo()
    assert clf.predict(data.texts).shape == data.Y.shape


@ESTIMATORS
def test_an_error_names_a_value_that_then_fits(estimator, data, monkeypatch):
    clf = make(estimator, data)
    parts = clf.memory_estimate(data.texts, data.Y)["cpu"]
    monkeypatch.setattr(
        "skxc._training._memory.free_bytes", lambda device: sum(parts.values()) * 2 // 3
    )
    monkeypatch.setattr("skxc._estimator._setup.held_bytes", lambda setup: {})
    with pytest.raises(ValueError, match="which would fit") as raised:
        clf.fit(data.texts, data.Y)
    dim = int(re.search(r"dim=(\d+)\)", str(raised.value))[1])
    with pytest.raises(ValueError, match="Training needs about"):
        clf.set_params(encoder=BagOfWordsEncoder(dim=dim + 1)).fit(data.texts, data.Y)
    clf.set_params(encoder=BagOfWordsEncoder(dim=dim)).fit(data.texts, data.Y)
    assert np.isfinite(clf.label_embeddings_).all()
