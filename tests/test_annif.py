"""Annif itself uses `skxc serve` as its backend `http`.

It is not installed beside skxc: SKXC_ANNIF in the environment is the path of its program.
"""

from __future__ import annotations

import os
import re
import subprocess

import pytest
from serving import serving

import skxc
from skxc._server._model import ModelWatch

ANNIF = os.environ.get("SKXC_ANNIF")
pytestmark = pytest.mark.skipif(
    ANNIF is None, reason="SKXC_ANNIF is not set to the path of the program annif"
)

SUBJECTS = {
    "http://example.org/fruit": "fruit",
    "http://example.org/colour": "red, the colour",
    "http://example.org/vehicle": "ajoneuvo äöå",
}
TEXTS = ["red apples", "green pears", "a fast car", "cars and trucks", "a red car"] * 4
LABELS = [[0, 1], [0], [2], [2], [1, 2]] * 4
PROJECT = """\
[skxc-en]
name=skxc
language=en
vocab=subjects
backend=http
endpoint=http://127.0.0.1:{port}/v1/projects/skxc/suggest
limit=2
"""


@pytest.fixture(scope="module")
def clf():
    uris = [*SUBJECTS]
    labels = [[uris[i] for i in row] for row in LABELS]
    return skxc.UniDEC(epochs=4, random_state=0, label_texts=SUBJECTS).fit(TEXTS, labels)


@pytest.fixture(scope="module")
def annif(clf, tmp_path_factory):
    """What runs a command of Annif's, with the server as its backend."""
    folder = tmp_path_factory.mktemp("annif")
    clf.save(folder / "model")
    (folder / "subjects.tsv").write_text(
        "".join(f"<{uri}>\t{label}\n" for uri, label in SUBJECTS.items()), encoding="utf-8"
    )

    def run(*words, text=""):
        done = subprocess.run(
            [ANNIF, *words], input=text, cwd=folder, capture_output=True, text=True, check=True
        )
        assert "WARNING" not in done.stderr.upper(), done.stderr
        return done.stdout

    with serving(ModelWatch(str(folder / "model"))) as port:
        (folder / "projects.cfg").write_text(PROJECT.format(port=port), encoding="utf-8")
        run("load-vocab", "subjects", "subjects.tsv", "--language", "en")
        yield run


@pytest.mark.parametrize("text", ["a red car", "apples, äöå 🍎 & more=3"])
def test_annif_suggests_what_the_model_predicts(text, annif, clf):
    lines = [line.split("\t") for line in annif("suggest", "skxc-en", text=text).splitlines()]
    labels, proba = (best[0] for best in clf.predict_top_k_proba([text], 2))
    uris = clf.classes_[labels].tolist()
    assert [line[0] for line in lines] == [f"<{uri}>" for uri in uris]
    assert [line[1] for line in lines] == [SUBJECTS[uri] for uri in uris]
    assert [float(line[2]) for line in lines] == pytest.approx(proba, abs=1e-4)


def test_annif_takes_the_project_for_trained(annif):
    told = annif("show-project", "skxc-en")
    assert re.search(r"Trained:\s+True", told), told
