"""Packages of strategies in a folder of their own, offered as if they were installed."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def offer(folder: Path, package: str, module: str, **points: str) -> None:
    """An installed package, as pip would have left it: metadata with entry points, and one module."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[botfleet.{group}]\n{point}\n" for group, point in points.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / f"{package}.py").write_text(module)
