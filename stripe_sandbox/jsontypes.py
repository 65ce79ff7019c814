"""JSON as the sandbox holds it.

Stripe's objects stay plain dictionaries from the store to the wire. Their shapes are held by the tests, which validate
every answer against Stripe's OpenAPI document; a second, hand-written set of types would only drift from it.
"""

import json
from typing import Any

Json = dict[str, Any]

_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dumps(value: Any) -> str:
    """Compact JSON. Text stays UTF-8, as Stripe sends it."""
    return _encoder.encode(value)


def loads(text: str | bytes) -> Any:
    """The value of a JSON document."""
    return json.loads(text)
