"""Trees of settings: where their values come from, and one line for each that is wrong.

A setting is taken from, in this order: the command line, the environment, the YAML file, the
schema's default. An unknown key or variable is refused with the nearest right one.
"""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from monitor.addresses import redacted
from monitor.errors import ConfigError


class Settings(BaseSettings):
    """A whole tree: command line over environment over file over defaults."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        env_parse_none_str="null",
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    file_values: ClassVar[dict[str, object]] = {}
    # What variables of this prefix begin with that are no settings of this tree.
    other_variables: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line over environment over file."""
        del env_settings, dotenv_settings, file_secret_settings
        file_settings = InitSettingsSource(settings_cls, cls.file_values)
        return init_settings, Environment(settings_cls), file_settings


class Environment(EnvSettingsSource):
    """The environment, in which `null` for a whole section switches off what can be."""

    def __call__(self) -> dict[str, Any]:
        """The values by setting."""
        values = super().__call__()
        for name, info in self.settings_cls.model_fields.items():
            section = _section_of(info.annotation)
            if section is not None and name in values and values[name] is None:
                values[name] = _switched_off(section) or None
        return values


def _switched_off(section: type[BaseModel]) -> dict[str, object]:
    """`enabled: false`, or null for every setting that may be null."""
    fields = section.model_fields
    if "enabled" in fields:
        return {"enabled": False}
    return {name: None for name, info in fields.items() if _may_be_null(info.annotation)}


def _may_be_null(annotation: object) -> bool:
    inner = getattr(annotation, "__args__", ())
    return annotation is type(None) or any(map(_may_be_null, inner))


Tree = TypeVar("Tree", bound=Settings)


def load_as(schema: type[Tree], path: Path | None, overrides: Mapping[str, Any]) -> Tree:
    """A tree of settings from command line, environment and file.

    Raises:
        ConfigError: unreadable file, broken YAML, unknown key or wrong value: one line a fault.
    """
    prefix = schema.model_config["env_prefix"]
    faults = list(_unknown_variables(schema))
    if faults:
        raise ConfigError("\n".join(faults))
    where = str(path) if path else f"{prefix}* environment or command line"
    own = {"__module__": __name__, "file_values": read_yaml(path) if path else {}}
    # A class of its own, so that no two loads share a file's values.
    loaded: type[Tree] = type(schema.__name__, (schema,), own)
    try:
        return loaded(**overrides)
    except ValidationError as error:
        raise ConfigError(explain(error, schema, where)) from None
    except SettingsError as error:  # a variable that must hold JSON; its value may be a secret
        quoted = re.search(r'field "(\w+)"', str(error))
        name = f"{prefix}{quoted[1].upper() if quoted else '*'}"
        raise ConfigError(
            f'{name}: is no JSON; write a list as {name}=\'[{{"source": "0"}}]\', or a file of '
            "settings"
        ) from None


def _unknown_variables(schema: type[Settings]) -> Iterator[str]:
    """A line for each variable that begins as a setting's does and names none."""
    prefix = schema.model_config["env_prefix"]
    variables = {f"{prefix}{name}".upper(): "" for name in schema.model_fields}
    for name, info in schema.model_fields.items():
        section = _section_of(info.annotation)
        for inner in section.model_fields if section else ():
            variables[f"{prefix}{name}__{inner}".upper()] = f"{prefix}{inner}".upper()
    for variable in map(str.upper, os.environ):
        if not variable.startswith(prefix) or variable.startswith(schema.other_variables):
            continue
        if variable.partition("__")[0] not in variables:
            # `WAKEFUL_EYES`, where the setting lies in a section.
            right = [name for name, short in variables.items() if short == variable]
            right += difflib.get_close_matches(variable, variables, n=1, cutoff=0.85)
            hint = f"; did you mean {right[0]}?" if right else "; `wakeful config` shows them"
            yield f"{variable}: the environment sets what is no setting{hint}"


def _shipped_configs() -> Path:
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


# Policies, drives, broker files as they ship: inside the wheel, or at the root of a checkout.
CONFIGS = _shipped_configs()


def read_yaml(path: Path, option: str = "--config") -> dict[str, object]:
    """The mapping in a YAML file; an empty file is an empty mapping.

    Args:
        path: the file.
        option: what names another file on the command line, for the cure.

    Raises:
        ConfigError: unreadable, not UTF-8, broken YAML or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give {option} another file"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text; give {option} a YAML file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise ConfigError(f"{path}: {place}broken YAML ({problem})") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: must be a mapping, as `key: value` lines, got {type(values).__name__}"
        )
    return values


def explain(error: ValidationError, schema: type[BaseModel], where: str) -> str:
    """Each fault as one line: place, dotted path, what is wrong, the nearest right key.

    Serves every validated file of the house (configuration, policy, drive script).
    """
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        path = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            keys = _keys_at(schema, fault["loc"][:-1])
            near = difflib.get_close_matches(str(fault["loc"][-1]), keys, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(keys))}"
            lines.append(f"{where}: {path}: no such setting; {hint}")
        else:
            value = "" if _secret(path) else f" (got {_short(fault.get('input'))})"
            lines.append(f"{where}: {path}: {fault['msg']}{value}")
    return "\n".join(lines)


def _keys_at(schema: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    fields = schema.model_fields
    for part in loc:
        if isinstance(part, int):
            continue
        if part not in fields:
            return list(fields)
        section = _section_of(fields[part].annotation)
        if section is None:
            return []
        fields = section.model_fields
    return list(fields)


def _section_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        section = _section_of(inner)
        if section is not None:
            return section
    return None


def _secret(path: str) -> bool:
    return any(word in path.lower() for word in ("password", "secret", "token"))


def _short(value: object) -> str:
    text = redacted(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
