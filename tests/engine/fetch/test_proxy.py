import socket
import ssl
import time

import pytest
import trustme
from yt_dlp.networking import Request
from yt_dlp.networking.exceptions import CertificateVerifyError, RequestError

from engine.fetch.proxy import CHUNK, Network, Proxy
from engine.fetch.proxy_client import TunnelConnection, TunnelledYoutubeDL, TunnelRH
from engine.settings import FetchLimits
from tests.engine.fetch.sites import PUBLIC, Site, Web, drip, redirect, say
from tests.engine.fetch.test_url_policy import CORPUS, PORT

LIMITS = FetchLimits(max_bytes=1_000_000, socket_s=2.0)


@pytest.fixture
def proxy(web):
    with Proxy(LIMITS, web.network) as proxy:
        yield proxy


@pytest.fixture
def downloader(proxy, monkeypatch):
    """yt-dlp as the child has it, in this process: what it opens goes through the proxy."""
    monkeypatch.setattr(TunnelConnection, "control", proxy.child_end, raising=False)
    with TunnelledYoutubeDL({"quiet": True, "socket_timeout": 5, "cachedir": False, "logger": Silent()}) as downloader:
        yield downloader


class Silent:
    def debug(self, text):
        pass

    info = warning = error = debug


def connect(proxy):
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(proxy.child_end, [b"\0"], [theirs.fileno()])
    ours.settimeout(20)
    return ours


def ask(proxy, text):
    """Send a request as it is; what comes back until the proxy closes."""
    with connect(proxy) as client:
        client.sendall(text.encode("utf-8", "surrogateescape"))
        parts = []
        while data := client.recv(CHUNK):
            parts.append(data)
    return b"".join(parts)


def test_plain_request_reaches_the_site_once_resolved_and_by_the_literal(proxy, web, site):
    site.pages["/a"] = say(b"hello")
    answer = ask(proxy, "GET http://www.example/a?b=c HTTP/1.1\r\nHost: other.example\r\nX-A: 1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello")
    ((path, headers),) = site.requests
    assert path == "/a?b=c" and headers["host"] == "www.example" and headers["x-a"] == "1"
    assert (web.asked, web.dialled) == (["www.example"], [PUBLIC])
    assert proxy.received_bytes == len(answer) and proxy.refusals == []


def test_tunnel_passes_bytes_both_ways(proxy, web, site):
    site.pages["/a"] = say(b"hello")
    head = "CONNECT www.example:443 HTTP/1.0\r\n\r\n"
    answer = ask(proxy, head + "GET /a HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200") and answer.endswith(b"hello")
    assert web.dialled == [PUBLIC]


def test_post_body_is_passed_on(proxy, site):
    site.pages["/a"] = lambda handler: say(handler.rfile.read(int(handler.headers["Content-Length"])))(handler)
    answer = ask(proxy, "POST http://www.example/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")

    assert answer.endswith(b"body")


def test_identifying_headers_are_removed(proxy, site):
    site.pages["/a"] = say(b"")
    names = ("cookie2", "Proxy-Authorization", "Proxy-Connection", "Upgrade", "TE", "Keep-Alive")
    lines = "".join(f"{name}: secret\r\n" for name in names)
    ask(proxy, f"GET http://www.example/a HTTP/1.1\r\nHost: x\r\n{lines}\r\n")

    ((_, headers),) = site.requests
    assert "secret" not in str(headers) and headers["connection"] == "close"


def test_nothing_of_the_corpus_is_reached_by_asking_the_proxy_itself(proxy, web, canary):
    web.others = ["127.0.0.1"]  # a resolver on the attacker's side
    for url in CORPUS:
        url = url.replace(PORT, str(canary.port))
        authority = url.partition("//")[2].partition("/")[0] or url
        for method, target in (("GET", url), ("CONNECT", authority), ("CONNECT", f"{authority}:443"), ("HEAD", url)):
            answer = ask(proxy, f"{method} {target} HTTP/1.1\r\nHost: {authority}\r\n\r\n")
            assert answer[9:12] in (b"403", b"400"), (method, target, answer)
    assert proxy.received_bytes == 0 and web.dialled == []


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 ::1 ::ffff:127.0.0.1 10.0.0.1 169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 64:ff9b::7f00:1 "
    "2002:7f00:1:: fd00:ec2::254 fe80::1%lo 0.0.0.0 224.0.0.1 not-an-address".split(),
)
def test_name_of_an_address_that_is_not_public_is_refused(proxy, web, address):
    web.name("inner.example", [address])
    assert ask(proxy, "GET http://inner.example/ HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert ask(proxy, "CONNECT inner.example:443 HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 403")

    assert web.dialled == [] and "inner.example" in proxy.refusals[0]


def test_one_address_that_is_not_public_refuses_the_name(proxy, web):
    web.name("mixed.example", [PUBLIC, "127.0.0.1"])

    assert ask(proxy, "GET http://mixed.example/ HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert web.dialled == []


def test_name_that_turns_to_loopback_is_refused_the_second_time(proxy, web, site, canary):
    site.pages["/"] = say(b"first")
    web.name("turning.example", [PUBLIC], ["127.0.0.1"])
    request = "GET http://turning.example/ HTTP/1.1\r\nHost: a\r\n\r\n"

    assert ask(proxy, request).endswith(b"first")
    assert ask(proxy, request).startswith(b"HTTP/1.1 403")
    assert web.dialled == [PUBLIC] and len(web.asked) == 2


def test_unknown_name_differs_from_refused_name(proxy, web):
    web.name("unknown.example")
    assert ask(proxy, "GET http://unknown.example/ HTTP/1.1\r\nHost: a\r\n\r\n").startswith(b"HTTP/1.1 504")
    assert proxy.unanswered == ["unknown.example"] and proxy.refusals == []


@pytest.mark.parametrize(
    "text",
    [
        "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "GET https://www.example/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "GET ftp://www.example/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "DELETE http://www.example/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "PUT http://www.example/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "GET http://www.example:22/ HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "CONNECT www.example:25 HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "CONNECT a@www.example:443 HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "CONNECT www.example/x:443 HTTP/1.1\r\nHost: www.example\r\n\r\n",
        "GET http://www.example/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET http://www.example/ HTTP/1.1\r\nBad Header: x\r\n\r\n",
        "\x16\x03\x01\x02\r\n\r\n",
        "GET http://www.example/" + "a" * 70_000,
    ],
)
def test_what_is_no_request_for_a_proxy_is_refused(proxy, web, text):
    assert ask(proxy, text)[9:12] in (b"400", b"403") and web.dialled == []


def test_silent_client_is_disconnected(proxy):
    begun_s = time.monotonic()
    assert ask(proxy, "GET http://www.exa").startswith(b"HTTP/1.1 504")
    assert time.monotonic() - begun_s < 60


def test_endless_body_ends_at_the_limit(proxy, site):
    site.pages["/a"] = drip(b"x" * 60_000, b"x" * 60_000, 0)
    answer = ask(proxy, "GET http://www.example/a HTTP/1.1\r\nHost: a\r\n\r\n")

    assert proxy.is_over and len(answer) <= 1.05 * LIMITS.max_bytes
    assert proxy.received_bytes <= 1.04 * LIMITS.max_bytes + CHUNK
    with pytest.raises(OSError), connect(proxy) as client:
        client.sendall(b"GET http://www.example/a HTTP/1.1\r\nHost: a\r\n\r\n")
        if not client.recv(1):
            raise OSError


def test_limit_counts_all_connections_together(proxy, site):
    site.pages["/a"] = say(b"x" * 400_000)
    for _ in range(3):
        ask(proxy, "GET http://www.example/a HTTP/1.1\r\nHost: a\r\n\r\n")
    assert proxy.is_over


def test_closed_proxy_accepts_no_connection(proxy):
    with connect(proxy) as client:
        proxy.close()
        assert client.recv(1) == b""
    with pytest.raises(OSError):
        connect(proxy)


def test_flag_opens_loopback_on_any_port_and_nothing_else(web, canary, site):
    site.pages["/a"] = say(b"hello")
    web.name("localhost", ["127.0.0.1"])
    with Proxy(FetchLimits(allow_loopback=True, socket_s=2.0), web.network) as proxy:
        for host in ("127.0.0.1", "localhost"):
            assert ask(proxy, f"GET http://{host}:{site.port}/a HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"hello")
        for host in ("10.0.0.1", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]"):
            answer = ask(proxy, f"GET http://{host}:{canary.port}/ HTTP/1.1\r\nHost: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("hops", range(1, 21))
def test_redirect_to_loopback_is_refused_at_every_hop(downloader, proxy, site, canary, hops):
    for hop in range(1, hops):
        site.pages[f"/{hop - 1}"] = redirect(f"http://www{hop}.example/{hop}")
    places = ("127.0.0.1", "[::1]", "2130706433", "localhost", "169.254.169.254", "[::ffff:127.0.0.1]")
    site.pages[f"/{hops - 1}"] = redirect(f"http://{places[hops % len(places)]}:{canary.port}/")

    with pytest.raises(RequestError):
        downloader.urlopen("http://www.example/0")
    assert len(site.requests) == min(hops, 11)  # yt-dlp follows ten
    assert bool(proxy.refusals) == (hops <= 10)


@pytest.mark.parametrize(
    "where", ["file:///etc/hostname", "ftp://www.example/", "data:text/html,x", "gopher://a.example/"]
)
def test_redirect_to_another_scheme_is_not_followed(downloader, web, site, where):
    site.pages["/0"] = redirect(where)
    with pytest.raises(RequestError):
        downloader.urlopen("http://www.example/0")
    assert web.asked == ["www.example"]


@pytest.mark.parametrize("url", ["data:text/html,x", "ftp://www.example/", "file:///etc/hostname", "ws://www.example/"])
def test_ytdlp_itself_can_open_http_alone(downloader, web, url):
    with pytest.raises(RequestError):
        downloader.urlopen(url)
    assert web.asked == []


def test_a_cookie_is_sent_only_to_the_site_that_set_it_in_this_process(downloader, site):
    site.pages["/0"] = say(b"", Set_Cookie="session=own; Path=/")
    site.pages["/1"] = redirect("http://other.example/2", 307)
    site.pages["/2"] = say(b"ok")
    downloader.urlopen("http://www.example/0").read()
    assert downloader.urlopen(Request("http://www.example/1", headers={"Cookie": "a=secret"})).read() == b"ok"

    assert [headers.get("cookie") for _, headers in site.requests] == [None, "session=own", None]
    assert downloader.params.get("cookiefile") is None


def test_own_proxy_of_a_request_is_not_used(downloader, site, canary):
    site.pages["/0"] = say(b"ok")
    there = f"http://127.0.0.1:{canary.port}"
    request = Request("http://www.example/0", proxies={"all": there, "http": there})

    assert downloader.urlopen(request).read() == b"ok"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def open_by_tls(authority, name, trusted, monkeypatch):
    """Open https://www.example/ at a site whose certificate is for `name`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server)
    site = Site(server)
    site.pages["/"] = say(b"secure")
    if trusted:
        client = ssl.create_default_context()
        authority.configure_trust(client)
        monkeypatch.setattr(TunnelRH, "_make_sslcontext", lambda self, legacy_ssl_support=None: client)
    web = Web(site)
    try:
        with Proxy(LIMITS, web.network) as proxy:
            monkeypatch.setattr(TunnelConnection, "control", proxy.child_end, raising=False)
            with TunnelledYoutubeDL({"quiet": True, "socket_timeout": 5, "logger": Silent()}) as downloader:
                return downloader.urlopen("https://www.example/").read(), web.dialled
    finally:
        site.close()


def test_tls_is_spoken_with_the_site_itself(authority, monkeypatch):
    assert open_by_tls(authority, "www.example", True, monkeypatch) == (b"secure", [PUBLIC])


@pytest.mark.parametrize(("name", "trusted"), [("other.example", True), ("www.example", False)])
def test_wrong_or_untrusted_certificate_is_refused(authority, monkeypatch, name, trusted):
    with pytest.raises(CertificateVerifyError):
        open_by_tls(authority, name, trusted, monkeypatch)


def test_next_address_is_tried_where_one_does_not_answer(web, site):
    tried = []

    async def dial(address, port):
        tried.append(address)
        if len(tried) == 1:
            raise ConnectionRefusedError
        return await web.dial(address, port)

    site.pages["/a"] = say(b"hello")
    web.name("two.example", ["8.8.8.8", PUBLIC])
    with Proxy(LIMITS, Network(web.resolve, dial)) as proxy:
        assert ask(proxy, "GET http://two.example/a HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"hello")
    assert tried == ["8.8.8.8", PUBLIC]
