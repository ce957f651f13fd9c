"""Sharing a fitted estimator: as one ONNX graph."""

from __future__ import annotations

import os

from sklearn.utils.validation import check_is_fitted

from skxc._validation import check_integer

from ._saving import SavingMixin, version


class SharingMixin(SavingMixin):
    """`export_onnx`."""

    def export_onnx(self, folder: str | os.PathLike[str], *, k: int | None = None) -> None:
        """Write the model as one ONNX graph, for other languages and without skxc.

        The graph goes from a text's words or tokens to its best labels, with everything that
        prediction has: heads, weights of words, second stage and calibration. The search is exact.
        The folder then holds

        - ``model.onnx``, and ``model.onnx.data`` where the numbers take more than 1.9 GB;
        - ``labels.json``, the names of the labels;
        - of an encoder with words ``words.json``: the words, their weights and how texts are cut;
        - of one with a transformer ``tokenizer.json`` and ``tokens.json``: the prompt, the longest
          text in tokens and the token that pads.

        Inputs are ``word_ids`` (int64) and ``word_weights`` (float32, 0 where a text has no more
        words), or ``input_ids`` and ``attention_mask`` (int64), or all four; each (n_texts,
        longest). Outputs are ``labels`` (int64), ``scores`` and ``proba`` (float32), each
        (n_texts, k), as `predict_top_k` and `predict_top_k_proba` give them.

        It needs the package onnx (``pip install "skxc[onnx]"``).

        Parameters
        ----------
        folder : str or path-like
            Where to write. An earlier export is replaced.
        k : int, default=None
            Labels a text; None: the parameter `top_k`. At most n_labels are given.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        FileExistsError
            If `folder` is a file, or holds anything but an earlier export.
        ImportError
            If onnx is not installed; of a transformer, also onnxscript.
        TypeError
            If the encoder is one of your own.
        ValueError
            If torch cannot export the transformer.
        """
        from skxc._onnx._export import model_graph, new_folder, write_export

        check_is_fitted(self)
        name, k = ("top_k", self.top_k) if k is None else ("k", k)
        check_integer(name, k, 1)
        target = new_folder(folder)
        with self._predicting() as ranker:
            graph = model_graph(
                self.encoder_,
                ranker,
                self._method,
                vars(self),
                int(k),
                is_classes=self._target_kind == "classes",
            )
        metadata = {"skxc_version": version(), "class": type(self).__name__}
        write_export(target, graph, self.encoder_, self.label_names_, metadata)
