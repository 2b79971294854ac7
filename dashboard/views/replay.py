"""Replay: what would another threshold have done on a recorded drive?"""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from dashboard.components import charts, columns, theme
from dashboard.components.charts import RunBar
from dashboard.components.thresholds import DIALS, changed, tuned
from dashboard.queries import live
from dashboard.queries.policy_replay import MAX_OBSERVATIONS, PolicyRun, run_again, score_runs
from dashboard.queries.sensitivity import Labels, accepted, answered, read_labels
from dashboard.session import database, guarded
from dashboard.settings import settings
from monitor.errors import WakefulError
from monitor.policy import Policy, built_in, load_policy
from monitor.replay import Difference, compare
from monitor.settings import explain
from monitor.sinks.trace import SUFFIX, read_trace
from monitor.types import Event, Level

LISTED: Final = 200
RECORDED: Final = "as recorded"


@st.cache_data(max_entries=40, ttl=3600, show_spinner="Running the drive again")
def _run(_file: Path, digest: str, _policy: Policy, policy_hash: str) -> PolicyRun:
    del digest, policy_hash  # they are the key: the same trace under the same policy
    return run_again(_file, _policy)


@guarded
def replay_page() -> None:
    """Choose drives, turn the dials, compare."""
    theme.heading("Replay", "What other limits would have done on a recorded drive")
    files, given = _choose()
    if not files:
        return
    base, policy = _policies(files[0])
    if policy is None:
        return
    before = [_run(file, _digest(file), base, base.hash) for file in files]
    after = [_run(file, _digest(file), policy, policy.hash) for file in files]
    labels = _labels(files, given)
    _tiles(before, after, labels, base, policy)
    for file, one, other in zip(files, before, after, strict=True):
        _drive(file, one, other)
    _save(policy, base)


def _choose() -> tuple[list[Path], bytes | None]:
    """Recorded drives of this machine, one from elsewhere first; and labels, if any are given."""
    recorded = _recorded()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.multiselect(
            "Recorded drives",
            recorded,
            default=recorded[:1],
            format_func=_title,
            placeholder="Choose one or more",
        )
        with st.popover("From elsewhere", icon=":material/upload_file:", width=220):
            trace = st.file_uploader("A trace", type=["gz"], help=f"A file that ends in {SUFFIX}.")
            labels = st.file_uploader(
                "Labels of it",
                type=["json"],
                help="What the driver did and when, or their own sleepiness reports: "
                "docs/dashboard.md.",
            )
    if trace is not None:
        chosen = [_kept(trace.getvalue()), *chosen]
    if not chosen:
        theme.nothing(
            "Choose a drive" if recorded else "No drive to replay",
            "A trace holds what was measured on every frame, and no picture. Record one:",
            "wakeful run --trace traces/            # a camera\n"
            "wakeful run --camera animated --trace traces/    # the animated driver",
        )
    return chosen, labels.getvalue() if labels is not None else None


def _recorded() -> list[Path]:
    files = settings().traces.glob(f"*.0000{SUFFIX}")
    latest = sorted(files, key=lambda file: file.name, reverse=True)[:LISTED]
    if not database().scope.limited:
        return latest
    allowed = set(live.names(database()))
    return [file for file in latest if _vehicle(file) in allowed]


def _vehicle(file: Path) -> str | None:
    """Whose trace it is; None where that cannot be read."""
    try:
        return read_trace(file)[0].vehicle
    except WakefulError:
        return None


def _title(file: Path) -> str:
    parts = file.name.removesuffix(f".0000{SUFFIX}").split("_")
    if len(parts) < 2:
        return file.name
    stamp = pd.to_datetime(parts[0], format="%Y%m%dT%H%M%S", errors="coerce", utc=True)
    when = theme.clock(stamp.timestamp(), seconds=False) if not pd.isna(stamp) else parts[0]
    return f"{when} · {parts[1]}"


@st.cache_resource(show_spinner=False)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="wakeful-replay-"))


def _kept(data: bytes) -> Path:
    """The uploaded trace as a file for the reader; its name is a hash, never the user's."""
    name = hashlib.sha256(data).hexdigest()[:24]
    file = _folder() / f"uploaded_{name}.0000{SUFFIX}"
    if not file.is_file():
        file.write_bytes(data)
    return file


def _digest(file: Path) -> str:
    about = file.stat()
    return f"{file}:{about.st_size}:{about.st_mtime_ns}"


def _policies(first: Path) -> tuple[Policy, Policy | None]:
    """The policy it was, and the one the dials make; None while they contradict each other."""
    header, _ = read_trace(first)
    names = [RECORDED, *built_in()]
    chosen = st.selectbox(
        "Compared with",
        names,
        width=320,
        format_func=lambda name: f"{RECORDED} ({header.policy})" if name == RECORDED else name,
    )
    name = header.policy if chosen == RECORDED else chosen
    try:
        base = load_policy(name)
    except WakefulError as error:
        st.info(f"{error}; compared with the default policy instead.")
        base = load_policy("default")
    values = _dials(base)
    try:
        return base, tuned(base, values)
    except ValidationError as error:
        st.warning(explain(error, Policy, "these thresholds"), icon=":material/tune:")
        return base, None


def _dials(base: Policy) -> dict[str, float]:
    """A slider for each threshold that matters most, from the policy's own value."""
    values: dict[str, float] = {}
    for group, dials in DIALS.items():
        with st.expander(group, expanded=group == next(iter(DIALS)), icon=":material/tune:"):
            for start in range(0, len(dials), 3):
                places = st.columns(3, gap="large")
                for place, dial in zip(places, dials[start : start + 3], strict=False):
                    value = dial.of(base)
                    values[dial.path] = place.slider(
                        dial.title,
                        dial.low,
                        max(dial.high, value),
                        value,
                        dial.step,
                        format=dial.format,
                        key=f"{base.hash}-{dial.path}",
                        help=dial.path,
                    )
    return values


def _labels(files: list[Path], given: bytes | None) -> list[Labels | None]:
    """What is known of each drive: a file beside its trace, or the one given for the first."""
    labels = [_beside(file) for file in files]
    if given is not None:
        try:
            labels[0] = read_labels(given)
        except ValueError as error:
            st.warning(str(error), icon=":material/label_off:")
    return labels


def _beside(file: Path) -> Labels | None:
    labels = file.with_name(file.name.removesuffix(f".0000{SUFFIX}") + ".truth.json")
    return read_labels(labels.read_bytes()) if labels.is_file() else None


def _tiles(
    before: list[PolicyRun],
    after: list[PolicyRun],
    labels: list[Labels | None],
    base: Policy,
    policy: Policy,
) -> None:
    hours = sum(one.seconds for one in before) / 3600
    tiles = [
        theme.tile("Drive time", theme.lasting(hours * 3600), _drives(len(before))),
        _pair("Alerts", _total(before), _total(after), hours),
        _pair(
            "Warnings and critical",
            _total(before, Level.WARNING),
            _total(after, Level.WARNING),
            hours,
        ),
    ]
    if any(labels):
        was, now = score_runs(before, labels, base), score_runs(after, labels, policy)
        tiles.append(_pair("False alarms", was.false, now.false, hours))
        if now.due:
            words = f"was {was.matched} of {was.due}"
            tiles.append(theme.tile("Found", f"{now.matched} of {now.due}", words))
        tiles += _ddaw(before, after, labels)
    theme.tiles(*tiles)
    if any(one.cut for one in before):
        st.caption(f"Only the first {MAX_OBSERVATIONS:,} frames of a longer drive are replayed.")
    if not any(labels):
        st.caption(
            "Without labels nobody knows which alerts were false. Give labels to see false alarms "
            "per hour and what was missed."
        )


def _pair(title: str, was: int, now: int, hours: float) -> str:
    rate = f"{was / hours:.1f} → {now / hours:.1f} an hour" if hours > 0 else ""
    return theme.tile(title, f"{was} → {now}", rate)


def _drives(count: int) -> str:
    return "one drive" if count == 1 else f"{count} drives"


def _total(runs: list[PolicyRun], level: Level = Level.CAUTION) -> int:
    return sum(run.count(level) for run in runs)


def _ddaw(
    before: list[PolicyRun], after: list[PolicyRun], labels: list[Labels | None]
) -> list[str]:
    """The regulation's sensitivity, over the drives with sleepiness reports."""

    def of(runs: list[PolicyRun]) -> list[float]:
        judged = [
            answered(run.events, labelled.kss).sensitivity
            for run, labelled in zip(runs, labels, strict=True)
            if labelled is not None and labelled.kss
        ]
        return [value for value in judged if value is not None]

    was, now = of(before), of(after)
    if not now:
        return []
    mean, bound, passed = accepted(now)
    words = "over the limit" if passed else "under the limit of 40 %"
    bound_words = f", lower bound {theme.share(bound)}" if bound is not None else ""
    old = theme.share(accepted(was)[0]) if was else "-"
    return [theme.tile("DDAW sensitivity", theme.share(mean), f"{words}{bound_words}; was {old}")]


def _drive(file: Path, before: PolicyRun, after: PolicyRun) -> None:
    theme.section(_title(file))
    rows = _bars(before, "before") + _bars(after, "after")
    st.altair_chart(charts.two_runs(rows, before.seconds), key=f"runs-{file.name}")
    differences = [row for row in compare(before.events, after.events) if row.word != "same"]
    if not differences:
        st.caption("Both policies raise the same alerts at the same instants.")
        return
    st.dataframe(
        pd.DataFrame([_difference(row, before.first_s) for row in differences]),
        hide_index=True,
        column_config={
            "at": columns.number("At", format="%.1f s"),
            "what": "What",
            "before": "Before",
            "after": "After",
            "change": "Change",
        },
    )


def _bars(run: PolicyRun, which: str) -> list[RunBar]:
    ends: dict[str, float] = {}
    for event in run.events:
        ends[event.id] = event.at_s
    return [
        RunBar(
            run=which,
            start_s=event.started_s - run.first_s,
            end_s=max(ends[event.id], event.started_s + 0.2) - run.first_s,
            level=theme.LEVEL_WORDS[event.level],
            what=theme.kind_word(event.kind.value),
        )
        for event in sorted(run.alerts, key=lambda event: event.level)
    ]


def _difference(row: Difference, first_s: float) -> dict[str, float | str]:
    one = row.before or row.after
    assert one is not None  # noqa: S101 - a difference has at least one side
    return {
        "at": one.started_s - first_s,
        "what": theme.kind_word(one.kind.value),
        "before": _side(row.before),
        "after": _side(row.after),
        "change": row.word,
    }


def _side(event: Event | None) -> str:
    if event is None:
        return "-"
    level = theme.LEVEL_WORDS[event.level]
    return f"{theme.kind_word(event.kind.value)}, {level}, {event.duration_s:.1f} s"


def _save(policy: Policy, base: Policy) -> None:
    theme.section("Keep these limits")
    different = changed(base, policy)
    if not different:
        st.caption("Move a slider to make a policy of your own.")
        return
    st.html(theme.facts([(path, f"{was:g} → {now:g}") for path, was, now in different]))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name", "mine", max_chars=64, width=240)
        try:
            named = Policy.model_validate(policy.model_dump(mode="json") | {"id": name})
        except ValidationError:
            st.caption("Letters, digits, `-` and `_` only.")
            return
        st.download_button(
            "Save as a policy file",
            named.to_yaml(),
            f"{name}.yaml",
            "application/yaml",
            type="primary",
            icon=":material/save:",
            on_click="ignore",
        )
    st.code(f"wakeful run --policy {name}.yaml", language="bash")


replay_page()
