"""`paysaga ops`: help sagas that need it, over the API. Exit 0: done. 1: refused. 2: it is not known yet.

Whoever acts proves it by an admin's token; in development one is made for whom `--as` names.
"""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cli.stack.errors import StackError

ops = typer.Typer(name="ops", help="Help sagas that need it: what operators do.", no_args_is_help=True)

_DEFAULT_DATA = Path(".paysaga")

_Operation = Annotated[str, typer.Argument(help="The operation's id, which is also its workflow's.")]
_Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever looks at it later.")]
_Approval = Annotated[str | None, typer.Option("--approval", help="The id of an approval; needed above a limit.")]
_Step = Annotated[str, typer.Option("--step", help="Which step's call to Stripe is in doubt: create_transfer.")]
_Object = Annotated[str, typer.Option("--object", help="What that call has made at Stripe: tr_….")]
_Key = Annotated[
    str | None, typer.Option("--key", help="The Idempotency-Key: that of an earlier try, to learn how it ended.")
]


class NotKnownYet(StackError):
    """The API could not be asked, or has not answered."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class _Place:
    """Which API is asked, and as whom, as far as that was said."""

    data: Path
    api: str | None
    token: str | None
    who: str

    def bearer(self) -> str:
        """The token that was given, or in development a fresh one. Raises `StackError`."""
        from cli.tokens import development_token

        return self.token or development_token(self.who, "admin", 300, self.data)

    def url(self) -> str:
        """Where the API is."""
        from cli.stack.data import DataDirectory

        known = {**DataDirectory(self.data).load_environment(), **os.environ}
        return (self.api or f"http://127.0.0.1:{known.get('PAYSAGA_API_PORT', '8000')}").rstrip("/")


@ops.callback()
def where(
    context: typer.Context,
    data: Annotated[Path, typer.Option("--data", help="A stack's directory, for its API and a token.")] = _DEFAULT_DATA,
    api: Annotated[str | None, typer.Option("--api", help="The API's URL; else that of the stack on --data.")] = None,
    token: Annotated[
        str | None, typer.Option("--token", envvar="PAYSAGA_TOKEN", help="An admin's bearer token.", show_envvar=True)
    ] = None,
    who: Annotated[str, typer.Option("--as", help="In development, without a token: who acts.")] = "operator",
) -> None:
    """Say which API is asked, and who asks."""
    context.obj = _Place(data, api, token, who)


@ops.command()
def retry(context: typer.Context, operation: _Operation, reason: _Reason, key: _Key = None) -> None:
    """Let a saga go on at once."""
    _act(context, f"operations/{operation}/retry", {"reason": reason}, key)


@ops.command()
def resume(context: typer.Context, operation: _Operation, reason: _Reason, key: _Key = None) -> None:
    """Start a saga again that was terminated or has failed."""
    _act(context, f"operations/{operation}/resume", {"reason": reason}, key)


@ops.command()
def adopt(
    context: typer.Context,
    operation: _Operation,
    step: _Step,
    stripe_id: _Object,
    reason: _Reason,
    approval: _Approval = None,
    key: _Key = None,
) -> None:
    """Take an object at Stripe for what a step's call in doubt has made."""
    what = {"reason": reason, "step": step, "stripe_id": stripe_id}
    _act(context, f"operations/{operation}/adopt", _approved(what, approval), key)


@ops.command()
def compensate(
    context: typer.Context, operation: _Operation, reason: _Reason, approval: _Approval = None, key: _Key = None
) -> None:
    """Give an operation up before its point of no return, and take back what was done."""
    _act(context, f"operations/{operation}/compensate", _approved({"reason": reason}, approval), key)


@ops.command()
def write_off(
    context: typer.Context, operation: _Operation, reason: _Reason, approval: _Approval = None, key: _Key = None
) -> None:
    """Give up what Stripe does not give back."""
    _act(context, f"operations/{operation}/write-off", _approved({"reason": reason}, approval), key)


@ops.command()
def ask(
    context: typer.Context,
    operation: _Operation,
    verb: Annotated[str, typer.Argument(help="adopt, compensate or write_off.")],
    reason: _Reason,
    step: Annotated[str | None, typer.Option("--step", help="To adopt: for which step.")] = None,
    stripe_id: Annotated[str | None, typer.Option("--object", help="To adopt: which object.")] = None,
    key: _Key = None,
) -> None:
    """Ask for an approval: for the Temporal UI, or above the limit."""
    named = {"step": step, "stripe_id": stripe_id}
    what = {"reason": reason, "verb": verb} | {name: value for name, value in named.items() if value is not None}
    _act(context, f"operations/{operation}/approvals", what, key)


@ops.command()
def approve(
    context: typer.Context,
    approval: Annotated[str, typer.Argument(help="The approval's id.")],
    reason: _Reason,
    key: _Key = None,
) -> None:
    """Agree to what another admin asks for."""
    _act(context, f"approvals/{approval}/approve", {"reason": reason}, key)


@ops.command()
def awaited(context: typer.Context) -> None:
    """List what awaits an approval."""
    _show(_call(context, "GET", "approvals"))


@ops.command()
def actions(context: typer.Context, operation: _Operation) -> None:
    """List what operators did to an operation, or were refused, and what they saw."""
    _show(_call(context, "GET", f"operations/{operation}/actions"))


def _approved(what: dict[str, str], approval: str | None) -> dict[str, str]:
    return what if approval is None else what | {"approval": approval}


def _act(context: typer.Context, path: str, what: dict[str, str], key: str | None) -> None:
    key = key or str(uuid.uuid4())
    try:
        answer = _call(context, "POST", path, what, key)
    except NotKnownYet as error:
        raise NotKnownYet(f"{error} Ask again with --key {key}: it is done once.") from error
    _show(answer)


def _call(
    context: typer.Context, method: str, path: str, what: dict[str, str] | None = None, key: str | None = None
) -> Any:
    """What the API answers. Raises `StackError` with what it refused, and `NotKnownYet`."""
    import httpx

    place: _Place = context.obj
    url, headers = place.url(), {"Authorization": f"Bearer {place.bearer()}"}
    if key is not None:
        headers["Idempotency-Key"] = key
    try:
        answer = httpx.request(method, f"{url}/v1/admin/{quote(path)}", json=what, headers=headers, timeout=60)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotKnownYet(f"The API at {url} did not answer ({type(error).__name__}).") from error
    if answer.status_code == 202:
        raise NotKnownYet("The saga has not answered yet.")
    if answer.status_code >= 500:
        raise NotKnownYet(f"The API cannot take it now (HTTP {answer.status_code}).")
    if not answer.headers.get("content-type", "").startswith(("application/json", "application/problem+json")):
        raise NotKnownYet(f"What answers at {url} is not Paysaga's API.")
    said = answer.json()
    if answer.is_error:
        raise StackError(f"{said['title']}: {said['detail']} {said['remedy']}")
    return said


def _show(said: Any) -> None:
    import json

    print(json.dumps(said, indent=2))
