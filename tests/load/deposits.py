"""A deposit storm: everybody deposits, without a pause."""

from locust import task

from tests.load.marketplace import Acts


class Depositor(Acts):
    """One customer after another's card."""

    @task
    def pay(self) -> None:
        """One deposit, credited."""
        self.life("deposit credited", self.deposit)
