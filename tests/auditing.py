"""The audit as the last line of any test: whatever went wrong in it, the books must be right."""

from activities.audit import Audit, Report
from activities.stripe_client import open_client
from activities.stripe_reads import StripeReads
from tests.world import World


async def audited(world: World) -> Report:
    """Every invariant, held against this world."""
    settings = world.settings
    async with open_client(
        settings.stripe_secret_key.get_secret_value(),
        base=settings.stripe_api_base,
        timeout=settings.pacing.http_timeout,
    ) as client:
        return await Audit(settings, StripeReads(client), world.temporal).run()


async def assert_clean(world: World) -> None:
    """Fail, with a table of what was found, unless every invariant holds in this world."""
    report = await audited(world)
    table = "\n".join(
        f"{found.invariant:<28} {found.where}: {found.what} (look at: {found.look_at})" for found in report.violations
    )
    assert not report.total, f"audit: {report.total} violations\n{table}"
