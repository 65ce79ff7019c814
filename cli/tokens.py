"""Development tokens: what an identity provider issues elsewhere."""

import os
import time
from pathlib import Path

import jwt

from cli.stack.data import DataDirectory
from cli.stack.errors import BadSettings, StackError
from domain.settings import Mode, Settings


def development_token(user: str, role: str, ttl: int, data: Path) -> str:
    """A JWT (HS256) of `user` in `role`, valid for `ttl` seconds.

    Its key is `PAYSAGA_JWT_SECRET`, else that of the stack on the directory `data`. Raises `StackError` in every
    mode but development.
    """
    variables = {**DataDirectory(data).load_environment(), **os.environ}
    mode = variables.get("PAYSAGA_MODE", Mode.DEVELOPMENT)
    if mode != Mode.DEVELOPMENT:
        raise StackError(
            f"Tokens are made here in development only, and PAYSAGA_MODE is {mode}: ask your identity provider,"
            " whose key is PAYSAGA_JWT_PUBLIC_KEY."
        )
    secret = variables.get("PAYSAGA_JWT_SECRET")
    if not secret:
        raise StackError(
            f"There is no key to sign with: set PAYSAGA_JWT_SECRET, or name with --data the directory of a stack"
            f" that `paysaga up` has started ({data} is none)."
        )
    if len(secret) < 32:
        raise BadSettings("PAYSAGA_JWT_SECRET needs at least 32 characters.")
    now = int(time.time())
    claims = {
        "sub": user,
        "role": role,
        "iss": variables.get("PAYSAGA_JWT_ISSUER", Settings.model_fields["jwt_issuer"].default),
        "aud": variables.get("PAYSAGA_JWT_AUDIENCE", Settings.model_fields["jwt_audience"].default),
        "iat": now,
        "exp": now + ttl,
    }
    return jwt.encode(claims, secret, algorithm="HS256")
