"""UniDEC's scores taken apart: what labels' texts say, what their rows say, and words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from skxc._search._explaining import Part
from skxc._search._head import LinearHead
from skxc._search._ranker import Ranker

from ._lexical_weights import as_csr, with_values
from ._method import CLASSIFIER, LABEL_TEXT, WORD_WEIGHTS
from ._unidec_score import ScoreParts
from ._unidec_start import fitted_weights


def unidec_parts(
    fitted: Mapping[str, Any],
    ranker: Ranker,
    labels: NDArray[np.int64],  # (n,)
) -> dict[str, Part]:
    """The table's rows less those of the label texts are the classifier's; words likewise."""
    rows, words = ranker.table.rows[torch.from_numpy(labels)], ranker.table.words
    of_texts = _rows_of_texts(fitted, ranker, labels).to(rows.device)
    if words is None:
        return {LABEL_TEXT: Part(of_texts), CLASSIFIER: Part(rows - of_texts)}
    pattern = as_csr(fitted["lexical_weights_"], "of_label_texts")[labels]
    said = with_values(pattern, pattern.data * np.float32(fitted_weights(fitted).label_words))
    return {
        LABEL_TEXT: Part(of_texts, said),
        CLASSIFIER: Part(rows - of_texts),
        WORD_WEIGHTS: Part(None, (words[labels] - said).tocsr()),
    }


def _rows_of_texts(
    fitted: Mapping[str, Any], ranker: Ranker, labels: NDArray[np.int64]
) -> torch.Tensor:  # (n, width)
    """What the label texts are in the table's rows."""
    tokens = fitted["encoder_"].tokenize_labels(fitted["label_texts_"][labels].tolist())
    embeddings = torch.from_numpy(ranker.embed_labels(tokens))
    embeddings[torch.from_numpy(tokens.lengths == 0)] = 0
    head = ranker.head
    is_shared = isinstance(head, LinearHead)
    if not is_shared:  # both spaces side by side
        embeddings = embeddings[:, : embeddings.shape[1] // 2]
    views = head.views if isinstance(head, LinearHead) else ()
    weights = fitted_weights(fitted)
    parts = ScoreParts(
        embeddings,
        torch.zeros_like(embeddings),
        torch.from_numpy(fitted["is_seen_"][labels]),
        is_shared,
        None,
        1.0,
        views[0] if len(views) > 1 else None,
    )
    return parts.rows(weights.dual, weights.vectors_dual)
