"""A grid search on Dask's workers.

    python examples/cluster/search_dask.py [SEARCH.joblib]

Prints the scores. If a file is named, the fitted search is saved there.
"""

import sys
import tempfile

import dask
import joblib
import numpy as np
from dask.distributed import Client
from sklearn.model_selection import GridSearchCV, KFold

from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects

GRID = {"dropout": [0.3, 0.6], "learning_rate": [0.02, 0.05]}
CV = KFold(2, shuffle=True, random_state=0)


def main() -> None:
    data = load_library_subjects()
    # an array: Dask copies it to each worker once, and a list for every fit
    texts, Y = np.array(data.texts[:2000], dtype=object), data.Y[:2000]
    search = GridSearchCV(ReneeClassifier(epochs=2, random_state=0), GRID, cv=CV)

    with tempfile.TemporaryDirectory() as folder:
        dask.config.set(temporary_directory=folder)
        # on a cluster: client = Client("tcp://the-scheduler:8786")
        client = Client(n_workers=2, threads_per_worker=1)
        with client, joblib.parallel_config("dask"):
            print(f"Workers: {joblib.effective_n_jobs(None)}")
            search.fit(texts, Y)

    print(f"P@1 {search.cv_results_['mean_test_score']}, best: {search.best_params_}")
    if sys.argv[1:]:
        joblib.dump(search, sys.argv[1])


if __name__ == "__main__":  # local workers import this file
    main()
