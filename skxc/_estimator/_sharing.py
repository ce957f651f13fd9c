"""Sharing a fitted estimator: on the Hugging Face hub, or as one ONNX graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from sklearn.utils.validation import check_is_fitted

from skxc._persistence import HubModel, replaced_folder, upload
from skxc._validation import check_integer

from ._card import check_told, model_card
from ._saving import SavingMixin, version


class SharingMixin(SavingMixin):
    """`push_to_hub` and `export_onnx`."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        revision: str | None = None,
        commit_message: str = "Upload a model of skxc",
        licence: str | None = None,
        data: str | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Upload the fitted estimator to the Hugging Face hub, for :func:`skxc.load`.

        It is saved as `save` does it, beside a model card (``README.md``), and uploaded in one
        commit. You must have logged in (``hf auth login``), or set ``HF_TOKEN``.

        Parameters
        ----------
        repo_id : str
            The repository, "owner/name". It is created where there is none; a model of skxc there
            is replaced, its card included, and stays in the repository's history. So is the
            README.md of one that holds nothing else.
        private : bool, default=True
            Whether a repository that is created can be read by its owners alone.
        revision : str, default=None
            Branch to upload to, created where there is none. None: the default branch.
        commit_message : str, default="Upload a model of skxc"
            What the repository's history says.
        licence : str, default=None
            For the card: the licence by the hub's identifier, such as "cc-by-4.0" or "mit".
        data : str, default=None
            For the card: what the training texts are, in Markdown.
        metrics : dict of str to float, default=None
            For the card: such as :func:`skxc.metrics.ranking_metrics` gives on test texts.

        Returns
        -------
        str
            What `skxc.load` finds this very model by: "hf://owner/name@commit".

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        FileExistsError
            If the repository holds anything but a model of skxc. Nothing is changed there.
        OSError
            If the hub cannot be reached, refuses (`PermissionError`), or somebody else changes the
            repository meanwhile.
        TypeError, ValueError
            If an argument is not what it should be, or the model cannot be saved.
        """
        check_is_fitted(self)
        place = HubModel.of(repo_id, revision)
        check_told(licence, data, metrics)
        card = model_card(self, repo_id, licence=licence, data=data, metrics=metrics)
        with TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            self.save(folder)
            (folder / "README.md").write_bytes(card.encode("utf8", "replace"))
            return upload(folder, place, private=private, message=commit_message)

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
            Where to write. An earlier export is replaced once the new one is complete.
        k : int, default=None
            Labels a text; None: the parameter `top_k`. At most n_labels are given.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        FileExistsError
            If `folder` is a file, or holds the working directory or anything but an earlier export.
        OSError
            If a file cannot be written.
        ImportError
            If onnx is not installed; of a transformer, also onnxscript.
        TypeError
            If the encoder is one of your own.
        ValueError
            If torch cannot export the transformer.
        """
        from skxc._onnx._export import EXPORT, model_graph, write_export

        check_is_fitted(self)
        name, k = ("top_k", self.top_k) if k is None else ("k", k)
        check_integer(name, k, 1)
        is_classes = self._target_kind == "classes"
        with replaced_folder(folder, kind=EXPORT) as path:
            graph = model_graph(
                self.encoder_, self._method, vars(self).copy(), int(k), is_classes=is_classes
            )
            metadata = {"skxc_version": version(), "class": type(self).__name__}
            write_export(path, graph, self.encoder_, self.label_names_, metadata)
