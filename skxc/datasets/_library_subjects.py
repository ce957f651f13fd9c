"""The real data set inside the wheel."""

from __future__ import annotations

from importlib.resources import as_file, files

from sklearn.utils import Bunch

from ._readers import load_xc_folder


def load_library_subjects() -> Bunch:
    """Load titles of publications and their subjects, from Finna [1]_ (real data, in the wheel).

    A small real problem with an extreme one's traits: short texts, several labels a text, labels
    with few training texts each (4 to 49), and a text for every label. Librarians chose the
    subjects from the General Finnish Ontology YSO [2]_, and no record names all that would fit:
    a good share of what a metric counts as wrong is a subject that was not written down.

    =================  ==================
    Training texts     9,683
    Test texts         2,270
    Labels             1,500
    Labels a text      3.2 on average
    Words a text       10 on average
    =================  ==================

    Returns
    -------
    :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the attributes:

        texts : list of str, length 9683
            Titles of the training records.
        Y : csr_matrix of shape (9683, 1500), float32
            1 where a record has a subject.
        exclude : None
            There is no pair to ignore.
        test_texts : list of str, length 2270
            Titles of the test records; none of them is a training text.
        Y_test : csr_matrix of shape (2270, 1500), float32
            1 where a record has a subject.
        test_exclude : None
            There is no pair to ignore.
        label_texts : list of str, length 1500
            Names of the subjects.
        DESCR : str
            Source, licences, attribution, and how the set was cut.

    Notes
    -----
    The records are in the public domain (CC0 1.0). The names of the subjects are the National
    Library of Finland's, under CC BY 4.0: keep the attribution when you pass them on.

    References
    ----------
    .. [1] National Library of Finland. Annif-corpora: yso-finna-en.
           https://github.com/NatLibFi/Annif-corpora
    .. [2] National Library of Finland. YSO: General Finnish Ontology.
           https://finto.fi/yso/en/

    Examples
    --------
    >>> from skxc.datasets import load_library_subjects
    >>> data = load_library_subjects()
    >>> data.Y.shape, data.Y_test.shape
    ((9683, 1500), (2270, 1500))
    """
    with as_file(files(__package__) / "data") as folder:
        return load_xc_folder(folder, layout="json")
