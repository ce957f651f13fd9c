"""What is said of memory before training."""

from __future__ import annotations

import logging
import math
import re

import pytest
import torch

from skxc._mixins._memory import _left_in_container, check_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(("limit", "want"), [("1000", 400), ("max", math.inf), ("?", math.inf)])
def test_a_containers_limit_counts(tmp_path, limit, want):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("600\n")
    assert _left_in_container(tmp_path) == want


def test_without_a_container_there_is_no_limit(tmp_path):
    assert _left_in_container(tmp_path) == math.inf


def test_the_estimate_is_logged_by_part(caplog):
    with caplog.at_level(logging.INFO, logger="skxc"):
        check_memory({"classifier": 3 << 20, "encoder": 1 << 10}, CPU, "")
    assert "training needs about 3 MiB on cpu (classifier 3 MiB, encoder 1 KiB)" in caplog.text


def test_what_does_not_fit_is_refused_with_the_remedy():
    message = "Training needs about 1048576.0 GiB (classifier 1048576.0 GiB), but cpu has"
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        check_memory({"classifier": 1 << 50}, CPU, "Lower dim.")
    assert str(raised.value).endswith("free. Lower dim.")
