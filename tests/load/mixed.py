"""A day at the marketplace: people look often, offer now and then, deposit rarely, and think in between."""

from locust import between, task

from tests.load.marketplace import Acts


class Visitor(Acts):
    """Somebody at their screen."""

    wait_time = between(0.2, 1.0)  # type: ignore[no-untyped-call, unused-ignore]  # Locust leaves it unannotated.

    def on_start(self) -> None:
        """With money in the wallet."""
        super().on_start()
        self.deposit(1_000_000)

    @task(20)
    def see(self) -> None:
        """Their wallets."""
        self.look()

    @task(3)
    def buy(self) -> None:
        """One offer, completed."""
        self.life("offer completed", self.offer)

    @task(1)
    def pay(self) -> None:
        """One deposit, credited."""
        self.life("deposit credited", self.deposit)
