"""`wakeful dashboard --demo`: a fleet with a past that goes on living."""

from pathlib import Path

from sqlalchemy import select

from dashboard import demo, demo_drive
from dashboard.queries.database import Database
from monitor.store.schema import samples
from monitor.store.schema import vehicles as vehicle_table
from tests.support.dashboards import (
    NOW,
    event,
    sample,
    told,
)


def test_the_demo_has_a_past_and_goes_on_living(tmp_path: Path) -> None:
    from monitor.store.database import open_engine, upgrade

    url = f"sqlite:///{tmp_path}/demo.db"
    upgrade(url)
    now = float(int(NOW))
    fleet = demo.Fleet(open_engine(url, immediate=True), vehicles=3, days=2, now=now)
    for number in (1, 2, 3):
        fleet.write_past(number)
    store = Database(url)
    last_sample = select(samples.c.at).order_by(samples.c.at.desc()).limit(1)
    assert store.rows(last_sample)[0]["at"] <= now
    for second in range(1, 31):
        fleet.tick(now + second)
    assert now + 25 <= store.rows(last_sample)[0]["at"] <= now + 30
    states = store.rows(select(vehicle_table.c.state_at, vehicle_table.c.availability))
    assert max(row["state_at"] for row in states) == now + 30
    store.close()
    fleet.close()


def test_the_real_drives_alerts_join_the_simulated_fleet(tmp_path: Path) -> None:
    from monitor.store.database import open_engine, upgrade

    drive, url = tmp_path / "drive.db", f"sqlite:///{tmp_path}/demo.db"
    told(
        f"sqlite:///{drive}",
        events=[event(1, vehicle=demo_drive.VEHICLE, clip="e0001.mp4")],
        samples=[sample(NOW, vehicle=demo_drive.VEHICLE, degraded=["glare"])],
    )
    upgrade(url)
    engine = open_engine(url, immediate=True)
    assert demo_drive.join(drive, engine) == 1
    engine.dispose()
    store = Database(url)
    (row,) = store.rows(select(vehicle_table))
    assert (row["vehicle"], row["availability"]) == (demo_drive.VEHICLE, "stopped")
    assert store.rows(select(samples))[0]["degraded"] == ["glare"]
    store.close()
