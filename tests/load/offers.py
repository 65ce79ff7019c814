"""Offers: everybody offers a job to a contractor who does it at once."""

from locust import task

from tests.load.marketplace import Acts


class Buyer(Acts):
    """A customer and their contractor."""

    def on_start(self) -> None:
        """With money in the wallet."""
        super().on_start()
        self.deposit(1_000_000)

    @task
    def buy(self) -> None:
        """One offer, completed."""
        self.life("offer completed", self.offer)
