"""What the list in the Temporal UI can be filtered by."""

from temporalio.common import SearchAttributeKey

KIND = SearchAttributeKey.for_keyword("PaysagaKind")
STATUS = SearchAttributeKey.for_keyword("PaysagaStatus")
WALLETS = SearchAttributeKey.for_keyword_list("PaysagaWallets")
NEEDS_ATTENTION = SearchAttributeKey.for_bool("PaysagaNeedsAttention")

ALL = (KIND, STATUS, WALLETS, NEEDS_ATTENTION)
"""To be registered in every Temporal namespace: a worker that sets one which is not fails its workflow tasks."""
