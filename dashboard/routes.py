"""The pages there are, and where they are found. The server and the script share it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

LOGO: Final = Path(__file__).parent / "static" / "wakeful.svg"


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A page: its script in `views/`, its title and icon, and its path in the address."""

    script: str
    title: str
    icon: str
    path: str


PAGES: Final = (
    PageRoute("live", "Live", ":material/sensors:", "live"),
    PageRoute("review", "Review", ":material/rule:", "review"),
    PageRoute("events", "Events", ":material/notifications:", "events"),
    PageRoute("fleet", "Fleet", ":material/local_shipping:", "fleet"),
    PageRoute("places", "Places", ":material/map:", "places"),
    PageRoute("coaching", "Coaching", ":material/forum:", "coaching"),
    PageRoute("compare", "Models", ":material/balance:", "models"),
    PageRoute("replay", "Replay", ":material/replay:", "replay"),
    PageRoute("health", "Health", ":material/monitor_heart:", "health"),
    PageRoute("terms", "Terms", ":material/menu_book:", "terms"),
)
