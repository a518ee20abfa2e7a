"""The OpenAPI description of bodies that are read as JSON or as a form, and a page that shows it all."""

from html import escape
from typing import Any

from pydantic.json_schema import models_json_schema

from sorajax.server.fields import Fields

MODELS: dict[str, type[Fields]] = {}
PLACE = "#/components/schemas/"
ERROR = {
    "description": "An error, which names the field.",
    "content": {"application/json": {"schema": {"$ref": f"{PLACE}Error"}}},
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def body_of(model: type[Fields]) -> dict[str, Any]:
    """The description of a body that `bodies.read_body` reads."""
    MODELS[model.__name__] = model
    schema, form = {"$ref": f"{PLACE}{model.__name__}"}, {"$ref": f"{PLACE}{model.__name__}Form"}
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def complete(description: dict[str, Any]) -> dict[str, Any]:
    """Adds the bodies' schemas and the errors to FastAPI's description."""
    kinds: Any = [(model, "validation") for model in MODELS.values()]
    _, found = models_json_schema(kinds, ref_template=PLACE + "{model}")
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    schemas |= found.get("$defs", {})
    for name in MODELS:
        schemas[f"{name}Form"] = with_files(schemas[name])
    schemas["Error"] = ERROR_SCHEMA
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for operations in description["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["4XX"] = ERROR
            operation["responses"]["5XX"] = ERROR
    return description


def with_files(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the same fields in a form, where a reference may be a file."""
    file = {"type": "string", "format": "binary"}

    def changed(part: Any) -> Any:
        if isinstance(part, dict):
            if part.get("$ref") == f"{PLACE}Reference":
                return {"anyOf": [file, part]}
            return {name: changed(value) for name, value in part.items()}
        return [changed(value) for value in part] if isinstance(part, list) else part

    made: dict[str, Any] = changed(schema)
    return made


def page(description: dict[str, Any]) -> str:
    """The description as a page, which loads nothing from other hosts."""
    parts = [f"<h1>{escape(description['info']['title'])}</h1><p>{escape(description['info']['description'])}</p>"]
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', ''))}</p>")
            content = operation.get("requestBody", {}).get("content", {})
            reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
            schema = description["components"]["schemas"].get(reference.removeprefix(PLACE), {})
            rows = [
                f"<tr><td><code>{escape(name)}</code></td><td>{escape(value.get('description', ''))}</td></tr>"
                for name, value in schema.get("properties", {}).items()
            ]
            parts.append(f"<table>{''.join(rows)}</table>")
    style = "body{font:16px sans-serif;max-width:60em;margin:2em auto}td{padding:.1em 1em .1em 0;vertical-align:top}"
    return f"<!doctype html><meta charset=utf-8><title>API</title><style>{style}</style>{''.join(parts)}"
