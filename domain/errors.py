"""Everything Paysaga refuses, one class a refusal.

    PaysagaError
    ├── MoneyError               an amount or currency that cannot be
    ├── FormError                the request is wrong, whatever the state: nothing is written
    │   ├── MalformedRequest     not JSON, not an object, a cursor or header that cannot be read
    │   ├── MethodNotAllowed, BodyTooLarge
    │   ├── IdempotencyKeyMissing, IdempotencyKeyMalformed, IdempotencyKeyReused
    │   └── InvalidField         a field's value; names the field
    ├── AccessError
    │   ├── Unauthenticated, Forbidden, NotTheParty, NotFound
    ├── StateRefusal             right in form, refused by the state of things: leaves a trace
    │   ├── WalletDeactivated, WalletFrozen, ReceivableOpen, NotWithdrawable
    │   ├── ProfileIncomplete, AccountExists, NoConnectedAccount, AccountNotAble, CurrencyNotHeld
    │   ├── NotCancelable, NotResumable, Compensated, WrittenOff
    │   ├── ApprovalNeeded, ApprovalRefused, VerbNotPossible, EvidenceAgainst, OutcomeUnknown
    │   ├── WrongState, MilestoneReleased, SplitMismatch
    ├── PaymentRefused           Stripe has certainly not done it
    │   ├── CardDeclined, AwaitingFunds, ActionRequired, PayoutFailed, ReversalShort
    ├── Unavailable              nothing was written, or it is unknown: repeat with the same key
    ├── WebhookRefused           not proven to come from Stripe
    └── LedgerError
        ├── UnbalancedPosting, PostingMismatch, InsufficientFunds

Each has a `code` that clients may rely on, and a `remedy`: what the reader can do about it.
"""

from typing import ClassVar


class PaysagaError(Exception):
    """The root. `detail` says what is wrong with this request, `remedy` what to do."""

    code: ClassVar[str] = "paysaga-error"
    title: ClassVar[str] = "Paysaga refused"
    remedy: str = "Read the detail."

    def __init__(self, detail: str, *, remedy: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if remedy is not None:
            self.remedy = remedy


class MoneyError(PaysagaError):
    """An amount or a currency that cannot be. Raised by `domain.money`."""

    code = "invalid-money"
    title = "Not an amount of money"
    remedy = "Send a whole number of minor units and a lower-case ISO 4217 code."


class FormError(PaysagaError):
    """The request is wrong whatever the state: nothing was written."""

    code = "invalid-request"
    title = "The request is not valid"


class MalformedRequest(FormError):
    """The request cannot be read at all."""

    code = "malformed-request"
    title = "The request cannot be read"
    remedy = "Send UTF-8 JSON with the media type application/json."


class MethodNotAllowed(FormError):
    """The path exists, but not for this method."""

    code = "method-not-allowed"
    title = "The method is not allowed here"
    remedy = "See the API's OpenAPI document for what the path takes."


class BodyTooLarge(FormError):
    """More bytes than any request needs."""

    code = "body-too-large"
    title = "The body is too large"
    remedy = "Send at most 1 MiB."


class IdempotencyKeyMissing(FormError):
    """A POST without its key."""

    code = "idempotency-key-missing"
    title = "Idempotency-Key is missing"
    remedy = "Send an Idempotency-Key header, a fresh UUID for each new intent and the same one for each retry of it."


class IdempotencyKeyMalformed(FormError):
    """A key that is empty, too long, or has characters outside visible ASCII."""

    code = "idempotency-key-malformed"
    title = "Idempotency-Key cannot be used"
    remedy = "Use 1 to 255 visible ASCII characters, such as a UUID."


class IdempotencyKeyReused(FormError):
    """The same key with another request."""

    code = "idempotency-key-reused"
    title = "Idempotency-Key was used for another request"
    remedy = "Send exactly the first request to see its result, or a fresh key for a new one."


class InvalidField(FormError):
    """The value of one field; `field` names it as the client wrote it."""

    code = "invalid-field"
    title = "A field is not valid"
    remedy = "Correct the field and send the request again; nothing was written."

    def __init__(self, field: str, detail: str, *, remedy: str | None = None) -> None:
        super().__init__(detail, remedy=remedy)
        self.field = field


class AccessError(PaysagaError):
    """Who asks may not."""


class Unauthenticated(AccessError):
    """No token, or one that proves nothing."""

    code = "unauthenticated"
    title = "Who asks is not known"
    remedy = "Send Authorization: Bearer with a valid token."


class Forbidden(AccessError):
    """The role may never do this."""

    code = "forbidden"
    title = "The role may not do this"
    remedy = "Ask with a token of a role that may."


class NotTheParty(AccessError):
    """The verb is another party's of the offer."""

    code = "not-the-party"
    title = "This is for another party to do"
    remedy = "Read the offer: its status says who can do what now."


class NotFound(AccessError):
    """It does not exist, or belongs to someone else: the answer is the same, so that ids cannot be probed."""

    code = "not-found"
    title = "Not found"
    remedy = "Check the id, and that the token belongs to its owner."


class StateRefusal(PaysagaError):
    """Right in form, refused by the state of things."""

    code = "refused"
    title = "The state does not allow it"


class WalletDeactivated(StateRefusal):
    """The wallet takes and gives no money."""

    code = "wallet-deactivated"
    title = "The wallet is deactivated"
    remedy = "Ask the marketplace's support to activate the wallet, then send the request with a fresh key."


class WalletFrozen(StateRefusal):
    """Nothing leaves the wallet until somebody has looked."""

    code = "wallet-frozen"
    title = "The wallet is frozen"
    remedy = "Ask the marketplace's support why, then send the request with a fresh key."


class ReceivableOpen(StateRefusal):
    """Its owner owes the platform money."""

    code = "receivable-open"
    title = "Money is owed to the platform"
    remedy = "What is earned next repays it; then send the request with a fresh key."


class NotWithdrawable(StateRefusal):
    """More than the wallet holds, or than may leave it now."""

    code = "not-withdrawable"
    title = "Not enough money"
    remedy = "Lower the amount, or wait until the wallet holds more; then send the request with a fresh key."


class ProfileIncomplete(StateRefusal):
    """The user's profile lacks what Stripe must be told."""

    code = "profile-incomplete"
    title = "The profile is incomplete"
    remedy = "Complete the profile by PUT /v1/me, then send the request with a fresh key."


class AccountExists(StateRefusal):
    """A user has one connected account."""

    code = "account-exists"
    title = "There is a connected account already"
    remedy = "Read it by GET /v1/connect/account; POST /v1/connect/account/link lets its owner go on."


class NoConnectedAccount(StateRefusal):
    """There is no account at Stripe to withdraw through."""

    code = "no-connected-account"
    title = "There is no connected account"
    remedy = "Make one by POST /v1/connect/account, and complete the form that it links to."


class AccountNotAble(StateRefusal):
    """The connected account cannot receive transfers or pay out."""

    code = "account-not-able"
    title = "The connected account cannot pay out"
    remedy = "POST /v1/connect/account/link and complete the form it links to; then send the request with a fresh key."


class CurrencyNotHeld(StateRefusal):
    """The connected account has no bank in the wallet's currency."""

    code = "currency-not-held"
    title = "The connected account does not hold this currency"
    remedy = "Add a bank account in this currency on the Express dashboard (POST /v1/connect/account/login-link)."


class NotResumable(StateRefusal):
    """The operation's saga is running, or has come to its end."""

    code = "not-resumable"
    title = "There is nothing to resume"
    remedy = "Read the operation: it is over, or its saga is at work."


class Compensated(StateRefusal):
    """The step was given up, and what came before it taken back: it must never be done any more."""

    code = "compensated"
    title = "The operation was taken back"
    remedy = "Start a new operation with a fresh key."


class WrittenOff(StateRefusal):
    """What Stripe did not give back was given up: it is the account owner's."""

    code = "written-off"
    title = "The rest was written off"
    remedy = "Read the operation: it says how much came back. The rest is on the owner's account at Stripe."


class ApprovalNeeded(StateRefusal):
    """Nobody who has proved who they are has agreed to the act, or not two people."""

    code = "approval-needed"
    title = "An approval is needed"
    remedy = "Ask for one by POST /v1/admin/operations/<id>/approvals, have another admin approve it, and name its id."


class ApprovalRefused(StateRefusal):
    """The approval does not exist, is for another act, is not given yet, or was used."""

    code = "approval-refused"
    title = "The approval does not hold"
    remedy = "Ask for an approval of exactly this act by POST /v1/admin/operations/<id>/approvals."


class VerbNotPossible(StateRefusal):
    """The operation is not in a state for the operator's verb."""

    code = "verb-not-possible"
    title = "The operation's state does not allow the verb"
    remedy = "Read the operation: its steps and calls say where it stands."


class EvidenceAgainst(StateRefusal):
    """What Stripe and the ledger say speaks against the operator's act."""

    code = "evidence-against"
    title = "The evidence speaks against it"
    remedy = "Compare the operation's calls with Stripe's Dashboard, then send what fits with a fresh key."


class OutcomeUnknown(StateRefusal):
    """A call to Stripe may have been done: nothing is taken back before that is known."""

    code = "outcome-unknown"
    title = "It is not known whether Stripe has done it"
    remedy = "Ask again after the time that the detail says; or adopt what the call has made."


class NotCancelable(StateRefusal):
    """The operation is past its point of no return, or over."""

    code = "not-cancelable"
    title = "Too late to cancel"
    remedy = "Read the operation: its status says what became of it."


class WrongState(StateRefusal):
    """The offer's status does not allow the verb."""

    code = "wrong-state"
    title = "The offer's state does not allow it"
    remedy = "Read the offer: its status says what can be done now."


class MilestoneReleased(StateRefusal):
    """The milestone was released before, or the offer has no such milestone."""

    code = "milestone-released"
    title = "The milestone cannot be released"
    remedy = "Read the offer: it lists its milestones, and when each was released."


class SplitMismatch(StateRefusal):
    """The shares of a contested offer are not all that is left."""

    code = "split-mismatch"
    title = "The shares do not add up"
    remedy = "Send two shares that add up to what the offer says is left."


class PaymentRefused(PaysagaError):
    """Stripe has certainly not done it, and asking again would not change that."""

    code = "payment-refused"
    title = "Stripe refused the payment"
    remedy = "Check the payment's details, then start a new operation with a fresh key."


class CardDeclined(PaymentRefused):
    """The card's issuer declined."""

    code = "card-declined"
    title = "The card was declined"
    remedy = "Use another card, or ask the card's bank, then start a new operation with a fresh key."


class AwaitingFunds(PaymentRefused):
    """The platform's own balance at Stripe was short or still pending for too long."""

    code = "awaiting-funds"
    title = "The platform's funds did not arrive"
    remedy = "Start a new operation with a fresh key later, or ask the marketplace's support."


class ActionRequired(PaymentRefused):
    """Stripe refuses until the connected account's owner does something."""

    code = "action-required"
    title = "The connected account's owner has to act"
    remedy = "POST /v1/connect/account/link and complete the form it links to; then start again with a fresh key."


class PayoutFailed(PaymentRefused):
    """The bank did not take the money, at once or days later."""

    code = "payout-failed"
    title = "The bank did not take the money"
    remedy = "Correct the bank account on the Express dashboard, then start a new withdrawal with a fresh key."


class ReversalShort(PaymentRefused):
    """The connected account does not hold what is to be taken back."""

    code = "reversal-short"
    title = "The connected account does not hold enough to be taken back"
    remedy = "What it holds is taken back as it comes; an operator may settle the rest with its owner."


class Unavailable(PaysagaError):
    """Nothing was written, or whether it was is unknown."""

    code = "unavailable"
    title = "Cannot take the request now"
    remedy = "Send the same request with the same Idempotency-Key again after Retry-After seconds."


class WebhookRefused(PaysagaError):
    """The delivery is not proven to come from Stripe."""

    code = "webhook-refused"
    title = "The webhook was not accepted"
    remedy = "Check the endpoint's signing secret and the server's clock; Stripe will deliver again."


class LedgerError(PaysagaError):
    """A posting that must not be."""


class UnbalancedPosting(LedgerError):
    """Fewer than two entries, an entry of zero, or a sum other than zero in a currency."""

    code = "unbalanced-posting"
    title = "The posting does not balance"


class PostingMismatch(LedgerError):
    """The step was posted before with other content: a bug, never to be retried."""

    code = "posting-mismatch"
    title = "The step was posted with other content"


class InsufficientFunds(LedgerError):
    """The posting would leave an account negative that must never be."""

    code = "insufficient-funds"
    title = "Not enough money"
    remedy = "Lower the amount, or wait until the wallet holds more."
