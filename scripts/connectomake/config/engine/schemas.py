"""Write what follows from the models: JSON schemas for editors, and the table of keys in config/README.md.

Also puts the line into the YAML files of config/ by which an editor finds the schema, where it is not there.

    cd scripts && python -m connectomake.config.engine.schemas

A test fails, and names this command, where a model and what was written from it differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from connectomake.config.engine.experiment import Experiment, RunConfig
from connectomake.config.stages import STAGES

BEGIN = "<!-- keys: written by `cd scripts && python -m connectomake.config.engine.schemas` -->"
END = "<!-- end of keys -->"

Row = tuple[str, ...]

_UNITS = {"nm": "nm", "vx": "voxels", "s": "seconds", "min": "minutes", "mb": "MB", "gb": "GB"}
_BASE = {"type": "string", "description": "preset of this stage that this one changes; it holds only what differs"}
_SWEEP = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"type": "array", "minItems": 1},
    "description": "values to try: key -> list of values; several keys give every combination",
}


def documents(root: Path) -> dict[Path, str]:
    """Return every file that follows from the models, with what it should hold.

    Parameters
    ----------
    root
        The project: the folder that holds config/ and workflow/.

    Returns
    -------
    dict
        File -> text. Of config/README.md all but the table is what is there now, of a YAML file all but its first line.
    """
    schemas = {stage: preset_schema(model) for stage, model in STAGES.items()}
    schemas |= {"experiment": _tidy(Experiment.model_json_schema()), "config": _tidy(RunConfig.model_json_schema())}
    texts = {
        root / f"workflow/schemas/{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    readme = root / "config/README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    texts[readme] = f"{before}{BEGIN}\n\n{key_tables()}\n{END}{after}"
    return texts | {file: _with_schema(file, root) for file in (root / "config").rglob("*.yaml")}


def _with_schema(file: Path, root: Path) -> str:
    """Return a YAML file's text, its first line naming the schema that it follows."""
    kind = {"config": "config", "experiments": "experiment"}.get(file.parent.name, file.parent.name)
    up = "../" * len(file.parent.relative_to(root).parts)
    line = f"# yaml-language-server: $schema={up}workflow/schemas/{kind}.schema.json\n"
    text = file.read_text(encoding="utf-8")
    return line + (text.partition("\n")[2] if text.startswith("# yaml-language-server:") else text)


def preset_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of a stage's preset files: any part of the model, and `base` and `sweep`."""
    schema = _tidy(model.model_json_schema(), partial=True)
    schema["properties"] = {"base": _BASE, "sweep": _SWEEP} | schema.get("properties", {})
    return schema


def key_tables() -> str:
    """Write every key of every kind of config file as Markdown tables: key, unit, values, default, meaning."""
    kinds: list[tuple[str, str, type[BaseModel]]] = [
        ("config.yaml", "`config/config.yaml`, `--configfile` and `--config`", RunConfig),
        ("experiments", "`config/experiments/*.yaml`", Experiment),
    ]
    kinds += [(stage, f"`config/{stage}/*.yaml`", model) for stage, model in STAGES.items()]
    return "\n".join(_table(*kind) for kind in kinds)


def _table(title: str, files: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    lines = [
        f"### {title}",
        "",
        f"{files}.",
        "",
        "| key | unit | values | default | meaning |",
        "|---|---|---|---|---|",
    ]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _rows(schema, schema, "")]
    return "\n".join(lines) + "\n"


def _tidy(schema: Any, partial: bool = False) -> Any:
    """Drop the titles that pydantic makes up, and for partial files whatever asks for a key to be there."""
    if isinstance(schema, list):
        return [_tidy(item, partial) for item in schema]
    if not isinstance(schema, dict):
        return schema
    drop = {"title", "required", "discriminator"} if partial else {"title"}
    tidy = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):  # names of the user's, not words of JSON schema
            tidy[key] = {name: _tidy(inner, partial) for name, inner in value.items()}
        elif key == "default":
            tidy[key] = value
        elif key not in drop:
            tidy["anyOf" if partial and key == "oneOf" else key] = _tidy(value, partial)
    return tidy


def _rows(model: dict[str, Any], root: dict[str, Any], prefix: str, given: Any = None) -> Iterator[Row]:
    """Walk through the keys of a model, into the models inside it; `given` are defaults that the outer model sets."""
    for name, field in model.get("properties", {}).items():
        schema = _resolve(field, root)
        key = f"{prefix}{name}"
        default = given[name] if isinstance(given, dict) and name in given else schema.get("default", ...)
        if "properties" not in schema:
            shown = _default(schema, default, name in model.get("required", []))
            yield f"`{key}`", _unit(name), _values(schema, root), shown, schema.get("description", "")
        inner = _models_inside(schema, root, key)
        rows = [list(_rows(one, root, inside, default if len(inner) == 1 else None)) for one, inside in inner]
        shared = [row for row in rows[0] if all(row in other for other in rows)] if rows else []
        yield from shared
        for (one, _), own in zip(inner, rows, strict=True):
            yield from ((*row[:-1], f"{_kind(one)}{row[-1]}") for row in own if row not in shared)


def _models_inside(schema: dict[str, Any], root: dict[str, Any], key: str) -> list[tuple[dict[str, Any], str]]:
    """Return the models that a key may hold, in a union, a list or a free mapping too, with their prefix."""
    found = []
    for member in [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        for part, inside in (
            (member, "."),
            (member.get("items"), "[]."),
            (member.get("additionalProperties"), ".NAME."),
        ):
            model = _resolve(part, root) if isinstance(part, dict) else {}
            if "properties" in model:
                found.append((model, f"{key}{inside}"))
    return found


def _kind(model: dict[str, Any]) -> str:
    """Return by which constant a member of a union is told from the others."""
    return "".join(f"({name}: {one['const']}) " for name, one in model["properties"].items() if "const" in one)


def _resolve(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """Put what a $ref points to in its place; what is written beside the $ref is stronger."""
    if "$ref" not in schema:
        return schema
    target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    return {**_resolve(target, root), **{key: value for key, value in schema.items() if key != "$ref"}}


def _unit(name: str) -> str:
    """Read the unit, and the order of axes, off the name of a key."""
    unit = _UNITS.get(name.rpartition("_")[2], "") if "_" in name else ""
    return " ".join(part for part in (unit, "(z, y, x)" if "_zyx" in name else "") if part)


def _default(schema: dict[str, Any], default: Any, required: bool) -> str:
    if default is ...:
        return "required" if required else f"`{'[]' if schema.get('type') == 'array' else '{}'}`"  # a default_factory
    return f"`{default}`" if isinstance(default, str) and default else f"`{json.dumps(default)}`"


def _values(schema: dict[str, Any], root: dict[str, Any]) -> str:
    """Describe in words what a JSON schema allows."""
    schema = _resolve(schema, root)
    members = schema.get("anyOf", schema.get("oneOf"))
    if members:
        return " or ".join(dict.fromkeys(_values(member, root) for member in members))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return _array(schema, root)
    if kind in ("integer", "number"):
        return " ".join(("integer" if kind == "integer" else "number", *_limits(schema))).strip()
    if kind == "object":
        return "names and their keys" if isinstance(schema.get("additionalProperties"), dict) else "keys"
    return {"boolean": "`true`, `false`", "string": "text", "null": "`null`"}.get(str(kind), "anything")


def _array(schema: dict[str, Any], root: dict[str, Any]) -> str:
    fixed = [_values(item, root) for item in schema.get("prefixItems", [])]
    if fixed and len(set(fixed)) == 1:
        return f"[{len(fixed)} x {fixed[0]}]"
    if fixed:
        return f"[{', '.join(fixed)}]"
    return f"list of {_values(schema.get('items', {}), root)}"


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    words = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[word]:g}" for word, sign in words.items() if word in schema]
    if limits:
        yield ", ".join(limits)


def main() -> None:
    """Write the files beside the package."""
    for path, text in documents(Path(__file__).resolve().parents[4]).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
