"""Balanced clusters: sizes, determinism, and the naive tree in float64."""

from __future__ import annotations

import math
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skxc._methods._clusters import balanced_clusters


def clusters_of(embeddings, n_per_cluster, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    clusters = balanced_clusters(embeddings, n_per_cluster, rng, **kwargs)
    return [rows.tolist() for rows in clusters]


def points(n, dim=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, dtype=torch.float64, generator=g)


@pytest.mark.parametrize("n_numbers", [1, 40, 333])
def test_embeddings_copied_in_parts_give_the_same_clusters(monkeypatch, n_numbers):
    embeddings = points(97)
    want = clusters_of(embeddings, 6)
    monkeypatch.setattr("skxc._methods._clusters._NUMBERS_AT_ONCE", n_numbers)
    assert clusters_of(embeddings, 6) == want


def mean_cosine(embeddings, clusters):
    """Of the rows with their cluster's centroid."""
    units = torch.nn.functional.normalize(embeddings, dim=1)
    sums = [units[rows].sum(0) for rows in clusters]
    return sum(float(total.norm()) for total in sums) / len(embeddings)


def naive_clusters(embeddings, n_per_cluster, rng, max_iterations):
    """Node by node and row by row."""
    units = [np.array(row) / max(math.hypot(*row), 1e-12) for row in embeddings.tolist()]
    nodes = [rng.permutation(len(units)).tolist()]
    for _ in range(math.floor(math.log2(max(len(units) / n_per_cluster, 1)))):
        sizes = np.array([len(rows) for rows in nodes])
        first, step = rng.integers(sizes), rng.integers(sizes - 1) + 1
        seeds = [
            (rows[-1 - a], rows[-1 - (a + b) % len(rows)])
            for rows, a, b in zip(nodes, first, step, strict=True)
        ]
        nodes = naive_level(units, nodes, seeds, max_iterations, widest=int(sizes.max()))
    return nodes


def naive_level(units, nodes, seeds, max_iterations, widest):
    centroids = [(units[a], units[b]) for a, b in seeds]
    last = -math.inf
    for _ in range(max_iterations):
        halves, score = [], 0.0
        for rows, (c1, c2) in zip(nodes, centroids, strict=True):
            ranked = sorted(rows, key=lambda row: units[row] @ c2 - units[row] @ c1)
            n_left = len(rows) - widest // 2  # the right halves of a level are of one size
            halves += [ranked[:n_left], ranked[n_left:]]
            score += sum(units[row] @ c1 for row in halves[-2])
            score += sum(units[row] @ c2 for row in halves[-1])
        if score / len(units) - last < 1e-4:
            break
        last = score / len(units)
        sums = [sum(units[row] for row in rows) for rows in halves]
        unit_sums = [total / max(np.linalg.norm(total), 1e-12) for total in sums]
        centroids = list(zip(unit_sums[::2], unit_sums[1::2], strict=True))
    return halves


@pytest.mark.parametrize(
    ("n", "n_per_cluster"), [(8, 4), (37, 4), (64, 1), (101, 7), (255, 16), (700, 80)]
)
@pytest.mark.parametrize("max_iterations", [1, 2, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_equal_the_naive_tree(n, n_per_cluster, max_iterations, seed):
    embeddings = points(n, seed=seed)
    got = clusters_of(embeddings, n_per_cluster, seed, max_iterations=max_iterations)
    rng = np.random.default_rng(seed)
    assert got == naive_clusters(embeddings, n_per_cluster, rng, max_iterations)


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 300),
    n_per_cluster=st.integers(1, 320),
    n_kinds=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_every_row_is_in_one_cluster_and_sizes_differ_by_one(n, n_per_cluster, n_kinds, seed):
    rng = np.random.default_rng(seed)
    kinds = points(n_kinds, 3, seed)
    kinds[0] = 0  # duplicates, some of them zero
    clusters = clusters_of(kinds[torch.from_numpy(rng.integers(n_kinds, size=n))], n_per_cluster)
    sizes = [len(rows) for rows in clusters]
    assert sorted(chain.from_iterable(clusters)) == list(range(n))
    assert max(sizes) - min(sizes) <= 1
    assert len(clusters) == 2 ** math.floor(math.log2(max(n / n_per_cluster, 1)))
    if n >= n_per_cluster:
        assert n_per_cluster <= min(sizes) <= max(sizes) <= 2 * n_per_cluster


@pytest.mark.parametrize(("n", "n_per_cluster"), [(1, 1), (1, 4), (3, 4), (7, 4)])
def test_too_few_rows_to_halve_are_one_cluster(n, n_per_cluster):
    assert list(map(sorted, clusters_of(points(n), n_per_cluster))) == [list(range(n))]


@pytest.mark.parametrize("seed", range(5))
def test_groups_that_are_apart_are_found(seed):
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat([0, 1], 50))
    centres = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    noise = 0.1 * torch.from_numpy(rng.standard_normal((100, 3)).astype(np.float32))
    lengths = torch.from_numpy(rng.uniform(0.1, 10, (100, 1)).astype(np.float32))
    clusters = clusters_of(lengths * (centres[group] + noise), 50, seed)
    assert sorted(group[rows].tolist() for rows in clusters) == [[0] * 50, [1] * 50]


def test_only_directions_matter():
    embeddings = points(100)
    lengths = torch.linspace(0.01, 100, 100, dtype=torch.float64)[:, None]
    assert clusters_of(lengths * embeddings, 6) == clusters_of(embeddings, 6)


def test_more_iterations_gather_closer_clusters():
    embeddings = points(600, dim=4)
    cosines = [
        mean_cosine(embeddings, clusters_of(embeddings, 16, max_iterations=n)) for n in (1, 3, 20)
    ]
    assert cosines == sorted(cosines)
    assert cosines[-1] > 0.9


def test_a_seed_gives_the_same_clusters_again_and_another_gives_others():
    embeddings = points(200)
    clusters = clusters_of(embeddings, 10, seed=3)
    assert clusters == clusters_of(embeddings, 10, seed=3)
    assert clusters != clusters_of(embeddings, 10, seed=4)


@pytest.mark.parametrize("seed", range(10))
def test_groups_of_duplicates_are_found_among_zero_vectors(seed):
    embeddings = torch.zeros(60, 2)
    embeddings[0:40:2, 0] = embeddings[1:40:2, 1] = 1
    clusters = clusters_of(embeddings, 30, seed)
    groups = [{row % 2 for row in rows if row < 40} for rows in clusters]
    assert groups in ([{0}, {1}], [{1}, {0}])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_centroids_of_many_rows_in_half_precision_do_not_overflow(dtype):
    angles = torch.rand(150_000, generator=torch.Generator().manual_seed(0)) - 0.5
    embeddings = torch.stack([angles.cos(), angles.sin()], dim=1).to(dtype)
    lower, upper = sorted(clusters_of(embeddings, 75_000), key=lambda rows: angles[rows].mean())
    assert angles[lower].max() < 0.01
    assert angles[upper].min() > -0.01


def test_rows_are_kept_even_where_embeddings_are_nan():
    embeddings = points(37)
    embeddings[::3] = torch.nan
    assert sorted(chain.from_iterable(clusters_of(embeddings, 4))) == list(range(37))


def test_embeddings_are_left_as_they_are():
    embeddings = points(50)
    before = embeddings.clone()
    clusters_of(embeddings, 4)
    assert torch.equal(embeddings, before)
