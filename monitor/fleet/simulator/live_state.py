"""Where a simulated vehicle stands at an instant: its live state and its process's numbers."""

from monitor.fleet.simulator.driver_profile import HOUR_S, Leg
from monitor.fleet.simulator.vehicle import CAMERA, Life
from monitor.protocol import messages
from monitor.protocol.messages import Message, Topics
from monitor.protocol.schemas import Loop, Stats


def state_message(life: Life, leg: Leg, at: float, prefix: str = "dms/v1") -> Message:
    """The retained state at `at` (epoch seconds, within the leg), as the vehicle publishes it."""
    return messages.state(
        Topics(prefix, life.vehicle.id),
        life.state(leg, at),
        camera=CAMERA,
        drive=leg.id,
        policy=leg.policy,
        fps=life.fps(leg, at),
    )


def stats_of(life: Life, leg: Leg, at: float) -> Stats:
    """The numbers of the process of this leg at `at` (epoch seconds)."""
    uptime_s = max(at - leg.started_at, 0.0)
    waiting = sum(1 for e in life.by_leg[leg.id] if e.at <= at < e.received_at)
    fps = life.fps(leg, at)
    return Stats(
        vehicle=life.vehicle.id,
        time=messages.utc(at),
        at=at,
        software=life.vehicle.version,
        uptime_s=round(uptime_s, 1),
        cameras={
            CAMERA: Loop(
                fps=fps,
                frames=int(uptime_s * fps),
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
