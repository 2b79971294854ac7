"""The simulated fleet: the same seed gives the same fleet, and it lives as a fleet lives."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from monitor.errors import StoreError
from monitor.fleet.simulator import driver_profile, films, recorder
from monitor.fleet.simulator.driver_profile import DAY, DAY_S, HOUR_S, NIGHT, Habits, alertness
from monitor.fleet.simulator.events import HAPPENINGS
from monitor.fleet.simulator.live_state import state_message
from monitor.fleet.simulator.publisher import messages_of
from monitor.fleet.simulator.recording import read_recording, shipped_recording, write_recording
from monitor.fleet.simulator.rows import Detail, tables
from monitor.fleet.simulator.seeding import Plan, columns_of, everything, seed
from monitor.fleet.simulator.vehicle import Life
from monitor.fleet.simulator.whereabouts import Whereabouts
from monitor.policy import load_policy
from monitor.protocol.messages import Topics, read
from monitor.protocol.schemas import MONITORED, Alert, Coverage
from monitor.store import schema
from monitor.store.database import open_engine, upgrade
from monitor.types import CLOSURES, Cause, ClosureEvidence, EndedBy, Kind, Level, Phase

END = 1_790_000_000.0  # 21 September 2026, 14:13 UTC
RESTED = Habits(sleep_debt=0.0, chronotype_h=0.0, glasses=False, talkative=1.0, restless=1.0)


def a_life(number: int = 1, days: float = 10.0, seed: int = 1) -> Life:
    return Life(seed, number, END - days * DAY_S, END)


def test_the_same_seed_gives_the_same_fleet() -> None:
    assert tables(a_life(), Detail()) == tables(a_life(), Detail())
    assert tables(a_life(seed=2), Detail())["events"] != tables(a_life(), Detail())["events"]


@given(
    at=st.floats(0, 7 * DAY_S),
    awake_h=st.floats(0, 40),
    debt=st.floats(0, 5),
)
def test_alertness_stays_on_its_scale_and_falls_with_sleep_debt(
    at: float, awake_h: float, debt: float
) -> None:
    short = Habits(debt, 0.0, glasses=False, talkative=1.0, restless=1.0)
    moment = driver_profile.np.array([at])
    rested, tired = (alertness(moment, at - awake_h * HOUR_S, who)[0] for who in (RESTED, short))
    assert -1.0 < rested <= 17.0
    assert tired == pytest.approx(rested - debt)


def test_the_night_shift_is_the_sleepy_one() -> None:
    def mean(shift: driver_profile.Shift) -> float:
        hours = driver_profile.np.arange(shift.start_h, shift.start_h + shift.hours, 0.25)
        woke = (shift.start_h - shift.awake_before_h) * HOUR_S
        return float(alertness(hours * HOUR_S, woke, RESTED).mean())

    assert mean(NIGHT) < mean(DAY) - 2


def test_a_fleet_alerts_as_rarely_as_fleets_do_and_no_kind_is_all_of_it() -> None:
    lives = [a_life(number, days=14) for number in range(1, 21)]
    kinds = Counter(
        e.recorded.kind
        for life in lives
        for e in life.episodes
        if e.recorded.level >= Level.CAUTION and e.recorded.kind is not Kind.DEGRADED
    )
    hours = sum(leg.ended_at - leg.started_at for life in lives for leg in life.legs) / HOUR_S
    assert 10 < 100 * kinds.total() / hours < 30
    assert max(kinds.values()) < 0.7 * kinds.total()
    assert {Kind.DISTRACTION, Kind.DROWSY, Kind.MICROSLEEP, Kind.YAWNING} <= kinds.keys()


def test_more_happens_to_the_sleepy() -> None:
    lives = [a_life(number, days=30) for number in range(1, 11)]
    closures = Counter[bool]()
    hours = Counter[bool]()
    for life in lives:
        for leg in life.legs:
            sleepy = leg.habits.sleep_debt > 1.5
            hours[sleepy] += int(leg.ended_at - leg.started_at)
            closures[sleepy] += sum(
                e.recorded.evidence.rule == "closure" and e.looked_like is None
                for e in life.by_leg[leg.id]
            )
    assert closures[True] / hours[True] > 2 * closures[False] / hours[False]


def test_a_vehicle_says_only_what_the_engine_said() -> None:
    for life in (a_life(number, days=10) for number in range(1, 6)):
        for episode in life.episodes:
            for event, place in zip(episode.events(), episode.sent, strict=True):
                recorded = episode.piece.events[place]
                its_own = {
                    name: getattr(event, name)
                    for name in ("id", "started_at", "at", "started_s", "at_s", "drive", "camera")
                }
                provenance = {"policy": event.policy, "calibration": event.calibration}
                assert event == replace(recorded, **its_own, **provenance)
                assert event.duration_s == pytest.approx(recorded.duration_s)


def test_everything_that_happens_was_recorded_and_ends_by_itself() -> None:
    recording = shipped_recording()
    assert {happening.about for happening in HAPPENINGS} <= recording.abouts
    for about in recording.abouts:
        for piece in recording.of(about):
            for places in piece.tellings.values():
                told = [piece.events[place] for place in places]
                assert told[0].phase is Phase.START
                assert told[-1].phase is Phase.END
                assert told[-1].evidence.ended_by in {
                    EndedBy.OVER,
                    EndedBy.ATTENTIVE,
                    EndedBy.NOBODY_THERE,
                }
                assert told[-1].at_s < len(piece.states)


def test_recorded_closures_climb_as_they_last_and_say_what_spoke_for_them() -> None:
    rules = load_policy("default").closure
    closures = [
        event
        for piece in shipped_recording().of(("closure", None, False))
        for event in piece.events
        if isinstance(event.evidence, ClosureEvidence) and event.phase is Phase.END
    ]
    assert {event.kind for event in closures} == set(CLOSURES)
    for event in closures:
        evidence = event.evidence
        assert evidence.contributions
        assert evidence.speed_kmh
        if evidence.unanswered_s is None:
            rung = (evidence.closed_s >= rules.sleep_s) + (
                evidence.closed_s >= rules.unresponsive_s
            )
            assert event.kind is (Kind.MICROSLEEP, Kind.SLEEP, Kind.UNRESPONSIVE)[rung]


def test_the_quiet_driver_raises_nothing_and_is_the_drowsier_the_more_the_eyes_are_closed() -> None:
    recording = shipped_recording()
    shares = [max(state.perclos or 0.0 for state in piece.states) for piece in recording.quiet]
    assert shares == sorted(shares)
    for piece in (recording.start, *recording.quiet):
        assert not piece.events
        assert all(state.level is Level.NONE for state in piece.states)
    assert all(state.monitored for piece in recording.quiet for state in piece.states)


def test_a_recording_is_read_as_it_was_written(tmp_path: Path) -> None:
    recording, file = shipped_recording(), tmp_path / "recording.jsonl.gz"
    pieces = [piece for about in sorted(recording.abouts, key=str) for piece in recording.of(about)]
    write_recording([recording.start, *recording.quiet, *pieces], file)
    again = read_recording(file)
    assert again.start.states == recording.start.states
    for about in recording.abouts:
        for one, other in zip(again.of(about), recording.of(about), strict=True):
            assert (one.events, one.states, one.fps) == (other.events, other.states, other.fps)
            assert one.statuses == other.statuses


@pytest.mark.slow
def test_a_film_looked_at_today_raises_what_was_recorded_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = {films.QUIET: "attentive 8", "closed_2.5": films.FILMS["closed_2.5"]}
    monkeypatch.setattr(films, "FILMS", played)
    seen, models = films.measured(tmp_path)
    scene = recorder.Take("closed_2.5", [recorder.Strip(seen["closed_2.5"])])
    strips = [recorder.quiet(seen, 75), *scene.strips, recorder.quiet(seen, 60)]
    today = recorder.record(recorder.on_one_clock(strips), scene, load_policy("default"))
    recorded = next(
        piece
        for piece in shipped_recording().of(("closure", None, False))
        if piece.scene == scene.name
    )
    assert [(e.kind, e.phase, e.level) for e in today.events] == [
        (e.kind, e.phase, e.level) for e in recorded.events
    ]
    assert models
    assert films.measured(tmp_path)[0].keys() == seen.keys()


def test_events_lie_within_their_trip_and_no_two_of_a_track_overlap() -> None:
    life = a_life(days=30)
    legs = {leg.id: leg for leg in life.legs}
    assert len(legs) == len(life.legs)
    until: dict[tuple[str, str], float] = {}
    for episode in sorted(life.episodes, key=lambda e: e.started_at):
        event, leg = episode.event, legs[episode.event.drive]
        assert leg.started_at - 0.001 <= event.started_at <= event.at <= leg.ended_at + 0.001
        assert episode.received_at >= event.at - 0.001
        alike = event.drive, f"{event.kind.track}/{event.cause}"
        assert until.get(alike, 0.0) <= event.started_at
        until[alike] = event.at
    numbers = [episode.sequence for episode in life.episodes]
    assert numbers == sorted(set(numbers))


def test_only_the_end_of_time_leaves_an_event_open() -> None:
    lives = [a_life(number, days=0.3) for number in range(1, 200)]
    going_on = [e for life in lives for e in life.episodes if e.going_on]
    assert going_on
    assert all(e.event.at <= END and e.event.phase is not Phase.END for e in going_on)
    rows = [row for life in lives for row in tables(life, Detail())["events"]]
    ended = columns_of("events").index("ended_at")
    assert sum(row[ended] is None for row in rows) == len(going_on)


def test_watched_and_unwatched_time_add_up_to_the_driven_time() -> None:
    life = a_life(days=20)
    seconds = Counter[str]()
    for *_, cause, value, _driver in tables(life, Detail())["coverage"]:
        seconds[cause] += value
    driven = sum(leg.ended_at - leg.started_at for leg in life.legs)
    assert sum(seconds.values()) == pytest.approx(driven, rel=1e-6)
    assert 0.5 * driven < seconds[MONITORED] < driven


def test_no_sample_is_written_twice_and_the_unseen_is_unknown() -> None:
    names = columns_of("samples")
    seen = set()
    unknown = 0
    # 76 drives with a loose connector at the end of the time, of which every sample is kept.
    for number in (*range(1, 4), 76):
        for row in tables(a_life(number, days=5), Detail())["samples"]:
            sample = dict(zip(names, row, strict=True))
            key = sample["vehicle"], sample["camera"], sample["at"]
            assert key not in seen
            seen.add(key)
            assert sample["perclos"] is None or 0 <= sample["perclos"] <= 1
            angles = [sample[name] is None for name in ("yaw_deg", "pitch_deg", "roll_deg")]
            assert len(set(angles)) == 1
            if json.loads(sample["degraded"]) == [Cause.CAMERA_LOST]:
                unknown += 1
                assert sample["eyes"] == "unknown"
                assert sample["openness"] is None
    assert unknown


def test_an_alert_of_the_last_days_has_its_evidence_in_the_samples() -> None:
    names = columns_of("samples")
    for number in range(1, 30):
        life = a_life(number, days=10)
        closures = [e.event for e in life.episodes if e.recorded.evidence.rule == "closure"]
        if closures:
            break
    event = max(closures, key=lambda e: e.duration_s)
    samples = [dict(zip(names, row, strict=True)) for row in tables(life, Detail())["samples"]]
    during = [s for s in samples if event.started_at <= s["at"] < event.at]
    assert during
    assert 0 < max(s["closure_s"] for s in during) <= event.evidence.closed_s
    assert {s["eyes"] for s in during} >= {"closed"}


def test_reviews_are_about_events_of_the_fleet_and_mostly_find_the_truth() -> None:
    verdicts = Counter[tuple[bool, str]]()
    for number in range(1, 9):
        life = a_life(number, days=40)
        truth = {e.event.id: e.looked_like for e in life.episodes}
        for event, _, at, verdict, cause, _ in tables(life, Detail(reviewed=1.0))["reviews"]:
            assert event in truth
            assert at <= END
            assert (verdict == "false") == (cause is not None)
            verdicts[truth[event] is None, verdict] += 1
    assert verdicts[False, "false"] > 5 * verdicts[False, "true"]
    assert verdicts[True, "false"] == 0


@pytest.mark.parametrize("number", range(1, 9))
def test_what_a_vehicle_tells_is_what_the_fleet_reads(number: int) -> None:
    topics = Topics("dms/v1")
    life = a_life(number, days=1)
    sent = [(at, read(topics.parse(m.topic), m.payload)) for at, m in messages_of(life, "dms/v1")]
    assert [at for at, _ in sent] == sorted(at for at, _ in sent)
    sequences = [int(m.sequence) for _, m in sent if isinstance(m, Alert | Coverage)]
    assert sequences == list(range(1, len(sequences) + 1))
    ends = {m.data.id for _, m in sent if isinstance(m, Alert) and m.data.phase is Phase.END}
    assert ends == {e.event.id for e in life.episodes if not e.going_on}


def test_the_live_state_shows_the_worst_open_alert() -> None:
    for number in range(1, 80):
        life = a_life(number, days=1)
        drowsy = [e for e in life.episodes if e.event.kind is Kind.DROWSY]
        if drowsy:
            break
    event = drowsy[0].event
    leg = next(t for t in life.legs if t.id == event.drive)
    message = state_message(life, leg, event.at - 1.0)
    state = json.loads(message.payload)
    assert Level[state["level"].upper()] >= event.level
    assert state["signals"]["Vehicle.Driver.Identifier.Subject"] == life.whereabouts.driver(
        event.at
    )
    assert state["signals"]["Vehicle.CurrentLocation.Latitude"]
    assert event.id in state["open_alerts"]
    assert state["drive"] == leg.id


def counted(url: str) -> dict[str, int]:
    engine = open_engine(url)
    with engine.connect() as connection:
        names = (*everything(Plan(1, 1, END), 1), "events")
        found = {
            name: connection.execute(
                select(func.count()).select_from(schema.metadata.tables[name])
            ).scalar_one()
            for name in names
        }
    engine.dispose()
    return found


def test_a_desk_is_seeded_and_never_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    upgrade(url)
    engine = open_engine(url, immediate=True)
    plan = Plan(vehicles=3, days=5, end=END)
    steps: list[int] = []
    written = seed(engine, plan, lambda done, of: steps.append(done))
    assert steps == [1, 2, 3]
    assert counted(url) == written
    with pytest.raises(StoreError, match="already holds 3 simulated vehicles"):
        seed(engine, plan)
    engine.dispose()


DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.mark.parametrize("kind", DATABASES)
def test_copies_live_the_days_of_a_few_under_names_of_their_own(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sqlite = kind == "sqlite"
    url = f"sqlite:///{tmp_path / 'f.db'}" if sqlite else request.getfixturevalue("postgres_url")
    upgrade(url)
    engine = open_engine(url, immediate=True)
    steps: list[int] = []
    written = seed(engine, Plan(5, 2, END, distinct=2), lambda done, of: steps.append(done))
    assert written == counted(url) | {"vehicle_groups": 5}
    assert steps == [1, 2, 4, 5]
    e = schema.events.c
    per_vehicle = (
        select(e.vehicle, func.count(), func.min(e.started_at), func.min(e.drive))
        .group_by(e.vehicle)
        .order_by(e.vehicle)
    )
    with engine.connect() as connection:
        rows = {row[0]: row[1:] for row in connection.execute(per_vehicle)}
        ids = connection.execute(select(func.count(), func.count(e.id.distinct()))).one()
        judged = connection.scalar(
            select(func.count()).select_from(
                schema.reviews.join(schema.events, e.id == schema.reviews.c.event)
            )
        )
        reviews = connection.scalar(select(func.count()).select_from(schema.reviews))
    engine.dispose()
    assert ids[0] == ids[1]
    assert judged == reviews
    assert list(rows) == [f"truck-{n:03d}" for n in range(1, 6)]
    for copy, original in (
        ("truck-003", "truck-001"),
        ("truck-005", "truck-001"),
        ("truck-004", "truck-002"),
    ):
        assert rows[copy][0] == rows[original][0]
        assert rows[copy][2].startswith(copy)
    assert rows["truck-005"][1] < rows["truck-003"][1] < rows["truck-001"][1] <= END


def test_each_vehicle_has_a_depot_drivers_and_a_road(tmp_path: Path) -> None:
    rows = everything(Plan(1, 3, END), 1)
    columns = list(schema.events.columns.keys())
    events = [dict(zip(columns, row, strict=True)) for row in rows["events"]]
    assert {event["driver"] for event in events} == {"driver-0001", "driver-0002"}
    own = Whereabouts.of(1, 1)
    assert rows["vehicle_groups"] == [("truck-001", own.group)]
    for event in events:
        assert (event["latitude"], event["longitude"]) == own.position(event["started_at"])
        assert abs(event["latitude"] - own.depot[0]) < 1
    assert len({(event["latitude"], event["longitude"]) for event in events}) > 10


@pytest.mark.postgres
def test_a_fleet_is_seeded_into_its_months(postgres_url: str) -> None:
    upgrade(postgres_url)
    engine = open_engine(postgres_url)
    written = seed(engine, Plan(vehicles=3, days=70, end=END))
    assert counted(postgres_url) == written
    with engine.connect() as connection:
        strays = connection.exec_driver_sql("SELECT count(*) FROM events_default").scalar()
        months = connection.exec_driver_sql("SELECT count(*) FROM events_2026_08").scalar()
    engine.dispose()
    assert strays == 0
    assert months
