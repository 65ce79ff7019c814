"""The chapters in the order in which they are told. A new one is a module here and a line in `ALL`."""

from typing import Protocol

from cli.demo.chapters import (
    awaiting_funds,
    contested,
    declined_card,
    escrow,
    lost_webhook,
    milestones,
    sent_back,
    silence,
    three_d_secure,
    to_the_bank,
)
from cli.demo.story import Story


class ChapterModule(Protocol):
    """What a chapter's module has."""

    TITLE: str

    async def tell(self, story: Story) -> None:
        """Acts, says what happens, and declares what must be so."""


ALL: tuple[ChapterModule, ...] = (
    three_d_secure,
    declined_card,
    lost_webhook,
    to_the_bank,
    sent_back,
    awaiting_funds,
    escrow,
    milestones,
    silence,
    contested,
)
