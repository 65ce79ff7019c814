"""The bank's page: where a cardholder's browser is sent to complete or fail 3-D Secure.

No API key: the token in the URL, handed out in `next_action`, is what opens it, as at Stripe.
"""

import hmac
from html import escape
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from stripe_sandbox.control import Control
from stripe_sandbox.errors import StripeError
from stripe_sandbox.money import written
from stripe_sandbox.resources.payment_flow import finish_authentication
from stripe_sandbox.store import Scope, Store, Stored

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>3-D Secure test page</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 15vh auto; padding: 0 1rem; color: #1a1f36 }}
button {{ font: inherit; padding: .6rem 1.2rem; border-radius: .4rem; border: 1px solid #c1c9d2; background: #fff }}
button.primary {{ background: #4f46e5; border-color: #4f46e5; color: #fff }}
</style>
</head>
<body>
<h1>3-D Secure</h1>
{content}
</body>
</html>
"""

_FORM = """<p>Stripe sandbox: authenticate a payment of <strong>{amount}</strong>?</p>
<form method="post">
<button class="primary" name="outcome" value="succeed">Complete</button>
<button name="outcome" value="fail">Fail</button>
</form>"""


class ThreeDSecurePage:
    """The page and its two buttons."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store = store
        self._control = control

    def routes(self) -> list[Route]:
        """GET shows the buttons, POST is one of them."""
        return [Route("/_sandbox/3ds/{id}", self.page, methods=["GET", "POST"])]

    async def page(self, request: Request) -> Response:
        """Show the page, or take the cardholder's choice and send them back."""
        found = self._find(request.path_params["id"], request.query_params.get("token", ""))
        if found is None:
            return _html("<p>This payment awaits no authentication.</p>", 404)
        scope, intent = found
        if request.method == "GET":
            amount = escape(written(intent.body["amount"], intent.body["currency"]))
            return _html(_FORM.format(amount=amount))
        outcome = parse_qs((await request.body()).decode("utf-8", "replace")).get("outcome", [""])[0]
        if outcome not in ("succeed", "fail"):
            return _html("<p>Choose one of the buttons.</p>", 400)
        return self._finish(request, scope, intent, passed=outcome == "succeed")

    def _finish(self, request: Request, scope: Scope, intent: Stored, *, passed: bool) -> Response:
        succeeded = passed
        try:
            self._control.act_on_intent(
                scope, request, lambda unit, stored: finish_authentication(unit, stored, passed=passed)
            )
        except StripeError as error:
            if not error.commits:
                raise
            succeeded = False
        return_url = intent.private["return_url"]
        if return_url is None:
            return _html(f"<p>{'Authenticated' if succeeded else 'Not authenticated'}. You can close this page.</p>")
        query = urlencode(
            {
                "payment_intent": intent.id,
                "payment_intent_client_secret": intent.body["client_secret"],
                "redirect_status": "succeeded" if succeeded else "failed",
            }
        )
        return RedirectResponse(f"{return_url}{'&' if '?' in return_url else '?'}{query}", 303)

    def _find(self, intent_id: str, token: str) -> tuple[Scope, Stored] | None:
        """The intent that awaits authentication under this token."""
        row = self._store.db.execute(
            "SELECT platform, account FROM objects WHERE kind = 'payment_intent' AND id = ?", (intent_id,)
        ).fetchone()
        if row is None:
            return None
        scope = Scope(row["platform"], row["account"])
        intent = self._store.find(scope, intent_id)
        expected = None if intent is None else intent.private["three_d_secure_token"]
        if intent is None or expected is None or not hmac.compare_digest(expected.encode(), token.encode()):
            return None
        return scope, intent


def _html(content: str, status: int = 200) -> Response:
    return HTMLResponse(_PAGE.format(content=content), status)
