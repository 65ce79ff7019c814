"""Users and wallets: made on first use, once, whoever comes first."""

import pytest

from db import users
from tests.db.books import Books, at_once


async def test_many_first_uses_at_once_make_one_user_and_one_wallet(books: Books) -> None:
    wallets = await at_once(books.wallet("alice") for _ in range(20))

    assert len(set(wallets)) == 1
    assert await books.value("SELECT count(*) FROM users") == 1
    assert await books.value("SELECT count(*) FROM wallets") == 1


async def test_a_user_has_one_wallet_a_currency(books: Books) -> None:
    euros, dollars = await books.wallet(currency="eur"), await books.wallet(currency="usd")
    await books.wallet("bob")

    async with books.database.transaction() as connection:
        found = await users.wallets_of(connection, "alice")
        assert await users.wallet(connection, "wal_none") is None

    assert [(row["id"], row["currency"]) for row in found] == [(euros, "eur"), (dollars, "usd")]
    assert all(row["active"] and not row["frozen"] for row in found)


async def test_a_profile_is_replaced_and_the_users_reference_stays(books: Books) -> None:
    async with books.database.transaction() as connection:
        first = await users.ensure_user(connection, "alice")
        profile = {"email": "a@example.com", "name": "Alice", "country": "DE", "locale": "de", "channels": ["email"]}
        changed = await users.update_profile(connection, "alice", profile)
        erased = await users.update_profile(connection, "alice", dict.fromkeys(profile) | {"channels": []})

    assert first["reference"] == changed["reference"] == erased["reference"]
    assert {name: changed[name] for name in profile} == profile
    assert (erased["email"], erased["channels"]) == (None, [])


@pytest.mark.parametrize("country", ["de", "DEU", "D", "D1", "DE\n"])
async def test_a_country_is_two_capitals(books: Books, country: str) -> None:
    with pytest.raises(Exception, match="users_country_check"):
        async with books.database.transaction() as connection:
            await users.update_profile(connection, "alice", {"country": country})
