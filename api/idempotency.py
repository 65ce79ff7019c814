"""Idempotency-Key: what a client asked for, told apart from what it asked for before."""

import hashlib
import json
import re
from typing import Annotated

from fastapi import Depends, Header, Request

from api.auth import AnyCaller
from db.operations import Asked
from domain.errors import IdempotencyKeyMalformed, IdempotencyKeyMissing

VERSION = "1"
"""Of the fingerprint: raised if ever the same request should count as another one."""

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


async def _asked(
    request: Request,
    caller: AnyCaller,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="1 to 255 visible ASCII characters: a fresh UUID for each new intent, the same for each retry"
            " of it. Kept for good.",
            examples=["1f0c3f0e-6b0f-4c53-8a3e-0e6f2b7c9d11"],
        ),
    ] = None,
) -> Asked:
    if idempotency_key is None:
        raise IdempotencyKeyMissing("The request has no Idempotency-Key.")
    if len(request.headers.getlist("idempotency-key")) > 1:
        raise IdempotencyKeyMalformed("The request has more than one Idempotency-Key.")
    if not _KEY.fullmatch(idempotency_key):
        raise IdempotencyKeyMalformed("The Idempotency-Key is empty, too long or not visible ASCII.")
    canonical = json.dumps(await request.json(), sort_keys=True, separators=(",", ":"))
    said = "\n".join([VERSION, request.method, request.url.path, canonical])
    return Asked(caller=caller.id, key=idempotency_key, fingerprint=hashlib.sha256(said.encode()).hexdigest())


AskedOnce = Annotated[Asked, Depends(_asked)]
"""A POST's caller, key and fingerprint."""
