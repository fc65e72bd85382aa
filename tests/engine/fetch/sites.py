"""Fake web on loopback: sites with the responses of a test, and names that resolve as it sets."""

import contextlib
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engine.fetch.proxy import Network, Streams, dial_address

PUBLIC = "93.184.216.34"  # what the names of the tests resolve to; nothing is ever sent there
Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A server on loopback; `pages` maps paths to answers."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []  # path, headers in lower case
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.close_connection = True
                answer = site.pages.get(self.path.partition("?")[0], say(b"nothing", status=404))
                with contextlib.suppress(OSError):  # the client has disconnected
                    answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]


def say(body: bytes, kind: str = "text/html", status: int = 200, **headers: str) -> Answer:
    """Answer with a body as it is."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        result = {"Content_Type": kind, "Content_Length": str(len(body))} | headers
        for name, value in result.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return answer


def redirect(where: str, status: int = 302) -> Answer:
    return say(b"", status=status, Location=where)


def drip(start: bytes, piece: bytes, pause_s: float, kind: str = "video/mp4", chunked: bool = False) -> Answer:
    """Send a start and then pieces without end, and without a length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        if chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        stop = threading.Event()
        part = start
        while handler.command != "HEAD" and not stop.wait(pause_s):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            handler.wfile.flush()
            part = piece

    return answer


class Web:
    """Names and addresses under a test's control: a public address leads to the site, all others where they lead."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.names: dict[str, deque[list[str]]] = {}  # answers in turn; the last one stays
        self.others: list[str] = []  # of a name that is none of these and not under .example
        self.asked: list[str] = []
        self.dialled: list[str] = []

    def name(self, name: str, *answers: list[str]) -> None:
        self.names[name] = deque(answers)

    async def resolve(self, name: str, port: int) -> list[str]:
        self.asked.append(name)
        answers = self.names.get(name, deque([[PUBLIC] if name.endswith(".example") else self.others]))
        answer = answers.popleft() if len(answers) > 1 else answers[0] if answers else []
        if not answer:
            raise OSError(f"{name} is not known")
        return answer

    async def dial(self, address: str, port: int) -> Streams:
        self.dialled.append(address)
        if address == PUBLIC:
            return await dial_address("127.0.0.1", self.site.port)
        assert address.startswith("127.") or address == "::1", f"a test was about to connect to {address}"
        return await dial_address(address, port)

    @property
    def network(self) -> Network:
        return Network(self.resolve, self.dial)
