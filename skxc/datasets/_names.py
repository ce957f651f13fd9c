"""Which files of a folder are read: the names that the field's public code gives them."""

from __future__ import annotations

import re
import warnings
from fnmatch import fnmatch
from pathlib import Path

from skxc._validation import callers_stack_level, check_choice

from ._files import have_same_content

# Where a file may lie, and what each may be called: "Y.txt" is also raw/Y.txt and Y.txt.gz.
_FOLDERS = ("", "raw/", "raw_data/", "raw_text/")
_TEXTS = {
    "training texts": (
        "trn_X.txt",  # Renee, DEXML
        "X.trn.txt",  # PECOS
        "trn.raw.txt",  # NGAME
        "train.raw.txt",  # OAK
        "train_raw_texts.txt",  # X-Transformer
    ),
    "test texts": (
        "tst_X.txt",
        "X.tst.txt",
        "tst.raw.txt",
        "test.raw.txt",
        "test_raw_texts.txt",
    ),
}
_LABEL_TEXTS = (
    "Y.txt",  # Renee, DEXML
    "output-items.txt",  # PECOS
    "lbl.raw.txt",  # NGAME
    "label.raw.txt",  # OAK
    "label_map.txt",  # X-Transformer
    "lbl_X.txt",  # ELIAS
)
_FILTERS = {
    "training filter": ("filter_labels_train.txt", "trn_filter_labels.txt"),
    # the last is what the READMEs of NGAME, DEXA and others ask for
    "test filter": ("filter_labels_test.txt", "tst_filter_labels.txt", "filter_labels_text.txt"),
}
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "npz": {
        **_TEXTS,
        "training labels": ("Y.trn.npz", "trn_X_Y.npz"),
        "test labels": ("Y.tst.npz", "tst_X_Y.npz"),
        "label texts": _LABEL_TEXTS,
        **_FILTERS,
    },
    "pairs": {
        **_TEXTS,
        "training labels": ("trn_X_Y.txt", "trn_lbl_mat.txt"),
        "test labels": ("tst_X_Y.txt", "tst_lbl_mat.txt"),
        "label texts": _LABEL_TEXTS,
        **_FILTERS,
    },
    "json": {
        "training rows": ("trn.json", "trn.raw.json"),
        "test rows": ("tst.json", "tst.raw.json"),
        # a file of texts only where there is none of JSON; Yf.txt is that of AmazonCat-13K
        "label rows": ("lbl.json", "lbl.raw.json", *_LABEL_TEXTS, "Yf.txt"),
        **_FILTERS,
    },
}
# What a folder must hold to have a layout, under the names that the layout's authors use.
_REQUIRED = {
    "npz": {
        "training texts": "raw/trn_X.txt",
        "training labels": "Y.trn.npz",
        "test texts": "raw/tst_X.txt",
        "test labels": "Y.tst.npz",
    },
    "pairs": {
        "training texts": "trn_X.txt",
        "training labels": "trn_X_Y.txt",
        "test texts": "tst_X.txt",
        "test labels": "tst_X_Y.txt",
    },
    "json": {
        "training rows": "trn.json.gz",
        "test rows": "tst.json.gz",
        "label rows": "lbl.json.gz",
    },
}

# Names, in lower case, of a filter, of labels, or of a split.
_LOOKS_READ = re.compile(
    r"filter|reciproc|exclu|label|lbl|target|trn|tst|(?<![a-z])(y|split)(?![a-z])"
    r"|(?<![a-z])[xy]?(train|test|val|valid|dev|eval|held_?out|hold_?out)"
    r"(ing|idation|elopment|set|data|texts?|docs?|s|x|y)?(?![a-z])"
)
# Features, token ids and the like, which the field's code writes beside the files that are read.
_UNUSED = (
    *("*_x_xf.*", "x.*.npz", "xf.txt", "yf.txt", "y_yf.txt", "train.txt", "test.txt"),
    *("???_ft_mat.txt", "*_raw_ids.txt", "unseen_labels.txt", "y.trn.txt", "y.tst.txt"),
    *("*_input_ids.*", "*_attention_mask.*", "*_embs.npy", "*.dat", "*.dat.meta"),
    *("*.log", "*.md", "*.py", "*.sh"),
)


def files_of(folder: Path) -> dict[str, Path]:
    """Files by their path below `folder`, such as "raw/Y.txt"."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    folders = [(p.name + "/", p) for p in sorted(folder.iterdir()) if p.is_dir()]
    folders = [("", folder)] + [(name, p) for name, p in folders if name.lower() in _FOLDERS]
    return {
        name + path.name: path
        for name, p in folders
        for path in sorted(p.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def find_layout(folder: Path, layout: str) -> str:
    """Name of the layout to read from `folder`; an error if there is none, or more than one."""
    check_choice("layout", layout, ("auto", *_REQUIRED))
    files = files_of(folder)
    candidates = list(_REQUIRED) if layout == "auto" else [layout]
    missing = {name: _missing(files, name) for name in candidates}
    complete = [name for name in candidates if not missing[name]]
    if len(complete) == 1:
        return complete[0]
    if complete:
        found = "; ".join(
            f"{name!r}: {', '.join(_candidates(files, name, role)[0] for role in _REQUIRED[name])}"
            for name in complete
        )
        raise ValueError(
            f"{folder} holds the layouts {complete}: pass one of them as layout. Found {found}."
        )
    fewest = min(len(missing[name]) for name in candidates)
    nearest = [name for name in candidates if len(missing[name]) == fewest < len(_REQUIRED[name])]
    if layout != "auto" or len(nearest) == 1:
        [name] = candidates if layout != "auto" else nearest
        others = [other for role in missing[name] for other in _NAMES[name][role]]
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(_REQUIRED[name][role] for role in missing[name])} of the "
            f"layout {name!r}, which needs {', '.join(_REQUIRED[name].values())}. Of the missing "
            f"files, these names are read: {', '.join(others)}."
        )
    looked_for = "; ".join(
        f"{name!r}: {', '.join(_REQUIRED[name].values())}" for name in candidates
    )
    raise FileNotFoundError(f"{folder} has no complete layout. Looked for {looked_for}.")


def find_files(folder: Path, layout: str) -> dict[str, Path]:
    """The file to read for each role of `layout` that `folder` has a file for."""
    files, chosen = files_of(folder), dict[str, Path]()
    for role in _NAMES[layout]:
        for name in _candidates(files, layout, role):
            first = chosen.setdefault(role, files[name])
            if not have_same_content(first, files[name]):
                raise ValueError(
                    f"{first} and {files[name]} are both the {role} of {folder}, and differ. "
                    "Keep the one to read."
                )
    return chosen


def warn_of_unread_files(folder: Path, layout: str, *, is_given: bool) -> None:
    """Name what looks like a filter, labels or a split, but is not read."""
    files = files_of(folder)
    layouts = [layout]
    if is_given:  # the folder's other layouts are known to the user
        layouts += [name for name in _NAMES if not _missing(files, name)]
    read = {n for name in layouts for role in _NAMES[name] for n in _candidates(files, name, role)}
    if layout == "json":  # the same labels again, in the repository's bag-of-words files
        read |= {f"{p}_X_Y.txt" for p in ("trn", "tst") if f"{p}_X_Xf.txt" in files}
    unread = [name for name in files if name not in read and _looks_read(name)]
    if unread:
        accepted = "; ".join(f"{role}: {', '.join(n)}" for role, n in _NAMES[layout].items())
        warnings.warn(
            f"{folder} holds files that look like a filter, labels or a split, but are not read: "
            f"{', '.join(unread)}. Rename what is to be read, and move the rest elsewhere. The "
            f"names that are read from the layout {layout!r} are {accepted}.",
            stacklevel=callers_stack_level(),
        )


def _candidates(files: dict[str, Path], layout: str, role: str) -> list[str]:
    """Files that have a name of `role`; for labels, texts only where there is no JSON."""
    names = [
        folder + name + end
        for name in _NAMES[layout][role]
        for folder in _FOLDERS
        for end in (("",) if name.endswith(".npz") else ("", ".gz"))
    ]
    found = [name for name in names if name in files]
    return [name for name in found if (".json" in name) == (".json" in found[0])]


def _missing(files: dict[str, Path], layout: str) -> list[str]:
    """Roles that `layout` needs and `files` lack."""
    return [role for role in _REQUIRED[layout] if not _candidates(files, layout, role)]


def _looks_read(name: str) -> bool:
    """Whether a file could be taken for one that is read."""
    name = name.rpartition("/")[2].lower()
    is_unused = any(fnmatch(name.removesuffix(".gz"), pattern) for pattern in _UNUSED)
    return _LOOKS_READ.search(name) is not None and not is_unused
