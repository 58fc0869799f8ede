"""The programs without commands of their own say what they are and what configures them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def started(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BOTFLEET_")}
    command = [sys.executable, "-m", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program", ["controller", "worker", "botrunner"])
def test_help_names_where_settings_are(program: str) -> None:
    done = started(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "BOTFLEET_*" in done.stdout


@pytest.mark.parametrize("program", ["controller", "worker"])
def test_without_settings_the_first_one_is_named(program: str) -> None:
    done = started(program)
    assert done.returncode == 2
    assert done.stderr == (
        f"{program}: BOTFLEET_DATABASE_URL: is not set; docs/reference/settings.md lists every setting\n"
    )


@pytest.mark.parametrize("program", ["controller", "worker"])
def test_words_that_nobody_reads_are_refused(program: str) -> None:
    assert started(program, "--database-url=x").returncode == 2
