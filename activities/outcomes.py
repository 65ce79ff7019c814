"""How an activity that did not get through tells its saga why. Nothing else crosses that border.

refused   certainly not done: the saga decides what follows. Not retried.
parked    something is wrong that time will not mend: an operator has to look. Not retried by itself.
anything else   not known, or not now: retried, first quickly, then patiently, for ever.
"""

from temporalio.exceptions import ActivityError, ApplicationError

from domain.operations import Failure

REFUSED = "refused"
PARKED = "parked"
NOT_NOW = "not_now"
IN_DOUBT = "in_doubt"


def refused(failure: Failure) -> ApplicationError:
    """It has certainly not happened, and `failure` says why."""
    return ApplicationError(failure.detail, failure, type=REFUSED, non_retryable=True)


def parked(failure: Failure) -> ApplicationError:
    """It must not go on before somebody has looked; `failure` says at what."""
    return ApplicationError(failure.detail, failure, type=PARKED, non_retryable=True)


def not_now(detail: str) -> ApplicationError:
    """It has not happened yet, and may the next time."""
    return ApplicationError(detail, type=NOT_NOW)


def in_doubt(detail: str) -> ApplicationError:
    """It may have happened."""
    return ApplicationError(detail, type=IN_DOUBT)


def why(error: ActivityError) -> tuple[Failure, str]:
    """What an activity that did not get through says, and which of these it is."""
    cause = error.cause
    if not isinstance(cause, ApplicationError):
        return Failure(code="no-answer", detail="The step's worker did not answer in time."), IN_DOUBT
    kind = cause.type or IN_DOUBT
    if kind in (REFUSED, PARKED):
        return Failure.model_validate(cause.details[0]), kind
    return Failure(code=kind.replace("_", "-"), detail=cause.message), kind
