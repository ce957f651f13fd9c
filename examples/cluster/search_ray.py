"""A grid search on Ray's workers.

    python examples/cluster/search_ray.py [SEARCH.joblib]

Prints the scores. If a file is named, the fitted search is saved there.
"""

import sys
import tempfile

import joblib
import ray
from ray.util.joblib import register_ray
from sklearn.model_selection import GridSearchCV, KFold

from skxc import ReneeClassifier
from skxc.datasets import load_library_subjects

GRID = {"dropout": [0.3, 0.6], "learning_rate": [0.02, 0.05]}
CV = KFold(2, shuffle=True, random_state=0)


def main() -> None:
    data = load_library_subjects()
    texts, Y = data.texts[:2000], data.Y[:2000]
    search = GridSearchCV(ReneeClassifier(epochs=2, random_state=0), GRID, cv=CV)

    register_ray()
    # n_jobs: without it, all fits run in this process; num_cpus: a worker's cores and threads
    workers = joblib.parallel_config("ray", n_jobs=-1, ray_remote_args={"num_cpus": 1})
    with tempfile.TemporaryDirectory() as folder:
        # on a cluster: cluster = ray.init("auto")
        cluster = ray.init(num_cpus=2, include_dashboard=False, _temp_dir=folder)
        with cluster, workers:
            print(f"Workers: {joblib.effective_n_jobs(None)}")
            search.fit(texts, Y)

    print(f"P@1 {search.cv_results_['mean_test_score']}, best: {search.best_params_}")
    if sys.argv[1:]:
        joblib.dump(search, sys.argv[1])


if __name__ == "__main__":
    main()
