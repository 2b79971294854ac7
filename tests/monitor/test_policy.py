from pathlib import Path

import pytest
import yaml

from monitor.errors import ConfigError
from monitor.policy import POLICIES, Policy, built_in, load_policy
from monitor.types import Cause, Level


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load_policy(written(tmp_path, text))
    return str(refused.value)


def test_the_profiles_that_the_documents_name_are_built_in() -> None:
    assert set(built_in()) >= {"default", "euro-ncap-2026", "euro-ncap-2023"}


@pytest.mark.parametrize("name", built_in())
def test_a_built_in_policy_is_named_like_its_file(name: str) -> None:
    assert load_policy(name).id == name


def test_the_default_file_and_the_schema_agree_in_every_value() -> None:
    assert load_policy("default") == Policy()


def test_the_default_file_names_every_threshold_of_the_schema() -> None:
    def keys(tree: object, at: str = "") -> set[str]:
        if isinstance(tree, dict):
            return {k for name, inner in tree.items() for k in keys(inner, f"{at}.{name}")}
        return {at}

    filed = yaml.safe_load((POLICIES / "default.yaml").read_text())
    assert keys(filed) == keys(Policy().model_dump(mode="json"))


def test_every_threshold_of_the_default_file_stands_beneath_a_source_or_is_called_a_proposal() -> (
    None
):
    text = (POLICIES / "default.yaml").read_text()
    for section in text.split("\n\n")[1:]:
        assert "#" in section, f"no source named in:\n{section}"


def test_the_2026_profile_warns_of_a_microsleep_from_one_second() -> None:
    assert load_policy("euro-ncap-2026").closure.microsleep_warn_s == 1.0
    assert load_policy("default").closure.microsleep_warn_s == 1.5


@pytest.mark.parametrize("name", built_in())
def test_a_policy_reads_back_from_its_own_yaml_with_the_same_hash(
    name: str, tmp_path: Path
) -> None:
    policy = load_policy(name)
    again = load_policy(written(tmp_path, policy.to_yaml()))
    assert again == policy
    assert again.hash == policy.hash


def test_the_hash_follows_the_effective_content(tmp_path: Path) -> None:
    mine = load_policy(written(tmp_path, "closure: {sleep_s: 3.0}"))
    assert mine.hash == Policy().hash, "a value written out is still the same policy"
    other = load_policy(written(tmp_path, "closure: {sleep_s: 3.5}"))
    assert other.hash != mine.hash
    assert len(other.hash) == 12


def test_a_policy_of_ones_own_names_only_what_differs(tmp_path: Path) -> None:
    mine = load_policy(written(tmp_path, "id: mine\nlevels: {drowsy: warning}"))
    assert mine.levels.drowsy is Level.WARNING
    assert mine.closure == Policy().closure


def test_a_policy_cannot_be_changed_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Policy().closure.sleep_s = 1.0  # type: ignore[misc]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean `euro-ncap-2026`"):
        load_policy("euro-ncap-2062")


def test_a_missing_file_says_so_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read") as refused:
        load_policy("nowhere.yaml")
    assert "\n" not in str(refused.value)


def test_an_unknown_key_is_answered_with_its_path_and_the_nearest(tmp_path: Path) -> None:
    said = complaint(tmp_path, "closure: {sleeps_s: 3}")
    assert "closure.sleeps_s: no such setting; did you mean `sleep_s`?" in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("closure: {sleep_s: 3000}", ["closure.sleep_s", "milliseconds"]),
        ("perclos: {advisory: {enter: 8}}", ["perclos.advisory.enter", "percent"]),
        ("closure: {sleep_s: soon}", ["closure.sleep_s", "valid number"]),
        ("closure: {sleep_s: -1}", ["closure.sleep_s", "greater than or equal to 0"]),
        ("closure: {sleep_s: .nan}", ["closure.sleep_s", "finite"]),
        ("levels: {sleep: loud}", ["levels.sleep", "critical"]),
        ("eye: {pose_gate_deg: {yaw: 120}}", ["eye.pose_gate_deg.yaw", "90"]),
        ("activation: {speed_unknown: guess}", ["activation.speed_unknown", "assume_moving"]),
    ],
)
def test_a_wrong_unit_or_value_is_refused_in_one_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    said = complaint(tmp_path, text)
    assert "\n" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("eye: {openness: {closed_enter: 0.6}}", ["eye.openness", "closed_exit"]),
        ("perclos: {drowsy: {exit: 0.5}}", ["perclos.drowsy", "exit"]),
        ("closure: {sleep_s: 0.9}", ["closure", "sleep_s"]),
        ("closure: {microsleep_warn_s: 0.8}", ["closure", "microsleep_log_s"]),
        ("closure: {unresponsive_s: 2}", ["closure", "unresponsive_s"]),
        ("yawn: {min_s: 20}", ["yawn", "max_s"]),
        ("distraction: {vats: {cumulative_s: 40}}", ["distraction.vats", "window_s"]),
        ("degraded: {after_s: {glare: 30}}", ["degraded", "glare", "notify_within_s"]),
        ("absence: {after_s: 30}", ["absence.after_s", "notify_within_s"]),
        ("perclos: {advisory: {enter: 0.08, min_observed_s: 90}}", ["min_observed_s"]),
        ("levels: {yawning: critical}", ["levels", "yawning"]),
        ("escalation: {cooldown_kinds: [sleep]}", ["cooldown_kinds", "sleep"]),
    ],
)
def test_thresholds_out_of_order_are_refused_in_one_line(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    said = complaint(tmp_path, text)
    assert "\n" not in said
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("closure: [", "broken YAML"),
        ("- 1\n- 2", "mapping"),
        ("", "mapping"),
    ],
)
def test_what_is_no_policy_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    said = complaint(tmp_path, text)
    assert words in said
    assert "\n" not in said


def test_a_picture_is_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "face.yaml"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_policy(str(path))


def test_every_cause_but_absence_has_its_patience() -> None:
    told = {name for name, _ in Policy().degraded.after_s}
    assert told == {str(cause) for cause in Cause} - {Cause.NO_FACE}
