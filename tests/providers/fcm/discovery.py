"""Judges bodies of FCM v1 by Google's own discovery document.

Reads a JSON array of bodies and prints one line for each that Google would not take. The document
comes with the package google-api-python-client; what it says only in prose is added here.
"""

import json
import pathlib
import re
import sys

import googleapiclient.discovery_cache
import jsonschema

DOCUMENT = pathlib.Path(googleapiclient.discovery_cache.__file__).parent / "documents/fcm.v1.json"


def camel(name):
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def snake(name):
    return re.sub("[A-Z]", lambda match: "_" + match[0].lower(), name)


def converted(node):
    if "$ref" in node:
        return {"$ref": "#/$defs/" + node["$ref"]}
    if node.get("format") == "google-duration":
        return {"type": "string", "pattern": r"^-?\d+(\.\d{1,9})?s$"}
    if "enum" in node:
        return {"enum": node["enum"] + [word.lower() for word in node["enum"]]}
    kind = node.get("type")
    if kind == "array":
        return {"type": "array", "items": converted(node["items"])}
    if kind == "any":
        return {}
    if kind != "object":
        return {"type": kind}
    if "additionalProperties" in node:
        return {"type": "object", "additionalProperties": converted(node["additionalProperties"])}
    members = {}
    for name, member in node.get("properties", {}).items():
        members[camel(name)] = members[snake(name)] = converted(member)
    return {"type": "object", "properties": members, "additionalProperties": False}


def schema():
    schemas = json.loads(DOCUMENT.read_text())["schemas"]
    defs = {name: converted(node) for name, node in schemas.items()}
    targets = [{"required": [name]} for name in ("fid", "token", "topic", "condition")]
    defs["Message"]["oneOf"] = targets
    defs["Message"]["not"] = {
        "required": ["android"],
        "anyOf": [{"required": ["android_v2"]}, {"required": ["androidV2"]}],
    }
    call = dict(defs["SendMessageRequest"], required=["message"])
    return dict(call, **{"$defs": defs})


def main():
    validator = jsonschema.Draft202012Validator(schema())
    for body in json.load(sys.stdin):
        for error in validator.iter_errors(json.loads(body)):
            print(f"{error.json_path}: {error.message} in {body}")


main()
