"""Whether a schema still gives every consumer what a released one promised: within version 1 only additions."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_LIMITS = ("pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")


def narrowings(released: Schema, current: Schema, path: str = "") -> list[str]:
    """What the current schema takes away from the released one, as sentences; empty when it only adds."""
    found = _keywords(released, current, path)
    found += _types(released.get("type"), current.get("type"), path)
    old_properties, new_properties = released.get("properties", {}), current.get("properties", {})
    for name, schema in old_properties.items():
        where = f"{path}.{name}" if path else name
        if name not in new_properties:
            found.append(f"{where} was removed")
        else:
            found += narrowings(schema, new_properties[name], where)
    kept = set(released.get("required", []))
    found += [f"{path or 'the object'} no longer promises {name}" for name in kept - set(current.get("required", []))]
    added = set(current.get("required", [])) - kept
    found += [f"{path or 'the object'} now requires {name}, which older bodies lack" for name in sorted(added)]
    if isinstance(released.get("items"), dict):
        found += narrowings(released["items"], current.get("items", {}), f"{path}[]")
    return found


def _types(old: Any, new: Any, path: str) -> list[str]:
    if old is None or new is None:
        return [f"{path} must now be {new}"] if old is None and new is not None else []
    olds, news = ({kind} if isinstance(kind, str) else set(kind) for kind in (old, new))
    if "number" in news:
        news.add("integer")
    gone = olds - news
    return [f"{path} can no longer be {', '.join(sorted(gone))}"] if gone else []


def _keywords(released: Schema, current: Schema, path: str) -> list[str]:
    found = []
    old_values, new_values = _values(released), _values(current)
    if new_values is not None and (old_values is None or not old_values <= new_values):
        found.append(f"{path} allows fewer values")
    found += [
        f"{path} has another {word}" for word in _LIMITS if word in current and released.get(word) != current[word]
    ]
    if current.get("additionalProperties") is False and released.get("additionalProperties") is not False:
        found.append(f"{path} now refuses unknown fields")
    return found


def _values(schema: Schema) -> set[str] | None:
    if "const" in schema:
        return {repr(schema["const"])}
    return {repr(value) for value in schema["enum"]} if "enum" in schema else None
