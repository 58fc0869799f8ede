"""What CONTRIBUTING.md, pre-commit and CI say is what the scripts do."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.conftest import REPOSITORY

SCRIPT = (REPOSITORY / "hack" / "test.sh").read_text()
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]*)[`: ]")
FOLDERS = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {".botfleet", "site"}
PAGES = [
    *(page for page in REPOSITORY.glob("*.md") if page.name != "CHANGELOG.md"),
    *REPOSITORY.glob(".github/**/*.md"),
    # not those that tell of their time: decisions, and the last run of the mutants
    *(p for p in REPOSITORY.glob("docs/**/*.md") if p.parent.name != "decisions" and p.name != "mutants.md"),
]


def linters() -> list[str]:
    found = re.search(r"^LINTERS=\(([^)]+)\)", SCRIPT, re.MULTILINE)
    assert found
    return found[1].split()


def load(path: str) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text())


def test_pre_commit_has_the_linters_of_make_lint_and_runs_them_the_same_way() -> None:
    [local] = load(".pre-commit-config.yaml")["repos"]
    assert {hook["id"]: hook["entry"] for hook in local["hooks"]} == {
        name: f"hack/test.sh lint {name}" for name in linters()
    }
    assert all(f"lint_{name}() {{" in SCRIPT for name in linters())


def test_the_workflow_runs_what_a_developer_runs() -> None:
    steps = [step.get("run") for job in load(".github/workflows/ci.yml")["jobs"].values() for step in job["steps"]]
    ours = [step for step in steps if step]
    assert ours == ["make lint", "make test-fast", ".ci/run"]
    assert (REPOSITORY / ".ci" / "run").read_text().rstrip().endswith("make test")


def test_actions_are_pinned_to_a_major_version() -> None:
    text = (REPOSITORY / ".github" / "workflows" / "ci.yml").read_text()
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action) for action in used)


def test_every_path_that_readers_are_sent_to_exists() -> None:
    named = {(page.name, path) for page in PAGES for path in PATH.findall(page.read_text())}
    ours = {(page, path) for page, path in named if path.split("/")[0] in FOLDERS}
    assert len(ours) > 100
    assert [f"{page}: {path}" for page, path in sorted(ours) if not (REPOSITORY / path).exists()] == []
