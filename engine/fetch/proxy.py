"""Forward proxy that connects a download to public addresses only.

It resolves a name once, checks every returned address, and connects to the checked literal address. Each redirect,
manifest, segment and thumbnail is a new request, so each is checked. Clients connect not by an address but by sockets
passed over a socket pair, so a child without network can use it.
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
MAX_OPEN = 32  # concurrent connections
MAX_ALL = 10_000  # connections of one fetch: 15 minutes in segments of 0.2 s, and twice that
MAX_ADDRESSES = 4  # tried per name
CHUNK = 64 * 1024
METHODS = ("GET", "HEAD", "POST")
# Headers of one connection, and those that identify the client. The child has no cookies but those set in this fetch.
DROPPED_HEADERS = frozenset(
    b"connection proxy-connection keep-alive proxy-authorization te trailer upgrade host cookie2".split()
)


async def resolve_name(name: str, port: int) -> list[str]:
    """Resolve all addresses of a name with the system resolver. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def dial_address(address: str, port: int) -> Streams:
    """Connect to a literal address. Raises OSError."""
    return await asyncio.open_connection(address, port, limit=CHUNK)


@dataclass(frozen=True, slots=True)
class Network:
    """Functions that resolve names and open connections; replaced in tests."""

    resolve: Callable[[str, int], Awaitable[list[str]]] = resolve_name
    dial: Callable[[str, int], Awaitable[Streams]] = dial_address


@dataclass(frozen=True, slots=True)
class Request:
    """The request of a client, and the bytes it sent after the head."""

    is_tunnel: bool
    target: Target
    head: bytes  # to forward; empty for a tunnel
    rest: bytes


class Unanswered(Exception):
    """The name is unknown or the host does not answer."""


class Proxy:
    """A proxy for one fetch, with its own thread and event loop: `with Proxy(limits) as proxy: ...`."""

    def __init__(self, limits: FetchLimits, network: Network | None = None) -> None:
        self.limits = limits
        self.network = network or Network()
        self.received_bytes = 0  # from all sites
        self.is_over = False  # the byte limit is exceeded; nothing more is received
        self.refusals: list[str] = []  # reasons of the refused requests
        self.unanswered: list[str] = []  # hosts
        self.cut: list[str] = []  # hosts with a truncated response that the client cannot detect
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
        """Return True while it serves; a download that ends with it may be truncated."""
        return self._thread.is_alive() and not self._stop.is_set()

    def close(self) -> None:
        """Close all connections and accept no further ones."""
        self._stop.set()
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has already ended
                self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join(5)  # do not wait for a name server that does not answer
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
        """Accept the sockets passed by the child, one per connection."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:  # the child has ended
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
        except (OSError, ValueError):  # not a stream socket
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
        """Read one request head. Raises BAD_URL, ADDRESS_FORBIDDEN, h11.RemoteProtocolError and EOFError."""
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        while (event := parser.next_event()) is h11.NEED_DATA:
            data = await reader.read(CHUNK)
            if not data:
                raise EOFError
            parser.receive_data(data)
        if not isinstance(event, h11.Request):
            raise EOFError
        method, target = event.method.decode("ascii"), event.target.decode("ascii", "replace")
        target = target.partition("#")[0]  # a fragment is not for servers, but urllib sends it to a proxy
        rest = parser.trailing_data[0]
        if method == "CONNECT":
            return Request(True, self._check_authority(target), b"", rest)
        if method not in METHODS or not target.lower().startswith("http://"):
            raise Code.BAD_URL(f"The proxy received a request {method} for a URL other than http://.")
        checked = self._check_authority(target[7:].partition("/")[0].partition("?")[0])
        path = target[7:].partition("/")[2]
        return Request(False, checked, _write_head(event, f"/{path}", checked), rest)

    def _check_authority(self, authority: str) -> Target:
        """Check `host[:port]` as sent by a client. Raises BAD_URL and ADDRESS_FORBIDDEN."""
        try:
            parts = urlsplit(f"//{authority}")
            host, port = parts.hostname or "", parts.port
        except ValueError as cause:
            raise Code.BAD_URL("The proxy received a request for an invalid host.") from cause
        if parts.netloc != authority or "@" in authority:
            raise Code.BAD_URL("The proxy received a request for an invalid host.")
        return check_target(host, WEB_PORTS["http"] if port is None else port, self.limits.allow_loopback)

    async def _connect(self, target: Target) -> Streams:
        """Connect to one of the addresses of a target after checking all of them.

        One address that is not public refuses the whole name: a public name has no reason to resolve to a private one.
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
            except (EngineError, ValueError) as cause:  # ValueError: an address with a zone, hence local
                raise Code.ADDRESS_FORBIDDEN(f"{target.host} has an address that is not public: {text}.") from cause
        return found[:MAX_ADDRESSES]

    async def _relay(self, request: Request, client: Streams, site: Streams) -> None:
        """Relay bytes in both directions until the site closes or times out."""
        if request.is_tunnel:
            client[1].write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        site[1].write(request.head + request.rest)
        upload = asyncio.create_task(self._relay_upload(client[0], site[1]))
        try:
            while data := await self._read_site(request, site[0]):
                self._count_bytes(len(data))
                if self.is_over:
                    return
                client[1].write(data)
                await client[1].drain()
        finally:
            upload.cancel()

    async def _read_site(self, request: Request, reader: asyncio.StreamReader) -> bytes:
        try:
            return await asyncio.wait_for(reader.read(CHUNK), 2 * self.limits.socket_s)
        except (OSError, TimeoutError):
            if not request.is_tunnel:  # in a tunnel, TLS detects it
                self.cut.append(request.target.host)
            raise

    def _count_bytes(self, number: int) -> None:
        self.received_bytes += number
        if (
            self.received_bytes > self.limits.max_bytes * 1.04
        ):  # allow for pages, manifests and TLS in addition to the media
            self.is_over = True
            for task in self._tasks:
                task.cancel()

    async def _relay_upload(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()


def _write_head(request: h11.Request, path: str, target: Target) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    if target.port != WEB_PORTS["http"]:
        host = f"{host}:{target.port}"
    kept = [(name, value) for name, value in request.headers.raw_items() if name.lower() not in DROPPED_HEADERS]
    first = request.method + b" " + path.encode("ascii", "replace") + b" HTTP/1.1"
    lines = [first, b"Host: " + host.encode("ascii")]
    lines += [name + b": " + value for name, value in kept]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _send_status(writer: asyncio.StreamWriter, status: int, reason: str) -> None:
    writer.write(f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode("ascii"))
    await writer.drain()
