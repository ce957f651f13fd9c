"""What `against_peers.py` compares: each method fits raw texts, scores raw texts and saves itself.

A method's libraries are imported when it is made, so that importing is no part of its fit. Nothing
here needs skxc but its own three estimators: PECOS runs in an environment of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

_TEXTS_AT_ONCE = 512


class Rows(NamedTuple):
    """All that a method may learn from."""

    texts: list[str]
    Y: sp.csr_matrix
    exclude: sp.csr_matrix | None
    label_texts: list[str] | None


class Resources(NamedTuple):
    """What a method gets from the run."""

    folder: Path  # for the files of methods that train from or into one
    threads: int
    seed: int


class Method(Protocol):
    """What the measurement calls."""

    package: ClassVar[str]  # what pip installs
    module: ClassVar[str]  # what is imported of it

    def fit(self, rows: Rows) -> None: ...

    def predict(self, texts: list[str], k: int) -> sp.csr_matrix:
        """Scores of the k best labels of each text."""

    def decide(self, texts: list[str]) -> sp.csr_matrix | None:
        """What the library's own `predict` answers, 1 for yes; None where it has none."""

    def save(self, folder: Path) -> None: ...


class Estimator:
    """One of the three, at its defaults."""

    package, module = "skxc", "skxc"

    def __init__(self, resources: Resources, *, name: str) -> None:
        import skxc

        self.clf = getattr(skxc, name)(random_state=resources.seed)

    def fit(self, rows: Rows) -> None:
        self.clf.set_params(label_texts=rows.label_texts)
        self.clf.fit(rows.texts, rows.Y, exclude=rows.exclude)

    def predict(self, texts: list[str], k: int) -> sp.csr_matrix:
        labels, scores = self.clf.predict_top_k(texts, k)
        return _from_top_k(labels, scores, self.clf.n_labels_)

    def decide(self, texts: list[str]) -> sp.csr_matrix:
        return sp.csr_matrix(self.clf.predict(texts))

    def save(self, folder: Path) -> None:
        self.clf.save(folder / "model")


class TfidfPeer(ABC):
    """TF-IDF features, whose making is a part of fit and predict, and a model of them."""

    package: ClassVar[str]
    module: ClassVar[str]

    def __init__(self, resources: Resources, *, min_df: int = 1, ngrams: int = 1) -> None:
        self.resources = resources
        self.vectorizer = TfidfVectorizer(
            sublinear_tf=True, min_df=min_df, ngram_range=(1, ngrams), dtype=np.float32
        )

    def fit(self, rows: Rows) -> None:
        X = self.vectorizer.fit_transform(rows.texts)
        self.n_labels = rows.Y.shape[1]
        self._fit(_sorted_csr(X), _sorted_csr(rows.Y), rows)

    def predict(self, texts: list[str], k: int) -> sp.csr_matrix:
        return self._scores(_sorted_csr(self.vectorizer.transform(texts)), min(k, self.n_labels))

    def decide(self, texts: list[str]) -> sp.csr_matrix | None:
        return None

    def save(self, folder: Path) -> None:
        joblib.dump(self.vectorizer, folder / "vectorizer.joblib")
        self._save(folder)

    @abstractmethod
    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None: ...

    @abstractmethod
    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix: ...

    @abstractmethod
    def _save(self, folder: Path) -> None: ...


class Omikuji(TfidfPeer):
    """omikuji's label trees: Parabel is its default, Bonsai the setting that its README names."""

    package, module = "omikuji", "omikuji"
    SETTINGS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "parabel": {},
        "bonsai": {"cluster_balanced": False, "cluster_k": 100, "max_depth": 3},
    }

    def __init__(
        self,
        resources: Resources,
        *,
        variant: str,
        label_documents: bool = False,  # each label's text is one more training text of that label
        **tfidf: Any,
    ) -> None:
        import omikuji

        super().__init__(resources, **tfidf)
        self.label_documents = label_documents
        self.library = omikuji.Model
        self.hyper_parameters = self.library.default_hyper_param()
        for name, value in self.SETTINGS[variant].items():
            setattr(self.hyper_parameters, name, value)

    def fit(self, rows: Rows) -> None:
        if self.label_documents and rows.label_texts is not None:
            own = sp.identity(rows.Y.shape[1], dtype=np.float32, format="csr")
            texts = [*rows.texts, *rows.label_texts]
            rows = rows._replace(texts=texts, Y=sp.vstack([rows.Y, own], format="csr"))
        super().fit(rows)

    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None:
        path = self.resources.folder / "train.txt"  # training reads files only
        with open(path, "w", encoding="ascii") as file:
            file.writelines(_repository_lines(X, Y))
        self.model = self.library.train_on_data(
            str(path), self.hyper_parameters, n_threads=self.resources.threads
        )
        self.model.init_prediction_thread_pool(self.resources.threads)

    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        # its one way to predict from Python takes a text at a time
        return _from_pairs((self.model.predict(row, top_k=k) for row in _pairs(X)), self.n_labels)

    def _save(self, folder: Path) -> None:
        self.model.save(str(folder / "model"))


class NapkinXC(TfidfPeer):
    """napkinXC's probabilistic label tree, or binary relevance."""

    package, module = "napkinxc", "napkinxc"

    def __init__(
        self, resources: Resources, *, variant: str, liblinear_c: float = 10, **tfidf: Any
    ) -> None:
        import napkinxc.models

        super().__init__(resources, **tfidf)
        self.folder = resources.folder / "napkinxc"
        self.model = getattr(napkinxc.models, variant)(
            str(self.folder),
            liblinear_c=liblinear_c,
            threads=resources.threads,
            seed=resources.seed,
        )

    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None:
        labels = [Y.indices[slice(*ends)].tolist() for ends in _row_ends(Y)]
        self.model.fit(X, labels)  # into the folder
        self.model.load()

    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        return _from_pairs(self.model.predict_proba(X, top_k=k), self.n_labels)

    def _save(self, folder: Path) -> None:
        self.folder.rename(folder / "model")


class OneVsRest(TfidfPeer):
    """scikit-learn's one-vs-rest linear support vector machines."""

    package, module = "scikit-learn", "sklearn"

    def __init__(self, resources: Resources, *, C: float = 1.0, **tfidf: Any) -> None:
        super().__init__(resources, **tfidf)
        svm = LinearSVC(C=C, random_state=resources.seed)
        self.model = OneVsRestClassifier(svm, n_jobs=resources.threads)

    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None:
        # a label without positives would get the constant score 0, above most others' scores
        self.seen = np.flatnonzero(np.bincount(Y.indices, minlength=Y.shape[1]))
        with joblib.parallel_config("threading"):  # threads: their CPU seconds are the process's
            self.model.fit(X, (Y[:, self.seen] > 0).astype(int))

    def decide(self, texts: list[str]) -> sp.csr_matrix:
        blocks = self._margins(_sorted_csr(self.vectorizer.transform(texts)))
        decided = sp.vstack([sp.csr_matrix(block > 0) for block in blocks], format="csr")
        shape = (len(texts), self.n_labels)
        return sp.csr_matrix((decided.data, self.seen[decided.indices], decided.indptr), shape)

    def _margins(self, X: sp.csr_matrix) -> Iterable[np.ndarray]:
        starts = range(0, X.shape[0], _TEXTS_AT_ONCE)
        return (self.model.decision_function(X[i : i + _TEXTS_AT_ONCE]) for i in starts)

    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        k = min(k, len(self.seen))
        labels, scores = [], []
        for block in self._margins(X):
            best = np.argpartition(block, -k, axis=1)[:, -k:]
            labels.append(self.seen[best])
            scores.append(np.take_along_axis(block, best, axis=1))
        return _from_top_k(np.concatenate(labels), np.concatenate(scores), self.n_labels)

    def _save(self, folder: Path) -> None:
        joblib.dump((self.model, self.seen), folder / "model.joblib")


class NearestNeighbours(TfidfPeer):
    """Votes of the most similar training texts, and the label texts' own similarities."""

    package, module = "scikit-learn", "sklearn"

    def __init__(
        self,
        resources: Resources,
        *,
        neighbours: int,
        power: float = 1.0,
        label_weight: float = 0.0,
        **tfidf: Any,
    ) -> None:
        super().__init__(resources, **tfidf)
        self.neighbours, self.power, self.label_weight = neighbours, power, label_weight

    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None:
        self.texts_by_word, self.Y, self.labels_by_word = X.T.tocsr(), Y, None
        if self.label_weight:
            self.labels_by_word = self.vectorizer.transform(rows.label_texts).T.tocsr()

    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        blocks = (X[i : i + _TEXTS_AT_ONCE] for i in range(0, X.shape[0], _TEXTS_AT_ONCE))
        return sp.vstack([self._block_scores(block, k) for block in blocks], format="csr")

    def _block_scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        votes = _best_of_rows(X @ self.texts_by_word, self.neighbours)  # cosines: rows have norm 1
        votes.data **= self.power
        scores = votes @ self.Y
        if self.labels_by_word is not None:
            scores = scores + self.label_weight * (X @ self.labels_by_word)
        return _best_of_rows(scores, k)

    def _save(self, folder: Path) -> None:
        joblib.dump((self.texts_by_word, self.Y, self.labels_by_word), folder / "model.joblib")


class XRLinear(TfidfPeer):
    """PECOS XR-Linear with its defaults: PIFA label features, hierarchical k-means, TFN."""

    package, module = "libpecos", "pecos"

    def __init__(self, resources: Resources, **tfidf: Any) -> None:
        from pecos.xmc import Indexer, LabelEmbeddingFactory
        from pecos.xmc.xlinear.model import XLinearModel

        super().__init__(resources, **tfidf)
        self.library = (Indexer, LabelEmbeddingFactory, XLinearModel)

    def _fit(self, X: sp.csr_matrix, Y: sp.csr_matrix, rows: Rows) -> None:
        indexer, label_features, model = self.library
        features = label_features.create(Y, X, method="pifa")
        threads, seed = self.resources.threads, self.resources.seed
        clusters = indexer.gen(
            features, indexer_type="hierarchicalkmeans", seed=seed, threads=threads
        )
        trained = model.train(X, Y, C=clusters, threads=threads)
        self.folder = self.resources.folder / "pecos"
        trained.save(str(self.folder))
        self.model = model.load(str(self.folder), is_predict_only=True)  # its fast way to predict

    def _scores(self, X: sp.csr_matrix, k: int) -> sp.csr_matrix:
        return self.model.predict(X, only_topk=k, threads=self.resources.threads)

    def _save(self, folder: Path) -> None:
        self.folder.rename(folder / "model")


def _sorted_csr(matrix: Any) -> sp.csr_matrix:
    """The classic CSR class, which some peers insist on, with sorted indices."""
    matrix = sp.csr_matrix(matrix)
    matrix.sort_indices()
    return matrix


def _row_ends(matrix: sp.csr_matrix) -> Iterable[tuple[int, int]]:
    """Where each row's entries begin and end."""
    return zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), strict=True)


def _pairs(X: sp.csr_matrix) -> Iterable[list[tuple[int, float]]]:
    """(column, value) of each row's entries."""
    columns, values = X.indices.tolist(), X.data.tolist()
    return (list(zip(columns[a:b], values[a:b], strict=True)) for a, b in _row_ends(X))


def _repository_lines(X: sp.csr_matrix, Y: sp.csr_matrix) -> Iterable[str]:
    """The file format of the Extreme Classification Repository, without rows that say nothing."""
    kept = np.flatnonzero((np.diff(X.indptr) > 0) & (np.diff(Y.indptr) > 0))
    X, Y = X[kept], Y[kept]
    yield f"{X.shape[0]} {X.shape[1]} {Y.shape[1]}\n"
    for row, (begin, end) in zip(_pairs(X), _row_ends(Y), strict=True):
        labels = ",".join(map(str, Y.indices[begin:end].tolist()))
        yield labels + " " + " ".join([f"{j}:{value:.6g}" for j, value in row]) + "\n"


def _from_pairs(rows: Iterable[list[tuple[int, float]]], n_labels: int) -> sp.csr_matrix:
    """Lists of (label, score) as a matrix."""
    rows = list(rows)
    ends = np.cumsum([0, *map(len, rows)])
    flat = [pair for row in rows for pair in row]
    labels = np.array([label for label, _ in flat], dtype=np.int64)
    scores = np.array([score for _, score in flat], dtype=np.float32)
    return sp.csr_matrix((scores, labels, ends), shape=(len(rows), n_labels))


def _from_top_k(labels: np.ndarray, scores: np.ndarray, n_labels: int) -> sp.csr_matrix:
    """(n_samples, k) labels, -1 for none, and their scores as a matrix."""
    is_label = labels >= 0
    ends = np.concatenate([[0], np.cumsum(is_label.sum(1))])
    shape = (len(labels), n_labels)
    return sp.csr_matrix((scores[is_label], labels[is_label], ends), shape=shape)


def _best_of_rows(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row."""
    matrix = sp.csr_matrix(matrix)
    kept = []
    for begin, end in _row_ends(matrix):
        if end - begin <= k:
            kept.append(np.arange(begin, end))
        else:
            kept.append(begin + np.argpartition(matrix.data[begin:end], -k)[-k:])
    ends = np.cumsum([0, *map(len, kept)])
    chosen = np.concatenate(kept)
    return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], ends), shape=matrix.shape)
