"""Where a simulated vehicle stands at an instant: its live state and its process's numbers."""

import numpy as np

from monitor.fleet.simulator.driver_profile import HOUR_S, Drive
from monitor.fleet.simulator.sampling import CALIBRATION_S, Sampling
from monitor.fleet.simulator.vehicle import CAMERA, Life
from monitor.protocol import messages
from monitor.protocol.messages import Message, Topics
from monitor.protocol.schemas import Loop, Stats
from monitor.store.schema import samples
from monitor.types import (
    Calibration,
    Cause,
    DriverState,
    Eyes,
    HeadPose,
    Level,
)

_COLUMNS = list(samples.columns.keys())


def state_at(life: Life, drive: Drive, at: float) -> DriverState:
    """What is true of the driver at `at` (epoch seconds, within the drive)."""
    row = next(iter(Sampling(life).at(drive, np.array([at]))))
    sample = dict(zip(_COLUMNS, row, strict=True))
    open_now = [
        e.event
        for e in life.by_drive[drive.id]
        if e.event.started_at <= at and (at < e.event.at or e.going_on)
    ]
    degraded = [event.cause for event in open_now if event.cause]
    worst = max(open_now, key=lambda event: event.level, default=None)
    pose = sample["yaw_deg"], sample["pitch_deg"], sample["roll_deg"]
    eyes = Eyes(sample["eyes"])
    return DriverState(
        timestamp_s=at - drive.started_at,
        captured_at=at,
        level=worst.level if worst else Level.NONE,
        kind=worst.kind if worst else None,
        eyes=eyes,
        openness=sample["openness"],
        closure_s=sample["closure_s"] or 0.0,
        perclos=sample["perclos"],
        coverage=0.0 if eyes is Eyes.UNKNOWN else 0.96,
        fatigue=sample["fatigue"],
        eyes_on_road=None if pose[0] is None else abs(pose[0]) < 20,
        pose=None if pose[0] is None else HeadPose(*pose),
        emotion=sample["emotion"],
        degraded=tuple(dict.fromkeys(degraded)),
        calibration=_calibration(drive, at),
        open_alerts=tuple(event.id for event in open_now),
        speed_kmh=sample["speed_kmh"],
    )


def state_message(life: Life, drive: Drive, at: float, prefix: str = "dms/v1") -> Message:
    """The retained state as the vehicle would publish it."""
    state = state_at(life, drive, at)
    lost = Cause.CAMERA_LOST in state.degraded
    return messages.state(
        Topics(prefix, life.vehicle.id),
        state,
        camera=CAMERA,
        drive=drive.id,
        policy=drive.policy,
        fps=0.0 if lost else 29.4,
    )


def stats_of(life: Life, drive: Drive, at: float) -> Stats:
    """The numbers of the process of this drive at `at` (epoch seconds)."""
    uptime_s = max(at - drive.started_at, 0.0)
    waiting = sum(1 for e in life.by_drive[drive.id] if e.event.at <= at < e.received_at)
    return Stats(
        vehicle=life.vehicle.id,
        time=messages.utc(at),
        at=at,
        software=life.vehicle.version,
        uptime_s=round(uptime_s, 1),
        cameras={
            CAMERA: Loop(
                fps=29.4,
                frames=int(uptime_s * 29.4),
                skipped=int(uptime_s * 0.02),
                latency_p50_ms=9.5,
                latency_p95_ms=14.0,
            )
        },
        outbox_depth=waiting,
        outbox_bytes=waiting * 1500,
        lost=0,
        restarts=int(uptime_s > 4 * HOUR_S),
        troubles={},
    )


def _calibration(drive: Drive, at: float) -> Calibration:
    progress = min((at - drive.started_at) / CALIBRATION_S, 1.0)
    return Calibration(
        progress=max(progress, 0.0),
        ready=progress >= 1,
        ear_open=0.30,
        mar_closed=0.05,
        neutral=HeadPose(0.0, -2.0, 0.0),
        id=drive.calibration,
    )
