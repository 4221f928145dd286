#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks documents against the published JSON Schemas.

usage: check_schemas.py SCHEMA_FOLDER LIST
Every line of LIST is "KIND EXPECTED PATH": the document at PATH must (EXPECTED "valid") or must not
("invalid") satisfy KIND.schema.json. Exit 0 fine, 1 a difference, 77 the jsonschema package is missing.
"""
import json
import pathlib
import sys

try:
    import jsonschema
except ImportError as missing:
    print(f"Python package missing: {missing.name}")
    sys.exit(77)
try:
    from referencing import Registry, Resource
except ImportError:  # jsonschema before 4.18, Debian 12's among them, resolves references by itself
    Registry = None


def validator_of(schema, schemas):
    """A validator that finds the other schemas by their $id, and nothing anywhere else."""
    if Registry is None:
        store = {each["$id"]: each for each in schemas}
        resolver = jsonschema.RefResolver.from_schema(schema, store=store)
        return jsonschema.Draft202012Validator(schema, resolver=resolver)
    registry = Registry().with_resources((each["$id"], Resource.from_contents(each)) for each in schemas)
    return jsonschema.Draft202012Validator(schema, registry=registry)


def main():
    folder, listing = map(pathlib.Path, sys.argv[1:3])
    schemas = {p.name.split(".")[0]: json.loads(p.read_text()) for p in sorted(folder.glob("*.schema.json"))}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    wrong = 0
    for line in listing.read_text().splitlines():
        kind, expected, path = line.split(" ", 2)
        validator = validator_of(schemas[kind], list(schemas.values()))
        errors = list(validator.iter_errors(json.loads(pathlib.Path(path).read_text())))
        if bool(errors) == (expected == "valid"):
            wrong += 1
            print(f"{path}: expected to be a{'n' if expected == 'invalid' else ''} {expected} {kind}")
            for error in errors[:5]:
                print(f"  {error.json_path}: {error.message[:200]}")
    return 1 if wrong else 0


sys.exit(main())
