"""Where the server listens, by which names it goes, and whether somebody has to log in."""

import ipaddress
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from webapp.errors import WebCode

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """How the app can be reached.

    WAYSPEAK_HOSTS: by which names, comma-separated; where accounts are on and it is empty, by any.
    WAYSPEAK_LOCAL_ONLY=1: the operator says that an address which looks public can be reached from this machine alone,
    as inside a container that is published on 127.0.0.1.
    """

    host: str  # that is listened on
    has_accounts: bool
    hosts: frozenset[str] = frozenset()
    is_local_only: bool = False

    @classmethod
    def from_env(cls, host: str, has_users: bool) -> "HostPolicy":
        """Accounts are on where WAYSPEAK_ACCOUNTS=1, or there is one; PUBLIC_WITHOUT_ACCOUNTS where they must be."""
        names = os.environ.get("WAYSPEAK_HOSTS", "")
        doors = cls(
            host=host,
            has_accounts=has_users or os.environ.get("WAYSPEAK_ACCOUNTS") == "1",
            hosts=frozenset(name.strip().lower() for name in names.split(",") if name.strip()),
            is_local_only=os.environ.get("WAYSPEAK_LOCAL_ONLY") == "1",
        )
        doors.refuse_public()
        return doors

    def refuse_public(self) -> None:
        """PUBLIC_WITHOUT_ACCOUNTS where others could come in and nobody would have to log in."""
        if not (is_loopback(self.host) or self.has_accounts or self.is_local_only):
            raise WebCode.PUBLIC_WITHOUT_ACCOUNTS(
                f"{self.host} can be reached from other machines, and there are no accounts.",
                "Make one first: wayspeak users add NAME --role admin. Or listen on 127.0.0.1. Where a container is "
                "published on 127.0.0.1 alone, say so: WAYSPEAK_LOCAL_ONLY=1.",
            )

    def knows(self, host_header: str) -> bool:
        """Tell whether a Host header names this server: another one may be a stranger's name for this address."""
        name = _read_name(host_header)
        if name is None:
            return False
        if name in LOOPBACK_NAMES or name in self.hosts:
            return True
        return self.has_accounts and not self.hosts  # a session's cookie is bound to the name it was given under


def is_loopback(host: str) -> bool:
    """Tell whether what listens there can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_same_origin(origin: str, host_header: str) -> bool:
    """Tell whether an Origin header is of the page that this server gave, whatever gateway stands between."""
    try:
        return urlsplit(origin).netloc.lower() == host_header.lower() != ""
    except ValueError:
        return False


def _read_name(host_header: str) -> str | None:
    try:
        return urlsplit(f"//{host_header}").hostname
    except ValueError:
        return None
