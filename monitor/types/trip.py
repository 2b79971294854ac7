"""Who drives and where: what the vehicle was told, never what a camera saw."""

from dataclasses import dataclass

from monitor.types.checks import finite


@dataclass(frozen=True, slots=True)
class Position:
    """A place on earth (WGS 84), rounded by the vehicle.

    Attributes:
        latitude_deg: -90..90, north is positive.
        longitude_deg: -180..180, east is positive.
    """

    latitude_deg: float
    longitude_deg: float

    def __post_init__(self) -> None:
        finite(self, "latitude_deg", "longitude_deg")
        if not (abs(self.latitude_deg) <= 90 and abs(self.longitude_deg) <= 180):
            raise ValueError(f"{self.latitude_deg}, {self.longitude_deg} is no place on earth")


@dataclass(frozen=True, slots=True)
class Trip:
    """What is known of a drive besides the driver's face.

    Attributes:
        driver: a pseudonym or the id of a shift, as the operator's roster has it; None if unknown.
        position: None if unknown.
    """

    driver: str | None = None
    position: Position | None = None


NO_TRIP = Trip()
