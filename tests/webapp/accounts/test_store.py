"""Account store: accounts, logins, locks, sessions and keys."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from argon2 import PasswordHasher

from engine.errors import EngineError
from engine.settings import Settings
from tests.raising import raises
from webapp.accounts import store as accounts_store
from webapp.accounts.middleware import SCOPE_KEY, find_user, require_role
from webapp.accounts.records import LOCAL, LoginLocked, Role, User
from webapp.accounts.store import IDLE, MAX_BY_ADDRESS, MAX_BY_NAME, SESSION, AccountStore
from webapp.database import FILE
from webapp.errors import WebCode

PASSWORD = "a sentence of mine"


class Clock:
    """Clock set by the test."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, time: timedelta) -> None:
        self.now += time


HASHER = accounts_store._HASHER


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use cheap hashes; the real ones take 64 MiB each."""
    monkeypatch.setattr(accounts_store, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def test_password_hash_is_expensive() -> None:
    """OWASP's minimum for argon2id: 19 MiB and two passes."""
    assert HASHER.type.name == "ID" and HASHER.memory_cost >= 19 * 1024 and HASHER.time_cost >= 2


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[AccountStore]:
    opened = AccountStore.open(Settings(tmp_path))
    opened._clock = clock
    opened.add("ada", PASSWORD, Role.ANALYST)
    yield opened
    opened.close()


def test_who_logs_in_is_known_by_the_token_until_logging_out(store: AccountStore) -> None:
    token = store.log_in(" Ada ", PASSWORD, "1.2.3.4")
    assert store.find_user(token) == User("ada", Role.ANALYST)
    assert store.find_user(token + "x") is None and store.find_user("") is None
    store.log_out(token)
    assert store.find_user(token) is None


def test_passwords_and_tokens_are_not_stored(store: AccountStore, tmp_path: Path) -> None:
    secrets = [PASSWORD, store.log_in("ada", PASSWORD, "198.51.100.7"), store.add_key("ada"), "198.51.100.7"]
    store.close()
    kept = b"".join(file.read_bytes() for file in tmp_path.glob(f"{FILE}*"))
    assert kept and not [one for one in secrets if one.encode() in kept]


def test_a_session_ends_when_idle_and_at_last_even_when_used(store: AccountStore, clock: Clock) -> None:
    idle = store.log_in("ada", PASSWORD, "a")
    clock.wait(IDLE)
    assert store.find_user(idle) is None
    token, begun = store.log_in("ada", PASSWORD, "a"), clock.now
    while clock.now - begun < SESSION - IDLE / 2:
        clock.wait(IDLE / 2)
        assert store.find_user(token) is not None
    clock.wait(IDLE / 2)
    assert store.find_user(token) is None


def test_five_bad_logins_lock_a_name_for_five_minutes_even_for_the_right_password(
    store: AccountStore, clock: Clock
) -> None:
    for _ in range(MAX_BY_NAME):
        with raises(WebCode.BAD_LOGIN):
            store.log_in("ada", "wrong", "a")
        clock.wait(timedelta(seconds=10))
    with pytest.raises(LoginLocked) as locked:
        store.log_in("ada", PASSWORD, "b")
    assert locked.value.retry_s == 250
    clock.wait(timedelta(seconds=locked.value.retry_s))
    assert store.log_in("ada", PASSWORD, "b")


def test_unknown_name_is_answered_and_locked_like_a_known_one(store: AccountStore) -> None:
    def attempt(name: str) -> list[tuple[str, str]]:
        result = []
        for _ in range(MAX_BY_NAME + 1):
            with raises(WebCode.BAD_LOGIN, LoginLocked.code) as error:
                store.log_in(name, "wrong", name)
            result.append((error.value.code, error.value.message))
        return result

    assert attempt("ada") == attempt("nobody")


def test_an_unknown_name_costs_a_hash_too(store: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    def verify(digest: str, password: str) -> bool:
        checked.append(digest)
        return False

    monkeypatch.setattr(accounts_store, "_verify", verify)
    for name in ("ada", "nobody"):
        with raises(WebCode.BAD_LOGIN):
            store.log_in(name, "wrong", "a")
    assert len(checked) == 2 and all(one.startswith("$argon2id$") for one in checked)


def test_many_names_from_one_address_lock_the_address_alone(store: AccountStore) -> None:
    for number in range(MAX_BY_ADDRESS):
        with raises(WebCode.BAD_LOGIN):
            store.log_in(f"guess{number}", "wrong", "a")
    with pytest.raises(LoginLocked):
        store.log_in("ada", PASSWORD, "a")
    assert store.log_in("ada", PASSWORD, "b")


def test_bad_logins_at_once_are_all_counted(store: AccountStore) -> None:
    def attempt(_: int) -> str:
        try:
            return store.log_in("ada", "wrong", "a")
        except EngineError as error:
            assert error.code in (WebCode.BAD_LOGIN, LoginLocked.code)
            return error.code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(attempt, range(8))) == ["BAD_LOGIN"] * 5 + ["LOGIN_LOCKED"] * 3


def test_a_good_login_clears_the_name(store: AccountStore) -> None:
    for _ in range(3):
        for _ in range(MAX_BY_NAME - 1):
            with raises(WebCode.BAD_LOGIN):
                store.log_in("ada", "wrong", "a")
        assert store.log_in("ada", PASSWORD, "a")


def test_a_new_password_and_a_closed_account_end_sessions_and_keys(store: AccountStore) -> None:
    token, key = store.log_in("ada", PASSWORD, "a"), store.add_key("ada")
    store.set_password("ada", "another sentence")
    assert store.find_user(token) is None and store.find_key_owner(key) == User("ada", Role.ANALYST)
    token = store.log_in("ada", "another sentence", "a")
    store.disable("ada")
    assert store.find_user(token) is None and store.find_key_owner(key) is None
    with raises(WebCode.BAD_LOGIN):
        store.log_in("ada", "another sentence", "a")
    store.disable("ada", False)
    assert store.find_key_owner(key) is not None
    assert store.delete_keys("ada") == 1 and store.find_key_owner(key) is None


def test_a_changed_role_counts_from_the_next_login(store: AccountStore) -> None:
    token = store.log_in("ada", PASSWORD, "a")
    store.set_role("ada", Role.VIEWER)
    assert store.find_user(token) is None
    assert store.find_user(store.log_in("ada", PASSWORD, "a")) == User("ada", Role.VIEWER)


@pytest.mark.parametrize("name", ["", "local", "two words", "../x", "a" * 65, "-a", "ä", "<b>"])
def test_a_name_that_cannot_be_one_is_refused(store: AccountStore, name: str) -> None:
    with raises(WebCode.BAD_ACCOUNT, match="not a valid account name"):
        store.add(name, PASSWORD, Role.VIEWER)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "bertha bertha!", "x" * 257])
def test_a_password_that_is_too_easy_is_refused(store: AccountStore, password: str) -> None:
    with raises(WebCode.BAD_ACCOUNT, match="password"):
        store.add("bertha", password, Role.VIEWER)


def test_a_name_is_given_out_once(store: AccountStore) -> None:
    with raises(WebCode.BAD_ACCOUNT, match="already"):
        store.add("ADA", PASSWORD, Role.ADMIN)
    with raises(WebCode.BAD_ACCOUNT, match="no account"):
        store.set_role("bob", Role.ADMIN)
    assert [(one.name, one.role, one.n_keys) for one in store.accounts()] == [("ada", Role.ANALYST, 0)]


def test_each_role_covers_those_before_it_and_no_more() -> None:
    order = list(Role)
    for held in order:
        may = [User("ada", held).may(wanted) for wanted in order]
        assert may == [order.index(wanted) <= order.index(held) for wanted in order]
    assert User("ada", Role.ENROLLER).owns("ada") and not User("ada", Role.ENROLLER).owns("bob")
    assert User("ada", Role.ADMIN).owns("bob")


def test_a_request_that_no_guard_saw_is_the_local_users() -> None:
    request = SimpleNamespace(scope={SCOPE_KEY: User("ada", Role.VIEWER)})
    assert find_user(request) == User("ada", Role.VIEWER)
    assert find_user(object()) == LOCAL and find_user(None) == LOCAL
    assert find_user(SimpleNamespace(request=request)) == User("ada", Role.VIEWER)
    assert find_user(SimpleNamespace(username="bob", request=None)) == User("bob", Role.VIEWER)


def test_what_a_role_does_not_reach_is_refused() -> None:
    request = SimpleNamespace(scope={SCOPE_KEY: User("ada", Role.ANALYST)})
    assert require_role(request, Role.VIEWER).name == "ada"
    with raises(WebCode.NOT_ALLOWED, match="needs the role enroller, and ada has analyst"):
        require_role(request, Role.ENROLLER)
