"""Users and wallets: made on first use, once, whoever comes first."""

import pytest
from asyncpg.exceptions import CheckViolationError
from sqlalchemy.exc import IntegrityError

from db import users
from db.operations import Asked
from domain.errors import IdempotencyKeyReused
from tests.db.books import Books, at_once, meanwhile


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


# ── What admins do to wallets ──

ASKED = Asked(caller="olga", key="key-1", fingerprint="freeze of bob's")


async def act(books: Books, wallet: str, verb: str = "freeze", asked: Asked = ASKED) -> bool:
    """Whether it is done now, rather than before: as the API does it."""
    async with books.database.transaction() as connection:
        await users.locked_wallet(connection, wallet)
        if await users.earlier_wallet_action(connection, asked):
            return False
        await users.act_on_wallet(connection, asked, wallet, verb, "looks odd")
        return True


async def flags(books: Books, wallet: str) -> tuple[bool, bool]:
    """Active, and frozen."""
    async with books.database.transaction() as connection:
        row = await users.locked_wallet(connection, wallet)
    return row["active"], row["frozen"]


async def test_a_verb_sets_its_flag_and_leaves_the_other(books: Books) -> None:
    bob, alice = await books.wallet("bob"), await books.wallet("alice")
    story = []

    for number, verb in enumerate(["freeze", "deactivate", "unfreeze", "activate", "activate"]):
        await act(books, bob, verb, Asked("olga", f"key-{number}", verb))
        story.append(await flags(books, bob))

    assert story == [(True, True), (False, True), (False, False), (True, False), (True, False)]
    assert await flags(books, alice) == (True, False)
    actions = await books.sql(
        "SELECT verb, seen ->> 'active', seen ->> 'frozen' FROM wallet_actions WHERE actor = 'olga'"
        " AND wallet_id = $1 AND reason = 'looks odd' ORDER BY created_at",
        bob,
    )
    assert [tuple(action) for action in actions] == [
        ("freeze", "true", "false"),
        ("deactivate", "true", "true"),
        ("unfreeze", "false", "true"),
        ("activate", "false", "false"),
        ("activate", "true", "false"),
    ], "what they saw, and not what they made of it"


async def test_every_verb_that_is_known_is_one_that_is_kept(books: Books) -> None:
    bob = await books.wallet("bob")
    for verb in users.WALLET_VERBS:
        assert await act(books, bob, verb, Asked("olga", verb, verb))

    async with books.as_app() as app:
        with pytest.raises(CheckViolationError, match="wallet_actions_verb_check"):
            await app.execute(
                "INSERT INTO wallet_actions VALUES ('olga', 'k', 'f', $1, 'burn', 'looks odd', '{}')", bob
            )


async def test_the_same_act_is_done_once_however_often_it_is_asked_for(books: Books) -> None:
    bob = await books.wallet("bob")

    done = await at_once(act(books, bob) for _ in range(10))

    assert sorted(done) == [False] * 9 + [True]
    assert await flags(books, bob) == (True, True)
    await act(books, bob, "unfreeze", Asked("olga", "key-2", "unfreeze of bob's"))
    assert not await act(books, bob)
    assert await flags(books, bob) == (True, False), "asked for again, it does not freeze again"


async def test_a_key_stands_for_one_act_of_one_admin(books: Books) -> None:
    bob, alice = await books.wallet("bob"), await books.wallet("alice")
    await act(books, bob)

    for wallet, verb in ((bob, "unfreeze"), (alice, "freeze")):
        with pytest.raises(IdempotencyKeyReused):
            await act(books, wallet, verb, Asked("olga", "key-1", f"{verb} of another"))
    assert await act(books, alice, "freeze", Asked("otto", "key-1", "freeze of alice's"))

    assert (await flags(books, bob), await flags(books, alice)) == ((True, True), (True, True))
    assert await books.value("SELECT count(*) FROM wallet_actions") == 2


async def test_two_acts_with_one_key_on_two_wallets_at_once_are_not_both_done(books: Books) -> None:
    """Each holds another wallet's lock, so neither sees the other: then the key itself holds."""
    bob, alice = await books.wallet("bob"), await books.wallet("alice")

    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, ASKED, bob, "freeze", "looks odd")
        async with meanwhile(act(books, alice, asked=Asked("olga", "key-1", "freeze of alice's"))) as other:
            await books.until_somebody_waits()
            await connection.commit()

    assert isinstance(other.exception(), IntegrityError)
    assert await flags(books, alice) == (True, False)


async def test_an_act_that_was_not_committed_left_the_wallet_as_it_was(books: Books) -> None:
    bob = await books.wallet("bob")

    async with books.database.transaction() as connection:
        await users.act_on_wallet(connection, ASKED, bob, "freeze", "looks odd")
        await connection.rollback()

    assert await flags(books, bob) == (True, False)
    assert await act(books, bob)
