"""Every setting is documented, every fault is one line with its place and its cure."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from monitor.config import Config, dump, load
from monitor.errors import ConfigError
from monitor.fleet.config import load_fleet
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("WAKEFUL_"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "wakeful.yaml"
    path.write_text(text)
    return path


def test_the_default_file_is_the_schema_s_own_dump() -> None:
    golden = ROOT / "configs" / "default.yaml"
    expected = dump(Config(), comments=True)
    assert golden.read_text() == expected, (
        "configs/default.yaml is stale; write it again with "
        "`wakeful config --defaults > configs/default.yaml`"
    )


def test_a_dump_reads_back_to_itself(tmp_path: Path) -> None:
    once = dump(load(), comments=True)
    assert dump(load(written(tmp_path, once)), comments=True) == once


def test_the_environment_is_stronger_than_the_file_and_the_command_line_than_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "vehicle: from-file\nmqtt: {port: 1999, prefix: fleet}\n")
    monkeypatch.setenv("WAKEFUL_MQTT__PORT", "2000")
    settings = load(path)
    assert (settings.vehicle, settings.mqtt.port, settings.mqtt.prefix) == (
        "from-file",
        2000,
        "fleet",
    )
    assert load(path, vehicle="from-command").vehicle == "from-command"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mqtt: {prot: 1}", "mqtt.prot: no such setting; did you mean `port`?"),
        ("mqttt: {}", "mqttt: no such setting; did you mean `mqtt`?"),
        ("cameras: [{surce: 0}]", "cameras.0.surce: no such setting; did you mean `source`?"),
        ("mqtt: {port: 70000}", "mqtt.port: Input should be less than or equal to 65535"),
        ("mqtt: {keepalive_s: 15 s}", "mqtt.keepalive_s: Input should be a valid integer"),
        ("store: {sample_every_s: -1}", "store.sample_every_s: Input should be greater than"),
        ("store: {sample_every_s: .nan}", "store.sample_every_s: Input should be a finite number"),
        ("vehicle: ../etc", "vehicle: String should match pattern"),
        ("vehicle: [", "broken YAML"),
        ("- a\n- b", "must be a mapping, as `key: value` lines, got list"),
        ("cameras: []", "cameras: Value error, give at least one camera"),
        ("cameras: [{id: a}, {id: a}]", "each with an id of its own"),
        ("chime: loud", "chime: Input should be a valid"),
    ],
)
def test_a_fault_is_one_line_that_names_file_place_and_cure(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    line = str(caught.value)
    assert said in line
    assert str(path) in line
    assert "\n" not in line


def test_two_faults_are_two_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "mqtt: {prot: 1}\nstore: {uri: x}\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_missing_or_binary_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "nowhere.yaml")
    junk = tmp_path / "junk.yaml"
    junk.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(junk)


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKEFUL_MQTT__PASSWORD", "open-sesame")
    settings = load()
    assert settings.mqtt.password is not None
    assert settings.mqtt.password.get_secret_value() == "open-sesame"
    assert "open-sesame" not in dump(settings) + repr(settings) + str(settings)


def test_a_wrong_password_setting_does_not_print_its_value(tmp_path: Path) -> None:
    path = written(tmp_path, "mqtt: {password: [open-sesame]}")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "section", "key"),
    [
        ("WAKEFUL_CHIME__DEVICE", "chime", "device"),
        ("WAKEFUL_SPEED__TOPIC", "speed", "topic"),
        ("WAKEFUL_MQTT__USERNAME", "mqtt", "username"),
        ("WAKEFUL_MQTT__CA_FILE", "mqtt", "ca_file"),
        ("WAKEFUL_PERCEPTION__EMOTION", "perception", "emotion"),
    ],
)
def test_the_environment_can_take_a_value_away(
    variable: str, section: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "w.yaml").write_text(f"{section}: {{{key}: something}}\n")
    monkeypatch.setenv(variable, "null")
    assert getattr(getattr(load(tmp_path / "w.yaml"), section), key) is None


@pytest.mark.parametrize("section", ["mqtt", "chime", "trace", "clips"])
def test_the_environment_switches_a_whole_section_off(
    section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text(f"{section}: {{enabled: true}}\n")
    assert getattr(load(file), section).enabled
    monkeypatch.setenv(f"WAKEFUL_{section.upper()}", "null")
    assert not getattr(load(file), section).enabled


def test_the_environment_switches_every_model_off_or_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text("perception: {detector: auto, emotion_hz: 2}\nspeed: {topic: car/speed}\n")
    for model in ("detector", "emotion", "eyes"):
        with monkeypatch.context() as alone:
            alone.setenv(f"WAKEFUL_PERCEPTION__{model.upper()}", "null")
            assert getattr(load(file).perception, model) is None
    monkeypatch.setenv("WAKEFUL_PERCEPTION", "null")
    monkeypatch.setenv("WAKEFUL_SPEED", "null")
    config = load(file)
    models = (config.perception.detector, config.perception.emotion, config.perception.eyes)
    assert models == (None, None, None)
    assert config.perception.emotion_hz == 2
    assert config.speed.topic is None


@pytest.mark.parametrize(
    ("variable", "right"),
    [
        ("WAKEFUL_EYES", "WAKEFUL_PERCEPTION__EYES"),
        ("WAKEFUL_DETECTOR", "WAKEFUL_PERCEPTION__DETECTOR"),
        ("WAKEFUL_MQQT__HOST", "WAKEFUL_MQTT__HOST"),
        ("WAKEFUL_NOTHING", "`wakeful config`"),
    ],
)
def test_a_variable_that_is_no_setting_is_named_with_the_right_one(
    variable: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "null")
    with pytest.raises(ConfigError) as refused:
        load(None)
    assert str(refused.value).startswith(f"{variable}: ")
    assert right in str(refused.value)


def test_variables_of_the_other_programs_are_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "CACHE", "FLEET_DATABASE__URL", "DASHBOARD_CONFIG", "METRICS__PORT"):
        monkeypatch.setenv(f"WAKEFUL_{name}", "/tmp")  # noqa: S108 - no file
    assert load(None).chime.enabled
    monkeypatch.setenv("WAKEFUL_FLEET_DATABSE__URL", "sqlite://")
    with pytest.raises(ConfigError, match="WAKEFUL_FLEET_DATABASE__URL"):
        load_fleet(None)


@pytest.mark.parametrize("value", ["", "rtsp://me:s3cret@cam/1", "0", "[{source: 0}]", "["])
def test_cameras_of_the_environment_that_are_no_json_are_one_line(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAKEFUL_CAMERAS", value)
    with pytest.raises(ConfigError, match=r"(?i)cameras") as caught:
        load()
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_yaml_cannot_build_objects(tmp_path: Path) -> None:
    path = written(tmp_path, "vehicle: !!python/object/apply:os.system ['touch pwned']")
    with pytest.raises(ConfigError, match="broken YAML"):
        load(path)
    assert not Path("pwned").exists()


def test_every_number_names_its_unit() -> None:
    """A float setting says its unit in its name, unless it has none."""
    unitless = {"volume", "min_score", "drivers_zone", "fps", "pixel_aspect"}

    def walk(section: type[BaseModel]) -> list[str]:
        names = []
        for name, info in section.model_fields.items():
            kind = info.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += walk(kind)
            elif "float" in str(kind):
                names.append(name)
        return names

    units = ("_s", "_deg", "_px", "_hz", "_ms", "_days", "_bytes", "_kmh", "_db")
    assert [n for n in walk(Config) if n not in unitless and not n.endswith(units)] == []


def test_the_shipped_files_are_valid() -> None:
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        assert isinstance(values, dict), path
