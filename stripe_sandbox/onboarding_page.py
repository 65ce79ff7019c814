"""The pages that Stripe hosts for the owners of connected accounts: onboarding, and the Express dashboard.

No API key: the token in the link opens them. An onboarding link opens once; what follows happens in a session of its
own, so that reloading the link leads to the platform's refresh URL, as at Stripe. Coming back to the return URL does
not mean that the onboarding is complete: the owner may have left it for later.
"""

import hmac
from html import escape
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox import banks
from stripe_sandbox.connect_control import give_bank
from stripe_sandbox.control import Control
from stripe_sandbox.errors import StripeError
from stripe_sandbox.ids import random_text
from stripe_sandbox.money import written
from stripe_sandbox.resources import account_state
from stripe_sandbox.resources.balance import balance
from stripe_sandbox.store import Scope, Store, Stored

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 15vh auto; padding: 0 1rem; color: #1a1f36 }}
button, select {{ font: inherit; padding: .6rem 1.2rem; border-radius: .4rem; border: 1px solid #c1c9d2 }}
button {{ background: #fff }}
button.primary {{ background: #4f46e5; border-color: #4f46e5; color: #fff }}
label {{ display: block; margin-bottom: 1rem }}
</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
"""

_FORM = """<p>Stripe sandbox: onboard <strong>{account}</strong>.</p>
<form method="post" action="{action}">
<label>Bank account <select name="account_number">{options}</select></label>
<button class="primary" name="outcome" value="complete">Complete</button>
<button name="outcome" value="leave">Continue later</button>
</form>"""

_CHOICES = ("000123456789", "000111111116", "000111111113")
"""The test banks that the page offers."""


class OnboardingPage:
    """The pages and their buttons."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store = store
        self._control = control

    def routes(self) -> list[Route]:
        """A link is opened by GET; the session that it starts ends by POST."""
        return [
            Route("/_sandbox/onboarding/{id}", self.open, methods=["GET"]),
            Route("/_sandbox/onboarding/{id}/session", self.finish, methods=["POST"]),
            Route("/_sandbox/express/{id}", self.dashboard, methods=["GET"]),
        ]

    async def open(self, request: Request) -> Response:
        """Open a link: the form, or where a used or expired link leads back to."""
        found = self._find(request, "account_link", "token")
        if found is None:
            return _html("Onboarding", "<p>This link is not valid.</p>", 404)
        scope, link, account = found
        expired = link.body["expires_at"] <= self._store.clock(scope.platform)
        if expired or link.private["used"] or account.deleted:
            return RedirectResponse(link.private["refresh_url"], 303)
        session = random_text(32)
        link.private |= {"used": True, "session": session}
        self._store.save(link)
        action = f"/_sandbox/onboarding/{link.id}/session?{urlencode({'session': session})}"
        options = "".join(f'<option value="{number}">{number} ({_ending(number)})</option>' for number in _CHOICES)
        form = _FORM.format(account=escape(_name(account)), action=escape(action), options=options)
        return _html("Onboarding", form)

    async def finish(self, request: Request) -> Response:
        """Take what the owner typed, or let them leave; either way they go back to the platform."""
        found = self._find(request, "account_link", "session")
        if found is None or found[2].deleted:
            return _html("Onboarding", "<p>This session has ended.</p>", 404)
        scope, link, account = found
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        outcome, number = form.get("outcome", [""])[0], form.get("account_number", [_CHOICES[0]])[0]
        if outcome not in ("complete", "leave") or banks.by_number(number) is None:
            return _html("Onboarding", "<p>Choose a test bank account and one of the buttons.</p>", 400)
        try:
            with self._store.transaction():
                link.private["session"] = None
                self._store.save(link)
                if outcome == "complete":
                    unit = self._control.unit(scope, request)
                    give_bank(unit, account, {"account_number": number})
                    account_state.submit(unit, account)
        except StripeError as error:
            return _html("Onboarding", f"<p>{escape(error.message)}</p>", 400)
        self._control.wake()
        return RedirectResponse(link.private["return_url"], 303)

    async def dashboard(self, request: Request) -> Response:
        """What a login link opens: the owner's balance."""
        found = self._find(request, "login_link", "token")
        if found is None or found[2].deleted:
            return _html("Express dashboard", "<p>This link is not valid.</p>", 404)
        scope, _, account = found
        held = balance(self._control.unit(Scope(scope.platform, account.id), request))["available"]
        amounts = ", ".join(escape(written(each["amount"], each["currency"])) for each in held)
        return _html("Express dashboard", f"<p>{escape(_name(account))}: {amounts} available.</p>")

    def _find(self, request: Request, kind: str, secret: str) -> tuple[Scope, Stored, Stored] | None:
        """The link in the path if the query has its secret, where it is, and the account that it is for."""
        given = request.query_params.get(secret, "")
        row = self._store.db.execute(
            "SELECT platform, account FROM objects WHERE kind = ? AND id = ?", (kind, request.path_params["id"])
        ).fetchone()
        if row is None:
            return None
        scope = Scope(row["platform"], row["account"])
        link = self._store.find(scope, request.path_params["id"])
        expected = None if link is None else link.private[secret]
        if link is None or expected is None or not hmac.compare_digest(expected.encode(), given.encode()):
            return None
        account = self._store.find(scope, link.private["account"])
        return None if account is None else (scope, link, account)


def _name(account: Stored) -> str:
    return account.body["email"] or account.id


def _ending(number: str) -> str:
    bank = banks.by_number(number)
    return "payouts arrive" if bank is None or bank.failure is None else f"payouts fail: {bank.failure}"


def _html(title: str, content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(title=title, content=content), status)
