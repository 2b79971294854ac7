"""Does a vehicle resolve on Linux arm64? The registry is asked; nothing is installed.

pip can resolve for another platform, but reads environment markers with its own machine's values,
so the markers of this project's requirements and constraints are read here, for arm64.
"""

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TARGET = {"sys_platform": "linux", "platform_machine": "aarch64", "extra": ""}
# glibc 2.28 is Debian 10's and JetPack 5's lower bound; pip takes every older tag as well.
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(17, 29)] + ["manylinux2014_aarch64"]
# Pure Python without a wheel, which pip does not resolve for another platform.
SOURCE_ONLY = {"sdnotify"}


def for_target(lines: Iterable[str]) -> Iterator[str]:
    """The requirements that hold on the target, without their markers."""
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        wanted = Requirement(text)
        if wanted.name not in SOURCE_ONLY and (not wanted.marker or wanted.marker.evaluate(TARGET)):
            wanted.marker = None
            yield str(wanted)


def main() -> int:
    """Resolve; pip's own status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        limits = Path(folder) / "constraints.txt"
        limits.write_text("\n".join(for_target(constraints)))
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
            "--only-binary", ":all:", "--python-version", "3.11", "--target", folder,
            "--constraint", str(limits), "--report", str(Path(folder) / "report.json"),
        ]  # fmt: skip
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        return subprocess.run(  # noqa: S603 - our own words and those of pyproject.toml
            [*command, *for_target(project["dependencies"])], check=False
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
