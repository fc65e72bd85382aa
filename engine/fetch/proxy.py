"""Our own forward proxy: the only way out for whoever fetches.

It resolves a name once, checks every address that comes back, and connects to the checked literal; so it is with each
redirect, manifest, segment and picture alike, for every one of them is a new request to it. Connections do not come in
by an address but as connected sockets, handed over through a socket pair: a child without any network can still ask.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from engine.errors import Code, EngineError
from engine.fetch.url_policy import WEB_PORTS, Target, check_address, check_target
from engine.settings import FetchLimits

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

MAX_HEAD_BYTES = 64 * 1024
MAX_OPEN = 32  # connections at one time
MAX_ALL = 10_000  # of one fetch: 15 minutes in pieces of a fifth of a second and twice that
MAX_ADDRESSES = 4  # of one name that are tried
CHUNK = 64 * 1024
METHODS = ("GET", "HEAD", "POST")
# Those of one connection, and those that tell a site who asks: nobody's session leaves, not even one that a site began.
KEPT_BACK = frozenset(
    b"connection proxy-connection keep-alive proxy-authorization te trailer upgrade host cookie cookie2".split()
)


async def resolve_name(name: str, port: int) -> list[str]:
    """Ask the system for all addresses of a name. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dial_address(address: str, port: int) -> Streams:
    """Connect to a literal address. Raises OSError."""
    return await asyncio.open_connection(address, port, limit=CHUNK)


@dataclass(frozen=True, slots=True)
class Network:
    """How names become addresses and addresses connections; tests put their own in its place."""

    resolve: Callable[[str, int], Awaitable[list[str]]] = resolve_name
    dial: Callable[[str, int], Awaitable[Streams]] = dial_address


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, and what it had sent beyond the head."""

    is_tunnel: bool
    target: Target
    head: bytes  # to be sent on; empty for a tunnel
    rest: bytes


class Unanswered(Exception):
    """A name is unknown or a host does not answer."""


class Proxy:
    """A proxy with a thread and a loop of its own, for one fetch: `with Proxy(limits) as proxy: ...`."""

    def __init__(self, limits: FetchLimits, network: Network | None = None) -> None:
        self.limits = limits
        self.network = network or Network()
        self.received_bytes = 0  # from all sites together
        self.is_over = False  # more came than may come, and nothing more will
        self.refusals: list[str] = []  # why, of every request that was refused
        self.unanswered: list[str] = []  # hosts
        self.cut: list[str] = []  # hosts whose answer broke off, where the client cannot tell that from its end
        self._ours, self.child_end = socket.socketpair()
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self._ready, self._stop = threading.Event(), threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="fetch-proxy", daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_serving(self) -> bool:
        """Tell whether it still answers: what comes to an end with it may be only a part."""
        return self._thread.is_alive() and not self._stop.is_set()

    def close(self) -> None:
        """End every connection; who asks after that gets none."""
        self._stop.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(5)  # a name server that does not answer is not waited for
        self.child_end.close()

    def _run(self) -> None:
        with self._ours, contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ours.setblocking(False)
        self._loop.add_reader(self._ours, self._accept)
        self._ready.set()
        try:
            while not self._stop.is_set():
                await asyncio.sleep(3600)
        finally:
            self._loop.remove_reader(self._ours)

    def _cancel(self) -> None:
        for task in asyncio.all_tasks():
            task.cancel()

    def _accept(self) -> None:
        """Take the sockets that the child hands over, one connection each."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:  # the child is gone
            asyncio.get_running_loop().remove_reader(self._ours)
        for descriptor in descriptors:
            client = socket.socket(fileno=descriptor)
            self._count += 1
            if len(self._tasks) >= MAX_OPEN or self._count > MAX_ALL or self.is_over:
                client.close()
                continue
            task = asyncio.get_running_loop().create_task(self._serve_client(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve_client(self, client: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=client, limit=CHUNK)
        except (OSError, ValueError):  # no stream at all
            client.close()
            return
        try:
            with contextlib.suppress(OSError, TimeoutError):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(2 * self.limits.socket_s):
                request = await self._read_request(reader)
                site_reader, site_writer = await self._connect(request.target)
        except EngineError as error:
            self.refusals.append(error.message)
            await _send_status(writer, 403, "Forbidden")
        except (h11.RemoteProtocolError, EOFError):
            await _send_status(writer, 400, "Bad Request")
        except (Unanswered, TimeoutError):
            await _send_status(writer, 504, "Gateway Timeout")
        else:
            try:
                await self._relay(request, (reader, writer), (site_reader, site_writer))
            finally:
                site_writer.close()

    async def _read_request(self, reader: asyncio.StreamReader) -> Request:
        """Read one head. Raises BAD_URL, ADDRESS_FORBIDDEN, h11.RemoteProtocolError and EOFError."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        while (event := parser.next_event()) is h11.NEED_DATA:
            data = await reader.read(CHUNK)
            if not data:
                raise EOFError
            parser.receive_data(data)
        if not isinstance(event, h11.Request):
            raise EOFError
        method, target = event.method.decode("ascii"), event.target.decode("ascii", "replace")
        target = target.partition("#")[0]  # what follows is the client's own, and urllib sends it to a proxy
        rest = parser.trailing_data[0]
        if method == "CONNECT":
            return Request(True, self._check_authority(target), b"", rest)
        if method not in METHODS or not target.lower().startswith("http://"):
            raise Code.BAD_URL(f"The proxy was asked for {method} of something that is no http:// URL.")
        checked = self._check_authority(target[7:].partition("/")[0].partition("?")[0])
        path = target[7:].partition("/")[2]
        return Request(False, checked, _write_head(event, f"/{path}", checked), rest)

    def _check_authority(self, authority: str) -> Target:
        """Check `host[:port]` as a client spelled it. Raises BAD_URL and ADDRESS_FORBIDDEN."""
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname or "", parts.port
        except ValueError as cause:
            raise Code.BAD_URL("The proxy was asked for a host that cannot be read.") from cause
        if parts.netloc != authority or "@" in authority:
            raise Code.BAD_URL("The proxy was asked for a host that cannot be read.")
        return check_target(host, WEB_PORTS["http"] if port is None else port, self.limits.allow_loopback)

    async def _connect(self, target: Target) -> Streams:
        """Connect to one of the addresses of a target, after all of them have been checked.

        One address that is not public refuses the whole name: a public name has no business with a private address.
        """
        for address in await self._find_addresses(target):
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self.limits.socket_s):
                    return await self.network.dial(address, target.port)
        self.unanswered.append(target.host)
        raise Unanswered

    async def _find_addresses(self, target: Target) -> list[str]:
        if target.address is not None:
            return [str(target.address)]
        try:
            found = await self.network.resolve(target.host, target.port)
        except (OSError, UnicodeError):
            found = []
        for text in found:
            try:
                check_address(ipaddress.ip_address(text), self.limits.allow_loopback)
            except (EngineError, ValueError) as cause:  # ValueError: an address with a zone, and so a local one
                raise Code.ADDRESS_FORBIDDEN(f"{target.host} has an address that is not public: {text}.") from cause
        return found[:MAX_ADDRESSES]

    async def _relay(self, request: Request, client: Streams, site: Streams) -> None:
        """Pass bytes on both ways until the site has ended or either is silent for too long."""
        if request.is_tunnel:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        site[1].write(request.head + request.rest)
        upward = asyncio.create_task(self._pass_up(client[0], site[1]))
        try:
            while data := await self._read_site(request, site[0]):
                self._count_bytes(len(data))
                if self.is_over:
                    return
                client[1].write(data)
                await client[1].drain()
        finally:
            upward.cancel()

    async def _read_site(self, request: Request, reader: asyncio.StreamReader) -> bytes:
        try:
            return await asyncio.wait_for(reader.read(CHUNK), 2 * self.limits.socket_s)
        except (OSError, TimeoutError):
            if not request.is_tunnel:  # inside one, TLS tells
                self.cut.append(request.target.host)
            raise

    def _count_bytes(self, number: int) -> None:
        self.received_bytes += number
        if self.received_bytes > self.limits.max_bytes * 1.04:  # pages, manifests and TLS come on top of the media
            self.is_over = True
            for task in self._tasks:
                task.cancel()

    async def _pass_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()


def _write_head(request: h11.Request, path: str, target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != WEB_PORTS["http"]:
        host = f"{host}:{target.port}"
    kept = [(name, value) for name, value in request.headers.raw_items() if name.lower() not in KEPT_BACK]
    first = request.method + b" " + path.encode("ascii", "replace") + b" HTTP/1.1"
    lines = [first, b"Host: " + host.encode("ascii")]
    lines += [name + b": " + value for name, value in kept]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _send_status(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    writer.write(f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii"))
    await writer.drain()
