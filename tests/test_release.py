"""The files of a release agree with pyproject.toml, and run nothing that is not pinned."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import skxc

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "guide" / "versions.md").read_text(encoding="utf-8")


def bounds(requirements: list[str]) -> dict[str, str]:
    """The lower bound of each package; there is nothing else."""
    return dict(requirement.split(";")[0].split(">=") for requirement in requirements)


def table(first: str) -> list[list[str]]:
    """The cells of the page's table whose header begins so, below its header."""
    lines = PAGE.split(f"\n| {first}", 1)[1].split("\n\n")[0].split("\n")[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def workflow(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------ versions
def test_the_page_of_versions_has_every_bound():
    assert {row[0]: row[1] for row in table("package")} == bounds(PROJECT["dependencies"])


def test_no_dependency_has_an_upper_bound():
    extras = PROJECT["optional-dependencies"].values()
    for requirement in [*PROJECT["dependencies"], *(name for extra in extras for name in extra)]:
        assert re.fullmatch(r"[\w.-]+(\[[\w,]+\])?>=[\d.]+(;.+)?", requirement.strip()), requirement


def test_the_page_s_versions_beside_annif_are_within_the_bounds():
    for name, least, beside, _ in table("package"):
        assert numbers(beside) >= numbers(least), name


def test_the_pythons_are_the_same_everywhere():
    rows = {re.findall(r"3\.\d+", row[0])[0]: row[1] for row in table("Python") if "3." in row[0]}
    least = PROJECT["requires-python"].removeprefix(">=")
    assert f"Python {least} or later" in PAGE
    assert next(iter(rows)) == least
    ran = [python for python, what in rows.items() if what != "not run"]
    prefix = "Programming Language :: Python :: "
    classified = [name.removeprefix(prefix) for name in PROJECT["classifiers"] if prefix in name]
    assert classified == ["3", *ran]
    tested = workflow("tests.yml")["jobs"]["pythons"]["strategy"]["matrix"]["python"]
    assert [least, *tested] == list(rows)


def test_the_citation_has_the_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == skxc.__version__


# ----------------------------------------------------------------------------------- workflows
def test_every_action_is_pinned_by_a_commit_and_names_its_version():
    pinned: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        # one that begins with a dot is of the same commit
        for line in re.findall(r"uses:(?! \./)(.*)", path.read_text(encoding="utf-8")):
            found = re.fullmatch(r" ([\w./-]+)@([0-9a-f]{40} # v\d+\.\d+\.\d+)", line)
            assert found, f"{path.name}:{line}"
            pinned.setdefault(found[1], set()).add(found[2])
    assert {len(commits) for commits in pinned.values()} == {1}  # everywhere the same


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_and_every_job_ends(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["permissions"] in ({}, {"contents": "read"})
    assert "secrets." not in path.read_text(encoding="utf-8")
    for job in content["jobs"].values():
        if "steps" not in job:  # another workflow, whose own jobs end
            assert job["uses"] == "./.github/workflows/tests.yml"
            assert job["permissions"] == {"contents": "read"}
            continue
        assert job["timeout-minutes"] <= 120
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_one_job_alone_may_publish_and_only_for_a_tag():
    content = workflow("release.yml")
    assert content[True] == {"push": {"tags": ["v*"]}}  # to YAML 1.1, `on` is true
    jobs = content["jobs"]
    assert [name for name, job in jobs.items() if "id-token" in job["permissions"]] == ["publish"]
    publish = jobs["publish"]
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    assert publish["needs"] == "build"
    assert all("run" not in step for step in publish["steps"])  # nothing of ours runs there


def test_a_release_is_built_only_after_all_tests():
    jobs = workflow("release.yml")["jobs"]
    assert jobs["build"]["needs"] == "tests"
    assert jobs["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert "workflow_call" in workflow("tests.yml")[True]


def test_what_tests_need_from_the_environment_is_set_where_they_run():
    steps = [step for job in workflow("tests.yml")["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    for path in (ROOT / "tests").glob("test_*.py"):
        for name in re.findall(r'environ\.get\("(SKXC_\w+)"\)', path.read_text(encoding="utf-8")):
            assert any(f"{name}=" in run and path.name in run for run in commands), path


# ---------------------------------------------------------------------------------- pre-commit
def test_the_hooks_are_pinned_to_a_linter_that_pyproject_allows():
    path = ROOT / ".pre-commit-config.yaml"
    (repo,) = yaml.safe_load(path.read_text(encoding="utf-8"))["repos"]
    assert re.fullmatch("[0-9a-f]{40}", repo["rev"])
    assert [hook["id"] for hook in repo["hooks"]] == ["ruff-check", "ruff-format"]
    (version,) = re.findall(r"# frozen: v([\d.]+)\n", path.read_text(encoding="utf-8"))
    assert numbers(version) >= numbers(bounds(PROJECT["optional-dependencies"]["test"])["ruff"])
