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
    from referencing import Registry, Resource
except ImportError as missing:
    print(f"Python package missing: {missing.name}")
    sys.exit(77)


def main():
    folder, listing = map(pathlib.Path, sys.argv[1:3])
    schemas = {p.name.split(".")[0]: json.loads(p.read_text()) for p in sorted(folder.glob("*.schema.json"))}
    registry = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in schemas.values())
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    wrong = 0
    for line in listing.read_text().splitlines():
        kind, expected, path = line.split(" ", 2)
        validator = jsonschema.Draft202012Validator(schemas[kind], registry=registry)
        errors = list(validator.iter_errors(json.loads(pathlib.Path(path).read_text())))
        if bool(errors) == (expected == "valid"):
            wrong += 1
            print(f"{path}: expected to be a{'n' if expected == 'invalid' else ''} {expected} {kind}")
            for error in errors[:5]:
                print(f"  {error.json_path}: {error.message[:200]}")
    return 1 if wrong else 0


sys.exit(main())
