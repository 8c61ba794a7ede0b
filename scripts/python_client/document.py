"""From openapi.json to schemas that a generator of models turns into good Python.

The document describes what the API sends. A client needs it a little differently: what is absent has a value (None or
an empty list), `allOf` with a single schema is that schema, and the routes of the original application are left out.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

PREFIX = "#/components/schemas/"
# What the client reads; other schemas come along where these use them.
READ = ("Task", "TaskList", "Problem", "TaskProblem", "Batch", "BatchList", "BatchProblem", "ModelList")
# The parameters of a submission, which are the client's keyword arguments.
SUBMIT = ("/v1/tasks", "post")
LIST = ("/v1/tasks", "get")
# Where Python has a better type than the query's text: the client writes the text.
PARAMETER_TYPES: dict[str, Schema] = {"metadata": {"type": "object", "additionalProperties": True}}
# What an absent value means; of other types, that there is none.
DEFAULTS: dict[str, Schema] = {"array": {"default": []}, "boolean": {"default": False}}
# A page is the client's business.
PAGING = ("cursor",)


def models(document: Schema) -> Schema:
    """The schemas of all that the client reads, as a document of their own."""
    schemas = document["components"]["schemas"]
    used = {name: read_schema(schemas[name]) for name in reachable(schemas, READ)}
    return as_document(document, used)


def parameters(document: Schema) -> Schema:
    """The schemas of the parameters that a submission and a list may have."""
    query = {
        "SubmitParameters": parameters_of(document, SUBMIT, "How a picture is to be processed.", PARAMETER_TYPES),
        "ListParameters": parameters_of(document, LIST, "Which tasks to list.", {}),
    }
    needed = reachable(document["components"]["schemas"], referenced(query))
    return as_document(document, query | {name: document["components"]["schemas"][name] for name in needed})


def as_document(document: Schema, schemas: Schema) -> Schema:
    return {"openapi": "3.0.0", "info": document["info"], "paths": {}, "components": {"schemas": schemas}}


def parameters_of(document: Schema, route: tuple[str, str], described: str, types: Schema) -> Schema:
    """An object schema with the query parameters of a route as its properties."""
    path, method = route
    query = [one for one in document["paths"][path][method]["parameters"] if one["in"] == "query"]
    properties = {
        one["name"]: with_description(types.get(one["name"], one["schema"]), one["description"])
        for one in query
        if one["name"] not in PAGING
    }
    return {"type": "object", "description": described, "properties": properties}


def with_description(schema: Schema, description: str) -> Schema:
    if "$ref" in schema:
        return {"allOf": [schema], "description": description}
    # Limits are the API's to check: it names the one that is exceeded.
    kept = {key: value for key, value in schema.items() if key in ("type", "items", "format", "additionalProperties")}
    if kept.get("format") != "date-time":
        kept.pop("format", None)
    return {**kept, "description": description}


def read_schema(schema: Schema) -> Schema:
    """A schema as the client reads it."""
    required = schema.get("required", [])
    read = {key: value for key, value in schema.items() if key not in ("example", "title")}
    if "properties" in schema:
        read["properties"] = {
            name: read_property(of, is_required=name in required) for name, of in schema["properties"].items()
        }
    return read


def read_property(schema: Schema, *, is_required: bool) -> Schema:
    read = dict(schema)
    if "allOf" in read:
        # A reference, and beside it the description that the property has as well.
        read["allOf"] = [one for one in read["allOf"] if "$ref" in one]
    # Python's integers have no width.
    if str(read.get("format", "")).startswith("uint"):
        del read["format"]
    if not is_required:
        read |= DEFAULTS.get(str(read.get("type")), {"nullable": True, "default": None})
    return read


def referenced(schema: Any) -> set[str]:
    """The names of the schemas that a schema uses."""
    if isinstance(schema, list):
        return set().union(*map(referenced, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].removeprefix(PREFIX)} if "$ref" in schema else set()
    return own.union(*(referenced(value) for key, value in schema.items() if key != "example"))


def reachable(schemas: Schema, roots: Any) -> list[str]:
    """`roots` and all that they use, in the document's order."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += referenced(schemas[name])
    return [name for name in schemas if name in found]
