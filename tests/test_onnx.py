"""Exported models answer as the fitted ones: onnxruntime against skxc."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import skxc
from skxc.datasets import load_library_subjects
from skxc.encoders import BagOfWordsEncoder, Encoder, JoinedEncoder, TransformerEncoder

EXAMPLES = Path(__file__).parents[1] / "examples" / "onnx"
ESTIMATORS = (skxc.ReneeClassifier, skxc.DualEncoderXC, skxc.UniDEC)
TEXTS = ["red guitar", "a blue piano", "steel knife and fork", "large wireless keyboard"] * 15
TEXTS = [f"{text} {'abcdefghij'[i % 10]}" for i, text in enumerate(TEXTS)]
NAMES = ["guitar", "piano", "knife", "keyboard", "novel"]
Y = sp.csr_matrix(np.eye(5, dtype=np.float32)[np.arange(60) % 4])
OTHERS = ["", "zzz qqq", "red", "red red  red guitar " * 20]
MULTILINGUAL = [
    "", "c++ and C# in F#, a+b", "Straße ΣΊΣΥΦΟΣ İstanbul ﬁne Ｆｕｌｌ ２",
    "soft\xadhyphen, zero\u200bwidth",
    "東京タワーの歴史 ﾃﾚﾋﾞ", "中文，简体字 2024年", "ภาษาไทยเขียนติดกัน", "ព្រះរាជាណាចក្រកម្ពុជា",
    "မြန်မာဘာသာစကား", "ພາສາລາວ", "한국어 문장", "עִבְרִית", "العربيّة ٣", "हिन्दी में क्षत्रिय", "е\u0301 й",
    "x² ½ ①", "emoji 👩‍👩‍👧 flag 🇫🇮", "_a_ __init__", "naïve naive\u0308 ﷺ",
]  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Any:
    """400 texts of the packaged set: most of its 1,500 labels have few of them, or none."""
    data = load_library_subjects()
    data.texts, data.Y = data.texts[:400], data.Y[:400]
    return data


def padded(ids: np.ndarray, offsets: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    lengths = np.diff(offsets)
    mask = np.arange(lengths.max(initial=1)) < lengths[:, None]
    arrays = [np.zeros(mask.shape, dtype) for dtype in (np.int64, values.dtype)]
    arrays[0][mask], arrays[1][mask] = ids, values
    return arrays


def inputs(clf: Any, texts: list[str]) -> dict[str, np.ndarray]:
    """What the graph reads."""
    tokens, found = clf.encoder_.tokenize(texts), {}
    others = tokens.others if tokens.weights is not None else tokens
    if tokens.weights is not None:
        arrays = padded(tokens.ids, tokens.offsets, tokens.weights)
        found |= dict(zip(("word_ids", "word_weights"), arrays, strict=True))
    if others is not None:
        arrays = padded(others.ids, others.offsets, np.ones(len(others.ids), np.int64))
        found |= dict(zip(("input_ids", "attention_mask"), arrays, strict=True))
    return found


def exported(clf: Any, folder: Path, k: int | None = None) -> Callable[[list[str]], list]:
    """From texts to labels, scores and probabilities, by onnxruntime."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    clf.export_onnx(folder, k=k)
    onnx.checker.check_model(folder / "model.onnx", full_check=True)
    session = runtime.InferenceSession(folder / "model.onnx")
    return lambda texts: session.run(["labels", "scores", "proba"], inputs(clf, texts))


def assert_same(found: list[np.ndarray], clf: Any, texts: list[str], k: int) -> None:
    """The same labels, but for those whose scores are equal up to rounding, to 1e-4."""
    labels, scores, proba = found
    expected, expected_scores = clf.predict_top_k(texts, k)
    assert labels.shape == expected.shape == (len(texts), min(k, clf.n_labels_))
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-4)
    for row, other, values in zip(labels, expected, expected_scores, strict=True):
        gaps = -np.diff(values, prepend=np.inf, append=-np.inf)
        is_clear = np.minimum(gaps[:-1], gaps[1:]) > 1e-5
        np.testing.assert_array_equal(row[is_clear], other[is_clear])
    every = clf.predict_top_k_proba(texts, k)[1]
    np.testing.assert_allclose(proba, every, rtol=1e-3, atol=1e-4)
    assert (labels.dtype, scores.dtype, proba.dtype) == (np.int64, np.float32, np.float32)


# ------------------------------------------------------------------------------------ bag of words
@pytest.mark.parametrize("rerank_weight", [0, 0.7])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_bag_with_words_and_second_stage_answers_alike(
    estimator: type, rerank_weight: float, library: Any, tmp_path: Path
) -> None:
    clf = estimator(
        BagOfWordsEncoder(dim=16),
        label_texts=library.label_texts,
        rerank_weight=rerank_weight,
        epochs=1,
        random_state=0,
    ).fit(library.texts, library.Y)
    texts = [*library.test_texts[:40], *OTHERS]
    for k in (3, 150, 2000):  # fewer than the second stage reads, more, and more than there are
        run = exported(clf, tmp_path / str(k), k)
        assert_same(run(texts), clf, texts, k)
        for text in (texts[0], *OTHERS):
            assert_same(run([text]), clf, [text], k)


@pytest.mark.parametrize(
    "parameters",
    [
        {"projection_dim": 8},
        {"lexical_learning_rate": 0.0},
        {"encoder": BagOfWordsEncoder(dim=8, ngram_range=(1, 2))},
    ],
)
def test_unidec_with_heads_without_words_and_with_n_grams(parameters: dict, tmp_path: Path) -> None:
    clf = skxc.UniDEC(**{"label_texts": NAMES, "epochs": 2, "random_state": 0} | parameters)
    clf.fit(TEXTS, Y)
    run = exported(clf, tmp_path, 5)
    assert_same(run(TEXTS[:9] + OTHERS), clf, TEXTS[:9] + OTHERS, 5)
    assert [found.shape for found in run([])] == [(0, 5)] * 3


@pytest.mark.parametrize("rerank_weight", [0, 0.7])
def test_classes_have_probabilities_that_sum_to_1(
    library: Any, tmp_path: Path, rerank_weight: float
) -> None:
    first = np.asarray(library.Y.argmax(axis=1)).ravel() % 150  # more than are ranked anew
    clf = skxc.ReneeClassifier(epochs=1, rerank_weight=rerank_weight, random_state=0)
    clf.fit(library.texts, first)
    assert clf.n_labels_ > 100
    run, texts = exported(clf, tmp_path, 1000), [*library.test_texts[:20], *OTHERS]
    assert_same(run(texts), clf, texts, 1000)
    np.testing.assert_allclose(run(texts)[2].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("intercept", [-60.0, -20.0, 12.0])
def test_classes_are_as_probable_where_no_class_or_each_fits(
    intercept: float, tmp_path: Path
) -> None:
    clf = skxc.ReneeClassifier(random_state=0).fit(TEXTS, np.arange(60) % 4)
    clf._sigmoid = (1.0, intercept)
    run = exported(clf, tmp_path, 4)
    expected = clf.predict_top_k_proba(OTHERS)[1]
    np.testing.assert_allclose(run(OTHERS)[2], expected, rtol=1e-4)


def test_unseen_labels_rank_last_and_added_ones_are_there(tmp_path: Path) -> None:
    clf = skxc.UniDEC(label_texts=NAMES, random_state=0).fit(TEXTS, Y)
    with pytest.warns(UserWarning, match="1 of 2 label texts hold no word"):
        clf.add_labels(["red knife", "..."])
    run = exported(clf, tmp_path, 7)
    assert_same(run(["red knife", *OTHERS]), clf, ["red knife", *OTHERS], 7)
    labels, scores, _ = run(["red knife"])
    assert (labels[0, 0], labels[0, -1], scores[0, -1]) == (5, 6, -1e4)
    names = json.loads((tmp_path / "labels.json").read_bytes())
    assert names == clf.label_names_.tolist() == [*NAMES, "red knife", "..."]


def test_no_words_at_all_is_an_input_too(tmp_path: Path) -> None:
    clf = skxc.UniDEC(label_texts=NAMES, random_state=0).fit(TEXTS, Y)
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    exported(clf, tmp_path)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    empty = {"word_ids": np.zeros((2, 0), np.int64), "word_weights": np.zeros((2, 0), np.float32)}
    np.testing.assert_array_equal(session.run(None, empty)[0], clf.predict_top_k(["", ""])[0])


# ----------------------------------------------------------------------------------- transformers
@pytest.mark.parametrize(
    ("estimator", "make"),
    [
        (skxc.DualEncoderXC, lambda model: TransformerEncoder(model, max_length=16)),
        (
            skxc.ReneeClassifier,
            lambda model: TransformerEncoder(
                model,
                max_length=16,
                trainable=False,
                pooling="last",
                projection_dim=8,
                prompt="query: ",
            ),
        ),
        (
            skxc.UniDEC,
            lambda model: JoinedEncoder(
                TransformerEncoder(model, max_length=16, trainable=False),
                words=BagOfWordsEncoder(dim=6),
            ),
        ),
    ],
)
def test_transformers_trained_frozen_and_joined_answer_alike(
    estimator: type, make: Callable[[str], Encoder], tiny_bert: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    clf = estimator(
        make(tiny_bert), label_texts=NAMES, rerank_weight=0.7, epochs=1, batch_size=16,
        random_state=0,
    ).fit(TEXTS, Y)  # fmt: skip
    run, texts = exported(clf, tmp_path / "onnx", 5), TEXTS[:7] + OTHERS
    assert_same(run(texts), clf, texts, 5)
    for text in OTHERS:
        assert_same(run([text]), clf, [text], 5)
    sys.path.insert(0, str(EXAMPLES))
    try:
        names = runpy.run_path(str(EXAMPLES / "predict.py"))
    finally:
        sys.path.remove(str(EXAMPLES))
    predict = names["make_predictor"](tmp_path / "onnx")
    assert predict([]) == []
    answers = predict(texts)
    assert [answer["labels"] for answer in answers] == clf.predict_labels(texts, 5)


# ---------------------------------------------------------------------------- the readers of words
def test_the_reader_in_python_gives_the_encoders_ids_and_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    expected = multilingual(tmp_path)
    read = runpy.run_path(str(EXAMPLES / "words.py"))["make_reader"](tmp_path / "words.json")
    none = read([])
    assert [none[name].shape for name in ("word_ids", "word_weights")] == [(0, 1)] * 2
    found = read([*MULTILINGUAL, "unknown word c++"])
    assert_words(found["word_ids"], found["word_weights"], expected)


def test_the_reader_in_javascript_gives_the_encoders_ids_and_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    expected = multilingual(tmp_path)
    (tmp_path / "texts.json").write_text(json.dumps([*MULTILINGUAL, "unknown word c++"]))
    code = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ makeReader }} from {json.dumps((EXAMPLES / "words.mjs").as_uri())};
        const parsed = (name) => JSON.parse(readFileSync(name, "utf8"));
        const read = makeReader(parsed("words.json"));
        const {{ ids, weights, shape }} = read(parsed("texts.json"));
        const told = [Array.from(ids, Number), Array.from(weights), shape, read([]).shape];
        console.log(JSON.stringify(told));
    """
    command = ["node", "--input-type=module", "--eval", code]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    ids, weights, shape, shape_of_none = json.loads(output)
    assert shape_of_none == [0, 1]
    assert_words(np.reshape(ids, shape), np.reshape(weights, shape), expected)


def multilingual(folder: Path) -> sp.csr_array:
    """An export that knows the words of many scripts, and what its encoder reads."""
    labels = [["a", "b"][i % 2 :] for i in range(len(MULTILINGUAL))]
    clf = skxc.ReneeClassifier(
        BagOfWordsEncoder(dim=4, ngram_range=(1, 2)), epochs=1, rerank_weight=0
    ).fit(MULTILINGUAL, labels)
    clf.export_onnx(folder)
    tokens = clf.encoder_.tokenize([*MULTILINGUAL, "unknown word c++"])
    assert tokens.lengths[1:].min() > 0
    return tokens.as_csr(clf.encoder_.n_words)


def assert_words(ids: np.ndarray, weights: np.ndarray, expected: sp.csr_array) -> None:
    rows = np.repeat(np.arange(len(ids)), ids.shape[1])
    found = sp.csr_array((weights.ravel(), (rows, ids.ravel())), expected.shape)
    found.eliminate_zeros()
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-6)


@pytest.mark.parametrize("rule", [{"token_pattern": r"\w\w+"}, {"is_nfc": False}])
def test_the_reader_refuses_another_rule(rule: dict, tmp_path: Path) -> None:
    known = {"words": ["a"], "idf": [1.0], "ngram_range": [1, 1]}
    told = known | {"token_pattern": None, "is_nfc": True} | rule
    (tmp_path / "words.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="cuts words by another rule"):
        runpy.run_path(str(EXAMPLES / "words.py"))["make_reader"](tmp_path / "words.json")


# ------------------------------------------------------------------------------------- the folder
@pytest.fixture
def clf() -> skxc.UniDEC:
    pytest.importorskip("onnx", reason="onnx is not installed")
    return skxc.UniDEC(label_texts=NAMES, epochs=1, random_state=0, rerank_weight=0).fit(TEXTS, Y)


def exported_k(folder: Path) -> int:
    import onnx

    [_, k] = onnx.load(folder / "model.onnx").graph.output[0].type.tensor_type.shape.dim
    return int(k.dim_value)


def test_an_export_is_replaced_and_anything_else_refused(
    clf: skxc.UniDEC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    for k in (3, 2):
        clf.export_onnx(folder, k=k)
        monkeypatch.chdir(folder)  # which then stays itself
        found = sorted(path.name for path in folder.iterdir())
        assert found == ["labels.json", "model.onnx", "words.json"]
    assert exported_k(folder) == 2
    for name in ("thesis.tex", "tokenizer.json"):  # the second: of transformers alone
        (folder / name).touch()
        with pytest.raises(FileExistsError, match=f"holds {name}, which is no part of its ONNX ex"):
            clf.export_onnx(folder)
        with pytest.raises(FileExistsError, match="is a file"):
            clf.export_onnx(folder / name)
        (folder / name).unlink()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("name", ["labels.json", "tokenizer.json", "model.onnx", "other.onnx"])
def test_files_of_others_under_the_names_of_an_export_stay(
    name: str, clf: skxc.UniDEC, tmp_path: Path
) -> None:
    import onnx

    graph = onnx.helper.make_graph([], "empty", [], [])
    content = onnx.helper.make_model(graph).SerializeToString() if "x" in name else b"[]"
    path = tmp_path / name.replace("other", "model")
    path.write_bytes(content[:-1] if "other" in name else content)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"no intact ONNX export of skxc \(.*model.onnx"):
        clf.export_onnx(tmp_path)
    with pytest.raises(FileExistsError, match="holds no intact model of skxc"):
        clf.save(tmp_path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("is_here", [False, True])
def test_an_export_that_fails_leaves_the_one_before(
    is_here: bool, clf: skxc.UniDEC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "export"
    clf.export_onnx(folder, k=3)
    if is_here:
        monkeypatch.chdir(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*args: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("skxc._onnx._export.write_reading", fail)
    with pytest.raises(OSError, match="the disk is full"):
        clf.export_onnx(folder, k=2)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_large_model_has_its_numbers_beside(
    clf: skxc.UniDEC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skxc._onnx._graph._LARGEST", 100)
    run = exported(clf, tmp_path, 5)
    assert (tmp_path / "model.onnx.data").stat().st_size > 1000
    assert_same(run(TEXTS[:4]), clf, TEXTS[:4], 5)
    monkeypatch.undo()
    clf.export_onnx(tmp_path)
    assert not (tmp_path / "model.onnx.data").exists()


def test_an_encoder_of_ones_own_is_refused(clf: skxc.UniDEC, tmp_path: Path) -> None:
    class Own(BagOfWordsEncoder):
        pass

    clf.encoder_.__class__ = Own
    with pytest.raises(TypeError, match="and the encoder is a Own"):
        clf.export_onnx(tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_extra_is_named(
    clf: skxc.UniDEC, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "skxc\[onnx\]"'):
        clf.export_onnx(tmp_path)


def test_k_and_fitting_are_checked(clf: skxc.UniDEC, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="k=0"):
        clf.export_onnx(tmp_path, k=0)
    with pytest.raises(ValueError, match="not fitted"):
        skxc.UniDEC().export_onnx(tmp_path)
