"""docs/mqtt.md shows what a vehicle sends, and `wakeful config schema --messages` describes it."""

import json
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from monitor.cli import app
from monitor.protocol.messages import read
from monitor.protocol.schemas import message_schemas
from tests.support import mqtt_page
from tests.support.mqtt_page import PAGE, TOPICS

TEXT = PAGE.read_text(encoding="utf-8")


def shape(value: Any) -> Any:
    """The keys and types of a JSON value, without its numbers and words."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else type(value).__name__


@pytest.mark.parametrize("name", ["alert", "state", "coverage", "stats"])
def test_each_example_is_one_that_a_vehicle_sends(name: str) -> None:
    sent = json.loads(mqtt_page.examples()[name].payload)
    shown = json.loads(mqtt_page.blocks(TEXT)[name])
    assert shape(shown) == shape(sent), "run `python -m tests.support.mqtt_page`"
    read(TOPICS.parse(TOPICS.channel(name)), mqtt_page.blocks(TEXT)[name].encode())


def test_the_evidence_of_each_rule_is_shown_as_the_engine_makes_it() -> None:
    sent = [evidence for _, evidence in mqtt_page.last_evidence()]
    shown = mqtt_page.written_evidence(TEXT)
    assert [e["rule"] for e in shown] == [e["rule"] for e in sent]
    assert shape(shown) == shape(sent), "run `python -m tests.support.mqtt_page`"


def test_an_example_of_the_old_shape_is_none_that_a_vehicle_sends() -> None:
    """The test above can fail."""
    alert = json.loads(mqtt_page.blocks(TEXT)["alert"])
    sent = json.loads(mqtt_page.examples()["alert"].payload)
    alert["data"]["evidence"] = {"closure_s": 1.0, "openness": 0.05}
    assert shape(alert) != shape(sent)


def test_what_is_sent_is_valid_by_the_published_schema() -> None:
    printed = CliRunner().invoke(app, ["config", "schema", "--messages"])
    assert printed.exit_code == 0
    schema = json.loads(printed.stdout)
    assert schema == message_schemas()
    names = {"alert": "Alert", "state": "State", "coverage": "Coverage", "stats": "Stats"}
    for name, message in mqtt_page.examples().items():
        one = {**schema, "$ref": f"#/$defs/{names[name]}"}
        jsonschema.validate(json.loads(message.payload), one)
        broken = {**json.loads(message.payload), "unheard_of": 1}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, one)
