"""The address that the server binds, the host names that it accepts, and whether a login is required."""

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from webapp.errors import WebCode

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Where the app can be reached.

    WAYSPEAK_HOSTS lists the accepted host names, comma-separated; if it is empty and accounts are on, any is accepted.

    WAYSPEAK_LOCAL_ONLY=1 states that a seemingly public address can be reached from this machine only, as in a
    container that is published on 127.0.0.1.
    """

    host: str  # bind address
    has_accounts: bool
    hosts: frozenset[str] = frozenset()
    is_local_only: bool = False

    @classmethod
    def from_env(cls, host: str, has_users: bool) -> "HostPolicy":
        """Turn accounts on if WAYSPEAK_ACCOUNTS=1 or a user exists; raise PUBLIC_WITHOUT_ACCOUNTS if required."""
        names = os.environ.get("WAYSPEAK_HOSTS", "")
        policy = cls(
            host=host,
            has_accounts=has_users or os.environ.get("WAYSPEAK_ACCOUNTS") == "1",
            hosts=frozenset(name.strip().lower() for name in names.split(",") if name.strip()),
            is_local_only=os.environ.get("WAYSPEAK_LOCAL_ONLY") == "1",
        )
        policy.refuse_public()
        return policy

    def refuse_public(self) -> None:
        """Raise PUBLIC_WITHOUT_ACCOUNTS if other machines could connect without a login."""
        if not (is_loopback(self.host) or self.has_accounts or self.is_local_only):
            raise WebCode.PUBLIC_WITHOUT_ACCOUNTS(
                f"{self.host} can be reached from other machines, and there are no accounts.",
                "Create one: wayspeak users add NAME --role admin. Or bind 127.0.0.1. For a container published "
                "on 127.0.0.1 only, set WAYSPEAK_LOCAL_ONLY=1.",
            )

    def knows(self, host_header: str) -> bool:
        """Return whether a Host header names this server; another name may be DNS rebinding."""
        name = _read_name(host_header)
        if name is None:
            return False
        if name in LOOPBACK_NAMES or name in self.hosts:
            return True
        return self.has_accounts and not self.hosts  # a session cookie is bound to the host name that set it


def is_loopback(host: str) -> bool:
    """Return whether the address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_same_origin(origin: str, host_header: str) -> bool:
    """Return whether an Origin header belongs to this server's page, also behind a reverse proxy."""
    try:
        return urlsplit(origin).netloc.lower() == host_header.lower() != ""
    except ValueError:
        return False


def _read_name(host_header: str) -> str | None:
    try:
        return urlsplit(f"//{host_header}").hostname
    except ValueError:
        return None
