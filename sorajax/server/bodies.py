"""Bodies of requests: JSON, or multipart/form-data whose names may have brackets, as in video[id] or between[]."""

import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from sorajax.server.failures import ApiError, invalid

MOST_FIELDS = 1000
MOST_JSON = 64 * 2**20
DEEPEST = 6
PART = re.compile(r"\[([^\[\]]*)\]")
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The request's body. Raises ApiError, which names the field at fault."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):
        try:
            form = await request.form(max_files=MOST_FIELDS, max_fields=MOST_FIELDS, max_part_size=MOST_JSON)
        except (HTTPException, ValueError, AssertionError, KeyError) as error:
            detail = getattr(error, "detail", None) or str(error)
            raise invalid(f"the form cannot be read ({detail}): send multipart/form-data") from error
        values = nested(form.multi_items())
    elif kind in ("application/json", ""):
        try:
            values = json.loads(await request.body() or b"{}", parse_constant=no_constant)
        except (ValueError, RecursionError) as error:
            raise invalid(f"the body is not JSON ({error})") from error
    else:
        raise ApiError(415, f"the body is {kind[:60]}: send application/json or multipart/form-data")
    return checked(values, model)


def read_message(text: str, model: type[Model]) -> Model:
    """A message of a WebSocket, JSON. Raises ApiError, which names the field at fault."""
    try:
        values = json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the message is not JSON ({error})") from error
    return checked(values, model)


def checked(values: Any, model: type[Model]) -> Model:
    """A request of these values. Raises ApiError, which names the field at fault."""
    if not isinstance(values, dict):
        raise invalid("the body is not a JSON object: send {...}")
    check_text(values)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise from_validation(error) from error
    except RecursionError as error:
        raise invalid("the body is nested too deeply") from error


def check_text(value: Any, name: str = "") -> None:
    """Raises ApiError for text that no database stores: with a zero byte or half a character."""
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise invalid(f"{name[:80] or 'the body'} has a zero byte or is not UTF-8: send text", name[:80] or None)
    if isinstance(value, dict):
        for key, inner in value.items():
            check_text(key, "the body")
            check_text(inner, name or key)
    if isinstance(value, list):
        for inner in value:
            check_text(inner, name)


def no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def from_validation(error: ValidationError) -> ApiError:
    """The first mistake that pydantic found."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = [str(part) for part in first["loc"] if not (isinstance(part, str) and re.search(r"\W", part))]
    param = ".".join(place) or None
    if first["type"] == "extra_forbidden":
        return invalid(f"'{(param or '')[:80]}' is not a field of this request", (param or "")[:80], "unknown_field")
    if first["type"] == "missing":
        return invalid(f"{param} is missing: give it", param, "missing_field")
    text = first["msg"].removeprefix("Value error, ")
    return invalid(f"{param}: {text[0].lower()}{text[1:]}, not {short(first['input'])}", param, "invalid_value")


def short(value: Any) -> str:
    """A value in an error, cut to a few words."""
    text = "a file" if isinstance(value, UploadFile) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def nested(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The object that the names of a form describe: `a[b]` is a field of a, `a[]` or a repeated name a list's entry.

    Entries of a list of objects, as in `a[][b]`, begin anew where a field comes again. Raises ApiError.
    """
    found: dict[str, Any] = {}
    for name, value in items:
        first, parts = name.partition("[")[0], PART.findall(name)
        if not first or len(parts) > DEEPEST or first + "".join(f"[{part}]" for part in parts) != name:
            raise invalid(f"'{name[:80]}' is not the name of a field", name[:80], "unknown_field")
        put(found, [first, *parts], value, name)
    return found


def put(target: dict[str, Any], parts: list[str], value: Any, name: str) -> None:
    """Sets one field of a nested object."""
    key, rest = parts[0], parts[1:]
    clash = invalid(f"'{name[:80]}' is given twice, or as different kinds", name[:80])
    if not rest:
        if key not in target:
            target[key] = value
        elif isinstance(target[key], dict):
            raise clash
        else:
            target[key] = [*(target[key] if isinstance(target[key], list) else [target[key]]), value]
        return
    if rest[0] == "" or rest[0].isdecimal():
        entries = target.setdefault(key, [])
        if not isinstance(entries, list):
            raise clash
        if len(rest) == 1:
            entries.append(value)
            return
        new = not entries or not isinstance(entries[-1], dict) or (len(rest) == 2 and rest[1] in entries[-1])
        if rest[0].isdecimal():
            new = int(rest[0]) >= len(entries)
        if new:
            entries.append({})
        entry = entries[-1] if rest[0] == "" or new else entries[int(rest[0])]
        if not isinstance(entry, dict):
            raise clash
        put(entry, rest[1:], value, name)
        return
    inner = target.setdefault(key, {})
    if not isinstance(inner, dict):
        raise clash
    put(inner, rest, value, name)
