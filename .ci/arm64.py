"""Does a vehicle resolve on Linux arm64? The registry is asked; nothing is installed.

    python .ci/arm64.py            resolve
    python .ci/arm64.py FOLDER     install into FOLDER, as on the board itself

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


def main(folder: str | None = None) -> int:
    """Resolve, and install into the folder if there is one; pip's own status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    with tempfile.TemporaryDirectory() as scratch:
        limits = Path(scratch) / "constraints.txt"
        limits.write_text("\n".join(for_target(constraints)))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", folder or scratch]
        command = [
            *pip, "--only-binary", ":all:", "--python-version", "3.11", "--ignore-installed",
            "--constraint", str(limits),
        ]  # fmt: skip
        command += [word for platform in PLATFORMS for word in ("--platform", platform)]
        if folder is None:
            command += ["--dry-run", "--report", str(Path(scratch) / "report.json")]
        status = subprocess.run(  # noqa: S603 - our own words and those of pyproject.toml
            [*command, *for_target(project["dependencies"])], check=False
        ).returncode
        if status or folder is None:
            return status
        # Pure Python, the same everywhere: what has no wheel, and this project itself.
        return subprocess.run(  # noqa: S603 - as above
            [*pip, "--no-deps", *sorted(SOURCE_ONLY), str(ROOT)], check=False
        ).returncode


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
