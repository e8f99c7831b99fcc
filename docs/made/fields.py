"""The keys of a pydantic model as Markdown tables, from its JSON schema."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

_BOUNDS = (
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "over {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "under {}"),
)


def field_tables(model: type[BaseModel], *, mode: str = "validation", level: int = 2) -> str:
    """Return a table of the model's keys, then one for each model inside it under a heading of this level.

    mode: "validation" for what people write, "serialization" for what is printed.
    """
    schema = model.model_json_schema(mode="serialization" if mode == "serialization" else "validation")
    parts = [_table(schema)]
    for name, inner in sorted(schema.get("$defs", {}).items()):
        parts.append(f"{'#' * level} {name}\n\n{_plain(inner.get('description', ''))}\n\n{_table(inner)}")
    return "\n\n".join(parts) + "\n"


def _table(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return "One of " + ", ".join(f"`{json.dumps(value)}`" for value in schema["enum"]) + "."
    properties = schema.get("properties", {})
    if not properties:
        return "It has no keys." if schema.get("type") == "object" else f"A {_type(schema)}."
    required = set(schema.get("required", ()))
    rows = ["| key | value | left out | what it is |", "| --- | --- | --- | --- |"]
    for name, field in properties.items():
        default = "is an error" if name in required else _default(field)
        cells = (f"`{name}`", _type(field), default, _plain(field.get("description", "")))
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _type(field: dict[str, Any]) -> str:
    if reference := field.get("$ref"):
        name = reference.rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in field:
            kinds = [_type(one) for one in field[several] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    kind = field.get("type", "any value")
    if kind == "array":
        items = field.get("items") or {}
        return f"list of {_type(items)}" if items else "list"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"table of {_type(values)}" if isinstance(values, dict) and values else "table"
    words = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    bounds = [text.format(f"{field[key]:,}") for key, text in _BOUNDS if key in field]
    return ", ".join([words.get(kind, str(kind)), *bounds])


def _default(field: dict[str, Any]) -> str:
    if "default" not in field or field["default"] is None:
        return "nothing"
    text = json.dumps(field["default"], ensure_ascii=False)
    return f"`{text}`" if len(text) <= 60 else "its own defaults"


def _plain(text: str) -> str:
    """Return a description on one line that a table's cell can hold."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
