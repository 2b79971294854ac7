"""Home Assistant finds the vehicle by itself: one retained message an entity.

Ids are `wakeful_<vehicle>_<entity>`; every entity shares one device and its availability. The
messages are sent again whenever Home Assistant says that it has come up.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from monitor import __version__
from monitor.protocol.messages import Message, Topics
from monitor.sinks.mqtt.connection import Connection, Incoming
from monitor.sinks.mqtt.publisher import Publisher
from monitor.types import Level

BIRTH = "status"  # under the discovery prefix: `online` when Home Assistant comes up


class DiscoveryPublisher(Publisher):
    """Sends the discovery messages at each connection and at each birth of Home Assistant.

    Args:
        topics: of the vehicle.
        prefix: Home Assistant's own.
    """

    def __init__(self, topics: Topics, prefix: str) -> None:
        self._topics = topics
        self._prefix = prefix

    @property
    def topics(self) -> Sequence[str]:
        """Home Assistant's birth."""
        return [f"{self._prefix}/{BIRTH}"]

    def greet(self, connection: Connection) -> None:
        """Send them all."""
        for message in discovery(self._topics, self._prefix):
            connection.publish(message)

    def hear(self, connection: Connection, incoming: Incoming) -> bool:
        """Send them again when Home Assistant has come up."""
        if incoming.topic not in self.topics:
            return False
        if incoming.payload == b"online":
            self.greet(connection)
        return True


def discovery(topics: Topics, prefix: str) -> Iterator[Message]:
    """The retained discovery messages of a vehicle.

    Args:
        topics: of the vehicle.
        prefix: Home Assistant's own, `homeassistant` unless changed there.
    """
    node = f"wakeful_{topics.vehicle}"
    for component, entity, settings in _entities(topics):
        unique = f"{node}_{entity}"
        config = {
            **settings,
            "unique_id": unique,
            # Since 2025.10 Home Assistant names the entity by the second; older ones by the first.
            "object_id": unique,
            "default_entity_id": f"{component}.{unique}",
            "availability_topic": topics.channel("available"),
            # `stopped` is no word of theirs: after a clean end the last state would stand for ever.
            "availability_template": "{{ 'online' if value == 'online' else 'offline' }}",
            "device": {
                "identifiers": [node],
                "name": f"Driver monitor {topics.vehicle}",
                "manufacturer": "Wakeful",
                "model": "driver drowsiness monitor",
                "sw_version": __version__,
            },
            "origin": {"name": "wakeful", "sw_version": __version__},
        }
        topic = f"{prefix}/{component}/{node}/{entity}/config"
        yield Message(topic, json.dumps(config, sort_keys=True).encode(), retain=True)


def _entities(topics: Topics) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    yield from _sensors(topics)
    state = {"state_topic": topics.channel("state")}
    yield (
        "binary_sensor",
        "warning",
        {
            **state,
            "name": "Warning",
            "device_class": "safety",
            "value_template": _on_off("value_json.signals['Vehicle.ADAS.DMS.IsWarning']"),
        },
    )
    yield (
        "binary_sensor",
        "eyes_on_road",
        {
            **state,
            "name": "Eyes on road",
            "icon": "mdi:eye",
            "value_template": _on_off("value_json.signals['Vehicle.Driver.IsEyesOnRoad']"),
        },
    )
    yield (
        "binary_sensor",
        "monitored",
        {
            **state,
            "name": "Watched",
            "entity_category": "diagnostic",
            "value_template": _on_off("value_json.monitored"),
            "json_attributes_topic": topics.channel("state"),
            "json_attributes_template": "{{ {'degraded': value_json.degraded} | tojson }}",
        },
    )
    yield from _commands(topics)


def _sensors(topics: Topics) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    state = topics.channel("state")
    percent = {"unit_of_measurement": "%", "state_class": "measurement"}
    levels = [level.name.lower() for level in Level]
    rows: list[tuple[str, str, str, Mapping[str, object]]] = [
        ("level", "Level", "value_json.level", {"device_class": "enum", "options": levels}),
        ("kind", "State", "value_json.kind or 'attentive'", {}),
        ("fatigue", "Fatigue", _signal("Driver.FatigueLevel"), percent),
        ("distraction", "Distraction", _signal("Driver.DistractionLevel"), percent),
        (
            "calibration",
            "Calibration",
            "value_json.calibration.percent if value_json.calibration else None",
            {**percent, "entity_category": "diagnostic"},
        ),
    ]
    for entity, name, value, more in rows:
        settings = {"name": name, "state_topic": state, "value_template": f"{{{{ {value} }}}}"}
        yield "sensor", entity, {**settings, **more}
    alert = topics.channel("alert")
    yield (
        "sensor",
        "last_alert",
        {
            "name": "Last alert",
            "icon": "mdi:sleep",
            "state_topic": alert,
            "value_template": "{{ value_json.data.kind }}",
            "json_attributes_topic": alert,
            "json_attributes_template": (
                "{{ {'level': value_json.severitytext, 'time': value_json.time, "
                "'what': value_json.type.split('.')[-1], 'id': value_json.subject} | tojson }}"
            ),
        },
    )


def _commands(topics: Topics) -> Iterator[tuple[str, str, Mapping[str, object]]]:
    acknowledge = {"name": "Acknowledge", "command_topic": topics.command("ack")}
    yield "button", "acknowledge", {**acknowledge, "icon": "mdi:check"}
    recalibrate = {"name": "Recalibrate", "command_topic": topics.command("calibrate")}
    yield "button", "recalibrate", {**recalibrate, "entity_category": "config"}
    yield (
        "switch",
        "warnings",
        {
            "name": "Chime",
            "command_topic": topics.command("warnings"),
            "state_topic": topics.channel("state"),
            "value_template": _on_off("value_json.warnings"),
        },
    )


def _signal(name: str) -> str:
    return f"value_json.signals['Vehicle.{name}']"


def _on_off(value: str) -> str:
    # Unknown stays unknown: neither ON nor OFF.
    return f"{{{{ 'ON' if {value} is true else ('OFF' if {value} is false else None) }}}}"
