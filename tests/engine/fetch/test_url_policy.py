import ipaddress
import socket
from urllib.parse import urlsplit

import pytest

from engine.errors import Code
from engine.fetch.url_policy import check_target, check_url, name_refusal
from tests.raising import raises

PORT = "PORT"  # port of the canary
CORPUS = tuple(
    """
http://127.0.0.1:PORT/
http://127.0.0.1/
https://127.0.0.1/
http://127.0.0.1.:PORT/
http://127.1:PORT/
http://127.0.1:PORT/
http://127:PORT/
http://2130706433:PORT/
http://2130706433/
http://2130706433./
http://0x7f000001:PORT/
http://0x7F000001/
http://0x7f.0x0.0x0.0x1:PORT/
http://0x7f.1/
http://017700000001:PORT/
http://0177.0.0.1:PORT/
http://0177.0.0.01/
http://127.0.0.01/
http://000127.0.0.1/
http://127.000.000.001/
http://0:PORT/
http://0/
http://0.0.0.0:PORT/
http://0x0/
http://0x/
http://①②⑦.⓪.⓪.①:PORT/
http://①②⑦.⓪.⓪.①/
http://１２７.０.０.１/
http://127。0。0。1/
http://127．0．0．1/
http://127｡0｡0｡1/
http://[::1]:PORT/
http://[::1]/
http://[0:0:0:0:0:0:0:1]/
http://[::0001]/
http://[::]:PORT/
http://[::]/
http://[::ffff:127.0.0.1]:PORT/
http://[::ffff:7f00:1]/
http://[0:0:0:0:0:ffff:7f00:0001]/
http://[::ffff:0:127.0.0.1]/
http://[::127.0.0.1]/
http://[::ffff:8.8.8.8]/
http://[64:ff9b::127.0.0.1]/
http://[64:ff9b::a9fe:a9fe]/
http://[64:ff9b:1::a9fe:a9fe]/
http://[2002:7f00:1::]/
http://[2002:a9fe:a9fe::1]/
http://[2001:0:7f00:1::1]/
http://[fd00:ec2::254]/
http://[fe80::1]/
http://[fe80::1%25lo]/
http://[fe80::1%lo]/
http://[fec0::1]/
http://[fc00::1]/
http://[ff02::1]/
http://[::1%25lo]:PORT/
http://localhost:PORT/
http://localhost/
http://LOCALHOST/
http://localhost./
http://loopback/
http://ip6-localhost/
http://a.localhost/
http://ｌｏｃａｌｈｏｓｔ/
http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/
http://localhost.localdomain:PORT/
http://router.lan/
http://printer.local/
http://metadata/
http://metadata.google.internal/
http://db/
http://10.0.0.1/
http://172.16.0.1/
http://192.168.1.42/
http://169.254.169.254/latest/meta-data/
http://2852039166/
http://0xa9fea9fe/
http://100.100.100.200/
http://192.0.0.192/
http://168.63.129.16/
http://198.18.0.1/
http://224.0.0.1/
http://255.255.255.255/
http://user@127.0.0.1:PORT/
http://user:word@127.0.0.1/
http://example.com@127.0.0.1:PORT/
http://127.0.0.1:PORT@example.com/
http://example.com:80@127.0.0.1/
http://@127.0.0.1/
http://127.0.0.1:PORT\\@example.com/
http://example.com\\@127.0.0.1/
http://127.0.0.1%2f@example.com/
http://127%2e0%2e0%2e1/
http://127.0.0.1%00.example.com/
http://%31%32%37.0.0.1/
http://example.com:22/
http://example.com:PORT/
http://example.com:0/
http://example.com:99999/
http://example.com:-1/
http:///127.0.0.1:PORT/
http:127.0.0.1/
http:/127.0.0.1/
http://
http://?127.0.0.1
http://.127.0.0.1/
http://a..b/
http://-a.example/
//127.0.0.1:PORT/
127.0.0.1:PORT
file:///etc/passwd
file://localhost/etc/passwd
FILE:///etc/passwd
ftp://127.0.0.1:PORT/a
ftps://127.0.0.1/a
gopher://127.0.0.1:PORT/_a
smb://127.0.0.1/a
dict://127.0.0.1:PORT/a
rtmp://127.0.0.1:PORT/a
rtsp://127.0.0.1:PORT/a
mms://127.0.0.1/a
ws://127.0.0.1:PORT/
data:text/html,<video/src=http://127.0.0.1:PORT/>
data:video/mp4;base64,AAAA
javascript:alert(1)
ytsearch:news
ytsearch10:news
ytdl://127.0.0.1
phantom:http://127.0.0.1
concat:http://127.0.0.1|http://127.0.0.1
view-source:http://127.0.0.1/
jar:http://127.0.0.1!/
:http://127.0.0.1/
--version
--exec=touch /tmp/x
-o/tmp/x
--config-locations=/tmp/x http://example.com/
--cookies-from-browser=firefox
--load-info-json=/etc/passwd
-a/etc/passwd
--batch-file=/etc/passwd
--netrc-cmd=touch x
--plugin-dirs=/tmp
--enable-file-urls
--downloader=curl
--ffmpeg-location=/tmp/x
--use-postprocessor=Exec
--proxy=http://127.0.0.1:PORT
--print-to-file
--update
--alias=x,y
-U
--
""".split("\n")[1:-1]
)


@pytest.mark.parametrize("url", CORPUS)
def test_url_of_the_corpus_is_refused(url, canary):
    with raises(Code.BAD_URL, Code.ADDRESS_FORBIDDEN) as refused:
        check_url(url.replace(PORT, str(canary.port)))

    assert refused.value.message and refused.value.hint and canary.hits() == []


def test_corpus_is_large_and_its_plain_members_would_reach_the_canary(canary):
    assert len(set(CORPUS)) >= 80
    reachable = 0
    for host in (
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "①②⑦.⓪.⓪.①",
        "::1",
        "::ffff:127.0.0.1",
        "localhost",
    ):
        with socket.create_connection((host, canary.port), 60):
            reachable += 1
    assert reachable == len(canary.hits()) == 8


@pytest.mark.parametrize(
    "payload", ["\n--exec x", "http://a.example/\r\nHost: b", "http://a.example/\0", "http://a.example/ x"]
)
def test_unprintable_is_refused(payload):
    with raises(Code.BAD_URL):
        check_url(payload)


def test_too_long_is_refused():
    with raises(Code.BAD_URL, match="4096"):
        check_url("http://a.example/" + "x" * 5000)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://example.com/watch?v=1#t=2", "https://example.com/watch?v=1#t=2"),
        ("  HTTPS://Example.COM. ", "https://example.com/"),
        ("http://example.com:80/a", "http://example.com:80/a"),
        ("https://münchen.example/ü", "https://xn--mnchen-3ya.example/ü"),
        ("http://8.8.8.8/a.mp4", "http://8.8.8.8/a.mp4"),
        ("http://[2606:4700:0000::1111]/", "http://[2606:4700::1111]/"),
        ("https://r3---sn-4g5e6nze.example.com/x", "https://r3---sn-4g5e6nze.example.com/x"),
        ("https://a_b.example.com/", "https://a_b.example.com/"),
        ("https://1.2.3.4.example/", "https://1.2.3.4.example/"),
    ],
)
def test_public_url_is_taken_in_its_plain_form(url, plain):
    assert check_url(url) == plain


@pytest.mark.parametrize(
    "address",
    """
    0.0.0.0 0.1.2.3 10.255.255.255 100.64.0.1 100.127.255.254 100.100.100.200 127.0.0.1 127.255.255.255
    168.63.129.16 169.254.0.1 169.254.169.253 169.254.169.254 169.254.170.2 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.0.170 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::2 ::127.0.0.1 ::8.8.8.8
    ::ffff:10.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8 64:ff9b::8.8.8.8 64:ff9b:1::1 64:ff9b:1:ffff::1 100::1
    100:0:0:1::1 2001::1 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1:: 2002:808:808::1 3fff::1
    5f00::1 4000::1 200::1 fc00::1 fd00:ec2::254 fd20:ce::254 fe80::1 febf::1 fec0::1 ff02::1 ff0e::1
    """.split(),
)
def test_address_is_not_public(address):
    assert name_refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 168.63.129.17 172.15.0.1 172.32.0.1 192.0.1.1 223.255.255.255 "
    "2606:4700::1111 2a00:1450::1 2001:4860:4860::8888 2001:200::1".split(),
)
def test_address_is_public(address):
    assert name_refusal(ipaddress.ip_address(address)) == ""


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/a", "http://localhost:8000/a", "http://[::1]:8000/a"])
def test_developers_flag_allows_loopback_on_any_port(url):
    assert check_url(url, allow_loopback=True) == url


@pytest.mark.parametrize(
    "host", "10.0.0.1 169.254.169.254 ::ffff:127.0.0.1 0.0.0.0 fd00:ec2::254 db router.lan".split()
)
def test_developers_flag_allows_nothing_else(host):
    with raises(Code.ADDRESS_FORBIDDEN):
        check_target(host, 80, allow_loopback=True)


def test_odd_spelling_stays_refused_under_the_flag():
    with raises(Code.BAD_URL):
        check_url("http://2130706433/", allow_loopback=True)


def test_message_names_no_query():
    with raises(Code.ADDRESS_FORBIDDEN) as refused:
        check_url("http://10.0.0.1/a?token=secret")
    assert "secret" not in refused.value.message + refused.value.hint
    assert urlsplit(check_url("https://example.com/a?token=x")).query == "token=x"
