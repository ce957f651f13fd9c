"""From a saved folder back to the estimator."""

from __future__ import annotations

import os
from typing import Any

import skxc
from skxc._persistence import ModelFolder, local_folder, unreplaced
from skxc._validation import resolve_device


def load(folder: str | os.PathLike[str], device: Any = None, mmap: bool = True) -> Any:
    """Load an estimator that :meth:`~skxc.ReneeClassifier.save` or `push_to_hub` wrote.

    What the folder holds is checked first: the sizes of all files, the SHA-256 of those that are no
    tensors, names, dtypes and shapes of the tensors, whether their numbers are finite (but for the
    optimiser's), and whether all parts fit together. Nothing in the folder is executed. If another
    process replaces the folder meanwhile, the model is the old one or the new one, whole.

    Parameters
    ----------
    folder : str or path-like
        What `save` wrote; or "hf://owner/name", a repository on the Hugging Face hub, with
        "@revision" at its end for a branch, a tag or a commit. Then config.json is downloaded, and
        the files that it lists, into the hub's cache; without a connection, what is there counts.
        Such files go through the same checks.
    device : str or torch.device, default=None
        Where the model is to run, in place of its parameter `device`. None: the parameter stays;
        where it names a device that this machine lacks, prediction says so.
    mmap : bool, default=True
        Leave the arrays on the disk, as read-only maps that are read as they are needed and shared
        between processes; training copies them first. False: read them into memory.

    Returns
    -------
    DualEncoderXC, ReneeClassifier or UniDEC
        The estimator as it was: it predicts and trains on as the saved one would.

    Raises
    ------
    FileNotFoundError
        If the folder or one of its files is missing, or the repository or its revision; complete
        models that a killed save left beside are named.
    OSError
        If the hub cannot be reached, or refuses (`PermissionError`).
    ValueError
        If a file is damaged or was changed, the folder was written by a newer skxc or by something
        else, or `device` is not available.

    Examples
    --------
    >>> import tempfile
    >>> import skxc
    >>> clf = skxc.ReneeClassifier(epochs=1).fit(["red apple", "green pear"], ["red", "green"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     clf.save(f"{folder}/model")
    ...     skxc.load(f"{folder}/model", mmap=False).classes_.tolist()
    ['green', 'red']
    """
    if device is not None:
        resolve_device(device)
    path = os.fspath(folder)
    if not isinstance(path, str):
        raise TypeError(f"folder is {path!r}. Pass a str or a path.")
    try:
        files = unreplaced(local_folder(path), ModelFolder)
        name = files.config["class"]
        known = sorted(skxc._ESTIMATORS.values())
        if name not in known:
            raise ValueError(f"{path} holds a {name!r}. Known are {', '.join(known)}.")
        model: Any = getattr(skxc, name)._from_folder(files, is_mapped=mmap)
    except (AttributeError, LookupError, TypeError, OverflowError, RuntimeError) as error:
        raise ValueError(
            f"{path}: config.json does not describe a model that this skxc knows ({error!r})."
        ) from error
    return model if device is None else model.set_params(device=device)
