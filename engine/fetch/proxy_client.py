"""Send all requests of yt-dlp through the proxy socket of the process. Imported in the child only."""

import http.client
import socket
import urllib.request
from collections.abc import Iterable
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.networking import RequestDirector, RequestHandler
from yt_dlp.networking._urllib import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    RedirectHandler,
    UnknownHandler,
    UrllibRH,
)

PROXY = "proxy.invalid:80"  # never resolved: connections are passed as sockets
FORBIDDEN_HEADERS = ("Cookie", "Cookie2", "Ytdl-request-proxy", "Ytdl-socks-proxy")
# A cookie is sent from the jar of this process alone, by its rules of domain and path: it begins empty for each fetch,
# and is never written.


class TunnelConnection(http.client.HTTPConnection):
    """A connection to the proxy: one end of a new socket pair; the other end is sent to the proxy."""

    control: socket.socket

    def connect(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self.control, [b"\0"], [theirs.fileno()])
        ours.settimeout(self.timeout)
        self.sock = ours
        if self._tunnel_host:  # type: ignore[attr-defined]
            self._tunnel()  # type: ignore[attr-defined]


class SecureTunnelConnection(TunnelConnection, http.client.HTTPSConnection):
    """A connection to the proxy with TLS to the site inside."""

    def connect(self) -> None:
        super().connect()
        name = self._tunnel_host or self.host  # type: ignore[attr-defined]
        self.sock = self._context.wrap_socket(self.sock, server_hostname=name)  # type: ignore[attr-defined]


class TunnelHandler(HTTPHandler):
    """Open http and https URLs through the proxy."""

    def http_open(self, request: urllib.request.Request) -> Any:
        request.set_proxy(PROXY, "http")
        return self.do_open(TunnelConnection, request)

    def https_open(self, request: urllib.request.Request) -> Any:
        request.set_proxy(PROXY, "https")
        return self.do_open(SecureTunnelConnection, request, context=self._context)


class TunnelRH(UrllibRH):
    """The only request handler: no cookies but those that sites set in this process, no other scheme or proxy."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    RH_NAME = "tunnel"

    def _create_instance(self, proxies: Any, cookiejar: Any, legacy_ssl_support: bool | None = None) -> Any:
        opener = urllib.request.OpenerDirector()
        context = self._make_sslcontext(legacy_ssl_support=legacy_ssl_support)
        for handler in (
            TunnelHandler(context=context),
            urllib.request.HTTPCookieProcessor(cookiejar),
            UnknownHandler(),
            HTTPDefaultErrorHandler(),
            HTTPErrorProcessor(),
            RedirectHandler(),
        ):
            opener.add_handler(handler)
        opener.addheaders = []
        return opener

    def _prepare_headers(self, request: Any, headers: Any) -> None:
        super()._prepare_headers(request, headers)
        for name in FORBIDDEN_HEADERS:
            headers.pop(name, None)


class TunnelledYoutubeDL(YoutubeDL):
    """yt-dlp with all requests sent through the tunnel."""

    def build_request_director(
        self, handlers: Iterable[type[RequestHandler]], preferences: Any = None
    ) -> RequestDirector:
        return super().build_request_director([TunnelRH])
