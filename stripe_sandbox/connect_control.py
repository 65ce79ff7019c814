"""The control API for Connect: what the owners of connected accounts, their banks and Stripe itself do.

An account or a payout is named by its id alone; the platform's key says whose it is.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from stripe_sandbox import money, params
from stripe_sandbox.banks import FAILURE_MESSAGES
from stripe_sandbox.control import Control, Handler, body_fields, json_body
from stripe_sandbox.errors import resource_missing
from stripe_sandbox.events import publish
from stripe_sandbox.jsontypes import Json
from stripe_sandbox.resources import account_state, payout_flow
from stripe_sandbox.resources.accounts import SCHEDULE, merged_payouts
from stripe_sandbox.resources.balance import adjust, balance
from stripe_sandbox.resources.bank_accounts import all_banks
from stripe_sandbox.resources.external_accounts import take_external_account
from stripe_sandbox.store import Scope, Store, Stored
from stripe_sandbox.unit import Unit

DISABLED = ("card_payments", "payouts", "transfers")
"""What a restriction can disable."""


_BANK = dict.fromkeys(("account_number", "country", "currency", "routing_number"), (str,))


class ConnectControl:
    """The handlers. Each acts in one transaction and answers the object that it changed."""

    def __init__(self, store: Store, control: Control) -> None:
        self._store = store
        self._control = control

    def routes(self) -> list[Route]:
        """Every control path of Connect."""
        table: list[tuple[str, Handler]] = [
            ("/accounts/{id}/complete_onboarding", self.complete_onboarding),
            ("/accounts/{id}/bank_account", self.change_bank),
            ("/accounts/{id}/restrict", self.restrict),
            ("/accounts/{id}/lift_restriction", self.lift_restriction),
            ("/accounts/{id}/deauthorize", self.deauthorize),
            ("/accounts/{id}/payout_schedule", self.payout_schedule),
            ("/accounts/{id}/adjust_balance", self.adjust_account),
            ("/adjust_balance", self.adjust_platform),
            ("/payouts/{id}/send", self._on_payout(payout_flow.send)),
            ("/payouts/{id}/pay", self._on_payout(payout_flow.pay)),
            ("/payouts/{id}/cancel", self._on_payout(payout_flow.cancel)),
            ("/payouts/{id}/fail", self.fail_payout),
        ]
        endpoint = self._control.endpoint
        return [Route("/_sandbox" + path, endpoint(handler), methods=["POST"]) for path, handler in table]

    # ── Accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def complete_onboarding(self, request: Request, scope: Scope) -> Json:
        """The owner gives all details, a bank account among them; account_number null gives none."""
        given = await body_fields(request, **{**_BANK, "account_number": (str, type(None))})

        def act(unit: Unit, account: Stored) -> None:
            has_bank = bool(all_banks(unit.at(account.id)))
            if given.get("account_number") is not None or ("account_number" not in given and not has_bank):
                give_bank(unit, account, given)
            account_state.submit(unit, account)

        return self._on_account(request, scope, act)

    async def change_bank(self, request: Request, scope: Scope) -> Json:
        """The owner adds a bank account, which becomes the default of its currency; also for the platform's own."""
        given = await body_fields(request, **_BANK)

        def act(unit: Unit, account: Stored) -> None:
            give_bank(unit, account, given)
            account_state.refresh(unit, account)

        return self._on_account(request, scope, act)

    async def restrict(self, request: Request, scope: Scope) -> Json:
        """Stripe wants `requirements` and disables parts (by default transfers and payouts) until it has them."""
        given = await body_fields(
            request,
            requirements=(list,),
            pending_verification=(list,),
            disable=(list,),
            disabled_reason=(str,),
            current_deadline=(int,),
        )
        restriction = {"requirements": [], "pending_verification": [], "disable": ["payouts", "transfers"], **given}
        for name in ("requirements", "pending_verification", "disable"):
            if not all(isinstance(each, str) for each in restriction[name]):
                raise ValueError(f"{name} must be names")
        if not set(restriction["disable"]) <= set(DISABLED):
            raise ValueError(f"disable must be some of {', '.join(DISABLED)}")
        return self._on_account(
            request, scope, lambda unit, account: account_state.restrict(unit, account, restriction)
        )

    async def lift_restriction(self, request: Request, scope: Scope) -> Json:
        """Stripe has what it wanted."""
        await body_fields(request)
        return self._on_account(request, scope, lambda unit, account: account_state.restrict(unit, account, None))

    async def deauthorize(self, request: Request, scope: Scope) -> Json:
        """The owner withdraws the platform's access. Answers the account as it last was."""
        await body_fields(request)
        return self._on_account(request, scope, account_state.disconnect)

    async def payout_schedule(self, request: Request, scope: Scope) -> Json:
        """The owner, or Stripe, changes the payout schedule: {interval, …} as in `settings[payouts][schedule]`."""
        given = await json_body(request)
        schedule = params.validate({name: str(value) for name, value in given.items()}, SCHEDULE)

        def act(unit: Unit, account: Stored) -> None:
            payouts = merged_payouts(account, {"schedule": schedule})
            account_state.refresh(unit, account, settings={**account.body["settings"], "payouts": payouts})

        return self._on_account(request, scope, act)

    def _on_account(self, request: Request, scope: Scope, act: Callable[[Unit, Stored], None]) -> Json:
        with self._store.transaction():
            unit = self._control.unit(Scope(scope.platform, scope.platform), request)
            account = account_state.reachable(unit, request.path_params["id"])
            act(unit, account)
        return account.body

    # ── Balances ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def adjust_account(self, request: Request, scope: Scope) -> Json:
        """Add minor units, or take them (amount below zero), by an `adjustment`. Answers the account's balance."""
        return await self._adjust(request, Scope(scope.platform, request.path_params["id"]))

    async def adjust_platform(self, request: Request, scope: Scope) -> Json:
        """The same with the platform's own balance."""
        return await self._adjust(request, Scope(scope.platform, scope.platform))

    async def _adjust(self, request: Request, where: Scope) -> Json:
        given = await body_fields(request, amount=(int,), currency=(str,), description=(str,))
        amount = given.get("amount", 0)
        if not amount:
            raise ValueError("amount must be a whole number of minor units, and not 0")
        currency = money.currency("currency", given.get("currency", "usd"))
        with self._store.transaction():
            unit = self._control.unit(where, request)
            account_state.reachable(unit.platform, where.account)
            adjust(unit, amount, currency, given.get("description"))
            return balance(unit)

    # ── Payouts ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def fail_payout(self, request: Request, scope: Scope) -> Json:
        """The bank refuses a payout with `failure_code`; one that was paid already fails late."""
        given = await body_fields(request, failure_code=(str,))
        code = given.get("failure_code", "could_not_process")
        if code not in FAILURE_MESSAGES:
            raise ValueError(f"failure_code must be one of {', '.join(sorted(FAILURE_MESSAGES))}")
        return self._act_on_payout(request, scope, lambda unit, payout: payout_flow.fail(unit, payout, code))

    def _on_payout(self, act: Callable[[Unit, Stored], None]) -> Callable[[Request, Scope], Awaitable[Any]]:
        async def handler(request: Request, scope: Scope) -> Json:
            await body_fields(request)
            return self._act_on_payout(request, scope, act)

        return handler

    def _act_on_payout(self, request: Request, scope: Scope, act: Callable[[Unit, Stored], None]) -> Json:
        payout_id = request.path_params["id"]
        with self._store.transaction():
            found = self._store.locate(scope, payout_id)
            if found is None or found[1].kind != "payout":
                raise resource_missing("payout", payout_id, "payout", in_path=True)
            where, payout = found
            act(self._control.unit(where, request), payout)
        return payout.body


def give_bank(unit: Unit, account: Stored, given: Json) -> None:
    """Add the bank account that an owner typed; what is left out is the account's, and payouts to it succeed."""
    described = {
        "account_number": given.get("account_number") or account_state.DEFAULT_BANK,
        "country": given.get("country", account.body["country"]),
        "currency": money.currency("currency", given.get("currency", account.body["default_currency"])),
        **{name: given[name] for name in ("routing_number",) if name in given},
    }
    there = unit.at(account.id)
    bank = take_external_account(there, described, "bank_account", default=True)
    publish(there, "account.external_account.created", bank.body)
