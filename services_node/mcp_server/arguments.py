"""From a function's signature to a JSON Schema, and from a model's arguments to values that fit it.

Small models send numbers as text, lists as JSON text, fields that do not exist. What can be meant in one way only is
taken; the rest is refused in words the model can act on.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from services_node.mcp_server.errors import BadArguments

SHOWN_CHARS = 80  # of a wrong value


class ArgumentModel(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())


class _WithoutTitles(GenerateJsonSchema):
    """Titles that only repeat names cost a model tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def argument_model(function: Callable[..., Any], *, leave_out: frozenset[str] = frozenset({"call"})) -> type[BaseModel]:
    """The model of a function's parameters. Raises TypeError for one that has no annotation or takes `*args`."""
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name in leave_out:
            continue
        if parameter.annotation is parameter.empty or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
            parameter.POSITIONAL_ONLY,
        ):
            raise TypeError(f"{function.__name__}: parameter {name!r} needs a name and a type")
        fields[name] = (parameter.annotation, ... if parameter.default is parameter.empty else parameter.default)
    return create_model(f"{function.__name__}_arguments", __base__=ArgumentModel, **fields)


def schema_of(model: type[BaseModel], mode: Any = "validation") -> dict[str, Any]:
    """JSON Schema 2020-12 with an object at its root, without titles."""
    schema = model.model_json_schema(mode=mode, schema_generator=_WithoutTitles)
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("title", None)
    schema.pop("description", None)  # of the model: the tool has its own
    return {"type": "object", **schema}


def checked(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The values by parameter name. Raises BadArguments that names each fault and what is expected."""
    try:
        found = model.model_validate(_read_nested_text(model, arguments))
    except ValidationError as error:
        faults = [_told(model, fault) for fault in error.errors(include_url=False, include_context=False)]
        raise BadArguments(f"{'; '.join(faults)}. Expected: {expected(model)}.") from None
    return {name: getattr(found, name) for name in model.model_fields}


def parsed(text: str) -> dict[str, Any]:
    """Arguments that came as text. Raises BadArguments that says where the text stops being JSON."""
    try:
        value = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        where = f" at character {error.pos}: {error.msg}" if isinstance(error, json.JSONDecodeError) else ""
        raise BadArguments(f"The arguments are not valid JSON{where}. Send one JSON object.") from None
    if not isinstance(value, dict):
        raise BadArguments(f"The arguments are {_kind(value)}, not a JSON object. Send one JSON object.")
    return value


def expected(model: type[BaseModel]) -> str:
    """The parameters in a line: `{"expression": string, "digits"?: integer}`."""
    schema = schema_of(model)
    required = set(schema.get("required", ()))
    parts = [
        f'"{name}"{"" if name in required else "?"}: {_type_name(part)}'
        for name, part in schema.get("properties", {}).items()
    ]
    return "{" + ", ".join(parts) + "}"


def _read_nested_text(model: type[BaseModel], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Lists and objects that came as JSON text, where the parameter is no text."""
    read = dict(arguments)
    for name, value in arguments.items():
        field = model.model_fields.get(name)
        if (
            field is None
            or field.annotation is str
            or not isinstance(value, str)
            or value.strip()[:1] not in ("[", "{")
        ):
            continue
        try:
            inner = json.loads(value)
        except (ValueError, RecursionError):
            continue  # for the check to refuse
        read[name] = inner
    return read


def _told(model: type[BaseModel], fault: Any) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "missing":
        return f"`{name}` is missing"
    if fault["type"] == "extra_forbidden":
        known = ", ".join(f"`{field}`" for field in model.model_fields) or "none"
        return f"there is no argument `{name}` (arguments: {known})"
    shown = json.dumps(fault["input"], ensure_ascii=False, default=str)
    if len(shown) > SHOWN_CHARS:
        shown = f"{_kind(fault['input'])} of {len(shown)} characters"
    return f"`{name}`: {fault['msg'][:1].lower()}{fault['msg'][1:]} (got {shown})"


def _type_name(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    if "const" in schema:
        return json.dumps(schema["const"], ensure_ascii=False)
    if "anyOf" in schema:
        return " | ".join(_type_name(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"[{_type_name(schema.get('items', {}))}, …]"
    kind = schema.get("type", "object")
    return kind if isinstance(kind, str) else " | ".join(kind)


def _kind(value: Any) -> str:
    for kind, name in ((bool, "a boolean"), (str, "a string"), (list, "a list"), (dict, "an object")):
        if isinstance(value, kind):
            return name
    return "null" if value is None else "a number"
