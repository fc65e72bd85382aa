"""Policy of the URLs and addresses to fetch from, stricter than that of the `ipaddress` module.

`ipaddress` counts as global some metadata services of clouds, multicast, and addresses that embed another address. Here
only a public host on a web port is accepted.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import idna

from engine.errors import Code

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

WEB_PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 4096
WANTED = "Wanted is the address of a page or a file that anybody can open, beginning with http:// or https://."

REFUSED_NETWORKS = tuple(
    (ipaddress.ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier, or a cloud's metadata"),  # 100.100.100.200 is a cloud's
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata"),
        ("169.254.0.0/16", "link-local, or a cloud's metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols, or a cloud's metadata"),  # 192.0.0.192 is a cloud's
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4 in a compatible form"),
        ("::ffff:0:0/96", "IPv4 in a mapped form"),
        ("::ffff:0:0:0/96", "IPv4 in a translated form"),
        ("64:ff9b::/96", "IPv4 behind NAT64"),
        ("64:ff9b:1::/48", "IPv4 behind a local NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "for documentation"),
        ("5f00::/16", "for segment routing"),
        ("fc00::/7", "private, or a cloud's metadata"),  # fd00:ec2::254 is a cloud's
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # the only range allocated so far, RFC 4291
LOCAL_SUFFIXES = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "private", "home.arpa", "onion")

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # a last label of this form makes the host an IPv4 address (WHATWG URL)


@dataclass(frozen=True, slots=True)
class Target:
    """An accepted host and port; the addresses of a name still have to be checked."""

    host: str  # lower-case ASCII, without brackets or trailing dot
    port: int
    address: Address | None  # checked; None for a name


def check_url(url: str, allow_loopback: bool = False) -> str:
    """Return the normalised URL: the host in lower-case ASCII, no ambiguous spelling.

    Raises BAD_URL for anything but a plain http or https URL, and ADDRESS_FORBIDDEN for hosts that are not public.
    """
    text = url.strip()
    if len(text) > MAX_URL_CHARS:
        raise Code.BAD_URL(f"The URL has {len(text)} characters, {MAX_URL_CHARS} are the most.", WANTED)
    if not text.isprintable() or " " in text or "\\" in text:
        raise Code.BAD_URL("The URL has spaces, backslashes or unprintable characters in it.", WANTED)
    if not re.match(r"https?://[^/?#]", text, re.IGNORECASE):
        raise Code.BAD_URL("This is no address of the web.", WANTED)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as cause:
        raise Code.BAD_URL("The URL cannot be read.", WANTED) from cause
    if "@" in parts.netloc:
        raise Code.BAD_URL("The URL carries a user name or a password.", "Leave out everything before the @.")
    default = WEB_PORTS[parts.scheme]
    target = check_target(parts.hostname or "", default if port is None else port, allow_loopback)
    host = f"[{target.host}]" if ":" in target.host else target.host
    netloc = host if port is None else f"{host}:{port}"
    return urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, parts.fragment))


def check_target(host: str, port: int, allow_loopback: bool = False) -> Target:
    """Check a host and its port. Raises BAD_URL and ADDRESS_FORBIDDEN."""
    if port not in WEB_PORTS.values() and not allow_loopback:
        raise Code.ADDRESS_FORBIDDEN(
            f"Port {port} is not a port of the web.", "Only the ports 80 and 443 are fetched from."
        )
    address = _read_address(host)
    if address is not None:
        check_address(address, allow_loopback)
        return Target(str(address), port, address)
    name = _read_name(host)
    is_loopback = allow_loopback and name == "localhost"
    if not is_loopback and ("." not in name or name.endswith(tuple(f".{suffix}" for suffix in LOCAL_SUFFIXES))):
        raise Code.ADDRESS_FORBIDDEN(f"{name} is a name of a local network.", WANTED)
    return Target(name, port, None)


def check_address(address: Address, allow_loopback: bool = False) -> None:
    """Raise ADDRESS_FORBIDDEN for an address that is not public."""
    kind = name_refusal(address)
    if kind and not (allow_loopback and kind == "loopback"):
        raise Code.ADDRESS_FORBIDDEN(f"The address {address} is not public ({kind}).", WANTED)


def name_refusal(address: Address) -> str:
    """Return the reason to refuse an address; empty where it is public."""
    for network, kind in REFUSED_NETWORKS:
        if address.version == network.version and address in network:
            return kind
    if address.version == 6 and address not in PUBLIC_V6:
        return "reserved"
    if address.is_multicast or address.is_reserved or address.is_private or not address.is_global:
        return "not global"  # ranges that later versions of Python add
    return ""


def _read_address(host: str) -> Address | None:
    """Return the address of a literal host, None for a name. Raises BAD_URL for a literal in an unusual spelling."""
    if "%" in host:  # an escape, or the zone of a link-local address
        raise Code.BAD_URL("The host has a percent sign in it.", WANTED)
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host)
        except ValueError as cause:
            raise Code.BAD_URL("The host is no IPv6 address.", WANTED) from cause
    name = _to_ascii(host)
    if not _NUMBER.fullmatch(name.rstrip(".").rpartition(".")[2]):
        return None
    try:
        address = ipaddress.IPv4Address(name)
    except ValueError as cause:
        raise Code.BAD_URL("The host is a number, and no IPv4 address in its plain form.", WANTED) from cause
    if str(address) != host:
        raise Code.BAD_URL("The host is an IPv4 address in an odd spelling.", f"Plainly it is {address}.")
    return address


def _read_name(host: str) -> str:
    name = _to_ascii(host).removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Code.BAD_URL("The host is no name of the web.", WANTED)
    return name


def _to_ascii(host: str) -> str:
    """Return the name in lower-case ASCII; other scripts as IDNA (UTS 46)."""
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as cause:
        raise Code.BAD_URL("The host is no name of the web.", WANTED) from cause
