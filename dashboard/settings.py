"""What the pages are started with: the configuration, and where accounts are kept."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from monitor.config import Config, load, state_dir

# `wakeful dashboard` hands its options to the pages, which streamlit runs as scripts, by these.
CONFIG_VARIABLE: Final = "WAKEFUL_DASHBOARD_CONFIG"
ACCESS_VARIABLE: Final = "WAKEFUL_DASHBOARD_ACCESS"
DEMO_VARIABLE: Final = "WAKEFUL_DASHBOARD_DEMO"


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    """What the pages need to know.

    Attributes:
        config: of the whole house; `store.url`, `mqtt`, `clips` and `trace` are used.
        access_file: accounts and roles; None is no file, so nobody has to sign in.
        demo: the store holds a simulated fleet.
    """

    config: Config
    access_file: Path | None
    demo: bool

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
    )
