"""What Postgres can keep as `jsonb`."""

import math
import re
from typing import Any

DEEPEST = 32
"""Levels of nesting. Nothing that we or Stripe send comes near it."""

_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
"""What Postgres keeps in no text: NUL, and halves of a character."""


def unstorable(value: Any, *, numbers: bool = True) -> str | None:
    """Why Postgres could not keep parsed JSON as `jsonb`; None if it could. `numbers`: whether to look at those too."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and _NO_TEXT.search(one):
                return "holds a NUL character or an unpaired surrogate"
            elif numbers and isinstance(one, float) and not math.isfinite(one):
                return "holds a number that is not finite"
        if not inner:
            return None
        level = inner
    return f"is nested deeper than {DEEPEST} levels"
