"""What the pages are started with: the configuration, and where accounts are kept."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from monitor.config import Config, load, state_dir
from monitor.errors import ConfigError

# `wakeful dashboard` hands its options to the pages, which streamlit runs as scripts, by these.
CONFIG_VARIABLE: Final = "WAKEFUL_DASHBOARD_CONFIG"
ACCESS_VARIABLE: Final = "WAKEFUL_DASHBOARD_ACCESS"
DEMO_VARIABLE: Final = "WAKEFUL_DASHBOARD_DEMO"
TILES_VARIABLE: Final = "WAKEFUL_DASHBOARD_TILES"
CREDIT_VARIABLE: Final = "WAKEFUL_DASHBOARD_TILES_CREDIT"


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """What the pages need to know.

    Attributes:
        config: of the whole house; `store.url`, `mqtt`, `clips` and `trace` are used.
        access_file: accounts and roles; None is no file, so nobody has to sign in.
        demo: the store holds a simulated fleet.
        tiles: address of a tile server's pictures with {z}, {x} and {y}; None draws lines alone.
        tiles_credit: whose map that is.
    """

    config: Config
    access_file: Path | None
    demo: bool
    tiles: str | None = None
    tiles_credit: str = ""

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the event log."""
        return self.config.store.resolved_url()

    @property
    def clips(self) -> Path:
        """Folder in which clips lie."""
        return self.config.clips.folder or state_dir() / "clips"

    @property
    def traces(self) -> Path:
        """Folder in which traces lie."""
        return self.config.trace.folder or state_dir() / "traces"


def default_access_file() -> Path:
    """Where accounts are kept unless another file is named."""
    return state_dir() / "access.yaml"


def _tiles(template: str | None) -> str | None:
    if not template:
        return None
    try:
        asked = template.format(z=1, x=2, y=3)
    except (KeyError, IndexError, ValueError):
        asked = template
    distinct = all(f"{{{name}}}" in template for name in "zxy")
    if asked == template or not distinct or not template.startswith(("http://", "https://")):
        raise ConfigError(
            f"--tiles {template}: must be an http(s) address with {{z}}, {{x}} and {{y}}, such as "
            "https://tiles.example.org/{z}/{x}/{y}.png"
        )
    return template


@lru_cache(maxsize=1)
def settings() -> DashboardSettings:
    """What this process was started with.

    Raises:
        ConfigError: the configuration is wrong; one line a fault.
    """
    file = os.environ.get(CONFIG_VARIABLE)
    access = Path(os.environ.get(ACCESS_VARIABLE) or default_access_file())
    named = ACCESS_VARIABLE in os.environ
    return DashboardSettings(
        config=load(Path(file) if file else None),
        access_file=access if named or access.is_file() else None,
        demo=DEMO_VARIABLE in os.environ,
        tiles=_tiles(os.environ.get(TILES_VARIABLE)),
        tiles_credit=os.environ.get(CREDIT_VARIABLE, ""),
    )
