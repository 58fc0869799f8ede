"""What each image carries, as images/Dockerfile says: folders of code and extras of packages."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from tests.conftest import REPOSITORY

DOCKERFILE = (REPOSITORY / "images" / "Dockerfile").read_text()
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def folders(image: str) -> set[str]:
    """The code of an image: what its stage copies, and fleet."""
    stage = re.search(rf"^FROM code AS {image}-code\n(.*?)^RUN", DOCKERFILE, re.S | re.M)
    assert stage
    return {"fleet", *re.findall(r"^COPY (\w+) \w+$", stage[1], re.M)}


def test_the_embedded_database_is_in_no_image_of_a_pod_that_trades_decides_or_delivers() -> None:
    assert [extra for extra, packages in EXTRAS.items() if any("pgserver" in package for package in packages)] == [
        "cli"
    ]
    images = dict(re.findall(r"(\w+)=([\w,]+)", re.search(r"provide packages (.*)", DOCKERFILE)[1]))  # type: ignore[index]
    for image in ("controller", "botrunner", "worker"):
        assert folders(image) == {"fleet", image}
        assert images[image] == image, "its own extra alone"
    assert not list((REPOSITORY / "fleet").rglob("*embedded*"))


def test_the_tools_have_what_the_command_line_imports_without_a_strategy() -> None:
    """`botfleet notify preview` and `notify key` word and sign as the worker does."""
    assert folders("tools") == {"fleet", "cli", "worker", "sandbox_exchange"}
    code = "import sys, cli.notify; print([name for name in ('aiohttp', 'aiosmtplib') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", "it words and signs; it sends nothing"
