import hashlib
import logging
import os
import re
import socket
import struct
import time
import zlib
from importlib import metadata

import pytest

from engine import errors
from engine.errors import Code, EngineError
from engine.fetch import fetch as fetching
from engine.fetch import process
from engine.fetch.fetch import describe, fetch, find_image_type, strip_url
from engine.fetch.items import SeveralVideos
from engine.fetch.proxy import Proxy
from engine.settings import FetchLimits
from tests.engine.fetch.sites import PUBLIC, drip, redirect, say
from tests.engine.fetch.test_url_policy import CORPUS, PORT
from tests.raising import raises

LIMITS = FetchLimits(max_bytes=1_000_000)
M3U8, MPD = "application/vnd.apple.mpegurl", "application/dash+xml"
JPEG = b"\xff\xd8\xff\xe0 picture"


QUICK = """import sys; sys.path += sys.argv[1:]
from engine.fetch import ytdlp_child as downloader
choose = downloader._choose_options
downloader._choose_options = lambda *arguments: choose(*arguments) | {"allowed_extractors": ["generic", "html5"]}
downloader.main()"""


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Children that know the sites of the tests alone, and so start in half the time; but for tests marked `whole`."""
    if "whole" not in request.fixturenames:
        monkeypatch.setattr(process, "BOOT", QUICK)


@pytest.fixture
def whole():
    """The child as it is."""


def fetch_all(folder, web, path, limits=LIMITS, **more):
    return fetch(f"http://www.example{path}", folder, limits, network=web.network, **more)


def refuse(folder, web, path, error, limits=LIMITS, **more):
    """Fetch a refused video: the error has this code and a hint, and nothing is left."""
    with pytest.raises(EngineError) as raised:
        fetch_all(folder, web, path, limits, **more)
    assert raised.value.code == error, f"{raised.value.code}: {raised.value.message}"
    assert raised.value.message and raised.value.hint
    assert list(folder.iterdir()) == []
    return raised.value


def write_playlist(*pieces: str, end: str = "#EXT-X-ENDLIST") -> bytes:
    lines = "\n".join(f"#EXTINF:2.0,\n{piece}" for piece in pieces)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n{lines}\n{end}\n".encode()


def write_mpd(base: str, duration: str = "PT4S", kind: str = "static") -> bytes:
    return f"""<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="{kind}"
      mediaPresentationDuration="{duration}" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>
      <AdaptationSet mimeType="video/mp4"><Representation id="v" bandwidth="1000" codecs="avc1.4d401e,mp4a.40.2"
      width="160" height="120"><BaseURL>{base}</BaseURL></Representation></AdaptationSet></Period></MPD>""".encode()


def test_page_and_plain_file_are_fetched_from_loopback_under_the_flag(whole, site, film, tmp_path, caplog):
    title = "../../../etc/x \u202e" + "long " * 100
    page = f'<html><head><title>{title}</title></head><body><video src="a.mp4?token=secret"></video></body></html>'
    site.pages = {
        "/page": say(page.encode(), "text/html; charset=utf-8", Set_Cookie="a=b"),
        "/a.mp4": say(film, "video/mp4"),
    }
    limits, steps = FetchLimits(allow_loopback=True), []
    caplog.set_level(logging.WARNING)
    plain = fetch(f"http://127.0.0.1:{site.port}/a.mp4?token=secret", tmp_path, limits)
    paged = fetch(f"http://localhost:{site.port}/page", tmp_path, limits, on_step=lambda *step: steps.append(step))

    for media in (plain, paged):
        assert media.path.read_bytes() == film and media.n_bytes == len(film)
        assert media.sha256 == hashlib.sha256(film).hexdigest()
        assert re.fullmatch(r"[0-9a-f]{32}\.mp4", media.path.name) and media.path.parent == tmp_path
        assert "secret" not in media.final_url and media.final_url.endswith(f":{site.port}/a.mp4")
        assert media.ytdlp_version == metadata.version("yt-dlp") and "guard" in media.layers
        assert media.title.isprintable() and len(media.title) <= 300
    assert sorted(tmp_path.iterdir()) == sorted((plain.path, paged.path))
    assert {name for name, _, _ in steps} == {"fetch"}
    assert sum("ALLOW_LOOPBACK" in record.message for record in caplog.records) == 2
    assert [headers.get("cookie") for path, headers in site.requests if path.startswith("/a.mp4")][-1] == "a=b"
    assert not any("cookie" in headers for path, headers in site.requests if path == "/page")


def test_a_cookie_of_the_page_opens_its_media_within_one_fetch(site, web, tmp_path, film):
    def give_to_visitors(handler):
        known = "visit=1" in handler.headers.get("Cookie", "")
        say(film, "video/mp4", **({} if known else {"Content_Length": "0"}), status=200 if known else 403)(handler)

    page = b'<title>Wall</title><video src="/a.mp4"></video>'
    site.pages = {"/page": say(page, Set_Cookie="visit=1; Path=/; HttpOnly"), "/a.mp4": give_to_visitors}
    assert fetch_all(tmp_path, web, "/page").path.read_bytes() == film
    (tmp_path / "next").mkdir()
    refuse(tmp_path / "next", web, "/a.mp4", Code.LOGIN_NEEDED)  # the cookie ended with the first fetch


def test_a_cookie_wall_lets_the_second_visit_through(site, web, tmp_path, film):
    def redirect_once(handler):
        known = "seen=1" in handler.headers.get("Cookie", "")
        (say(film, "video/mp4") if known else say(b"", status=302, Location="/a.mp4", Set_Cookie="seen=1"))(handler)

    site.pages = {"/a.mp4": redirect_once}
    assert fetch_all(tmp_path, web, "/a.mp4").path.read_bytes() == film


def test_without_the_flag_nothing_of_the_corpus_gets_as_far_as_the_child(monkeypatch, canary, tmp_path):
    monkeypatch.setattr(fetching, "run_job", lambda *_: pytest.fail("a child was started"))
    for url in CORPUS:
        with raises(Code.BAD_URL, Code.ADDRESS_FORBIDDEN):
            fetch(url.replace(PORT, str(canary.port)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_description_has_title_and_picture_and_fetches_no_more(whole, site, web):
    picture = b'<meta property="og:image" content="http://www.example/p.jpg">'
    page = picture + b'<title>Speech</title><video src="/a.mp4"></video>'
    site.pages = {"/page": say(page), "/p.jpg": say(JPEG, "image/jpeg")}
    found = describe("http://www.example/page", LIMITS, network=web.network)

    assert found.title.startswith("Speech") and found.duration_s is None and found.extractor == "HTML5MediaEmbed"
    assert (found.thumbnail, found.thumbnail_type) == (JPEG, "image/jpeg")
    assert "/a.mp4" not in site.paths


def test_description_has_the_length_that_a_manifest_tells(site, web):
    site.pages = {"/a": say(write_playlist("1.ts", "2.ts"), M3U8)}
    found = describe("http://www.example/a", LIMITS, network=web.network)

    assert (found.duration_s, found.thumbnail, found.thumbnail_type) == (4.0, b"", "")
    assert "/1.ts" not in site.paths


def test_stream_in_pieces_is_fetched_whole(site, web, tmp_path, film):
    half = len(film) // 2
    site.pages = {
        "/a.m3u8": say(write_playlist("1.ts", "http://other.example/2.ts"), M3U8),
        "/1.ts": say(film[:half]),
        "/2.ts": say(film[half:]),
    }
    media = fetch_all(tmp_path, web, "/a.m3u8")

    assert media.path.read_bytes() == film and media.duration_s == 4.0
    assert web.asked[-1] == "other.example" and set(web.dialled) == {PUBLIC}


INNER = {
    "redirect": lambda where: {"/a": redirect("http://b.example/b"), "/b": redirect(where)},
    "video": lambda where: {"/a": say(b'<video src="%s"></video>' % where.encode())},
    "og:video": lambda where: {"/a": say(b'<meta property="og:video" content="%s">' % where.encode())},
    "segment": lambda where: {"/a": say(write_playlist(where), M3U8)},
    "key": lambda where: (
        {"/a": say(write_playlist(f'1.ts\n#EXT-X-KEY:METHOD=AES-128,URI="{where}"', "2.ts"), M3U8)}
        | {"/1.ts": say(b"x"), "/2.ts": say(bytes(16))}
    ),
    "variant": lambda where: {"/a": say(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{where}\n".encode(), M3U8)},
    "base of a DASH manifest": lambda where: {"/a": say(write_mpd(where), MPD)},
}


@pytest.mark.parametrize("place", INNER)
def test_inner_address_that_is_not_public_is_never_reached(site, web, canary, tmp_path, place):
    site.pages = INNER[place](f"http://127.0.0.1:{canary.port}/x.mp4")
    refuse(tmp_path, web, "/a", Code.ADDRESS_FORBIDDEN)
    assert PUBLIC in web.dialled and set(web.dialled) == {PUBLIC}


def test_name_that_turns_to_loopback_between_page_and_file_is_refused(site, web, canary, tmp_path):
    web.name("www.example", [PUBLIC], ["127.0.0.1"])
    site.pages = {"/a": say(b'<video src="/a.mp4"></video>')}
    assert "www.example" in refuse(tmp_path, web, "/a", Code.ADDRESS_FORBIDDEN).message


def test_picture_at_an_inner_address_is_left_out(site, web, canary):
    where = f"http://127.0.0.1:{canary.port}/p.jpg".encode()
    page = b'<meta property="og:image" content="%s"><video src="/a.m3u8"></video>' % where
    site.pages = {"/a": say(page), "/a.m3u8": say(write_playlist("1.ts"), M3U8)}
    found = describe("http://www.example/a", LIMITS, network=web.network)
    assert (found.thumbnail, found.thumbnail_type) == (b"", "")


@pytest.mark.parametrize(
    ("pages", "error"),
    [
        ({"/a": say(write_playlist("1.ts", end=""), M3U8)}, Code.LIVE_MEDIA),
        ({"/a": say(write_mpd("1.mp4", kind="dynamic"), MPD)}, Code.LIVE_MEDIA),
        ({"/a": say(write_playlist(*["1.ts"] * 500), M3U8)}, Code.MEDIA_TOO_LONG),
        ({"/a": say(b"<p>Please log in</p>", status=401)}, Code.LOGIN_NEEDED),
        ({"/a": say(b"<p>words</p>")}, Code.NO_MEDIA),
        ({}, Code.NO_MEDIA),
        ({"/a": say(b"", status=503)}, Code.FETCH_FAILED),
        ({"/a": say(b"PK\x03\x04 an archive", "video/mp4")}, Code.UNREADABLE_VIDEO),
    ],
    ids="live-hls live-dash long login page missing broken archive".split(),
)
def test_what_is_not_taken_has_an_error_of_its_own(site, web, tmp_path, pages, error):
    site.pages = pages
    begun_s = time.monotonic()
    refuse(tmp_path, web, "/a", error)
    assert time.monotonic() - begun_s < 60 and "/1.ts" not in site.paths


def test_of_several_videos_one_has_to_be_chosen(site, web, tmp_path, film):
    page = b'<title>Two</title><video src="/1.mp4"></video><video src="/2.mp4"></video>'
    site.pages = {"/a": say(page), "/1.mp4": say(b"\0", "video/mp4"), "/2.mp4": say(film, "video/mp4")}
    error = refuse(tmp_path, web, "/a", Code.PLAYLIST_GIVEN)

    assert "1: " in error.message and "2: " in error.message and "3: " not in error.message
    assert isinstance(error, SeveralVideos)
    assert [(one.number, one.title, one.duration_s) for one in error.items] == [
        (1, "Two (1)", None),
        (2, "Two (2)", None),
    ]
    assert fetch_all(tmp_path, web, "/a", item=2).path.read_bytes() == film


@pytest.mark.parametrize(
    "answer",
    [
        drip(b"\0\0\0\x20ftypisom", b"x" * 50_000, 0),
        drip(b"\0\0\0\x20ftypisom", b"x" * 50_000, 0, chunked=True),
        say(b"\0\0\0\x20ftypisom", "video/mp4", Content_Length="3000000000"),
    ],
    ids="endless chunked lying".split(),
)
def test_too_much_ends_at_the_limit(site, web, tmp_path, answer):
    site.pages = {"/a.mp4": answer}
    refuse(tmp_path, web, "/a.mp4", Code.MEDIA_TOO_LARGE)


def test_stream_of_endless_pieces_ends_at_the_limit(site, web, tmp_path):
    pieces = [f"p.ts?{number}" for number in range(400)]  # 13 minutes by its own word
    site.pages = {"/a": say(write_playlist(*pieces), M3U8), "/p.ts": say(b"x" * 100_000)}
    refuse(tmp_path, web, "/a", Code.MEDIA_TOO_LARGE)
    assert sum(path.startswith("/p.ts") for path in site.paths) <= 12


def test_file_shorter_than_announced_is_no_file(site, web, tmp_path, film):
    site.pages = {"/a.mp4": say(film[:9000], "video/mp4", Content_Length=str(len(film)))}
    refuse(tmp_path, web, "/a.mp4", Code.FETCH_FAILED)


def test_slow_trickle_download_is_aborted(site, web, tmp_path):
    site.pages = {"/a.mp4": drip(b"\0\0\0\x20ftypisom" + b"x" * 1024, b"x", 0.05)}
    limits = FetchLimits(rate_window_s=1.0, wall_s=60.0)
    refuse(tmp_path, web, "/a.mp4", Code.FETCH_TOO_SLOW, limits)


def test_slow_trickle_page_and_waiting_are_aborted(site, web, tmp_path):
    site.pages = {"/a": drip(b"<html>" + b" " * 1024, b" ", 0.05, "text/html")}
    begun_s = time.monotonic()
    refuse(tmp_path, web, "/a", Code.FETCH_TIMEOUT, FetchLimits(describe_s=4.0))
    assert time.monotonic() - begun_s < 40


def test_decompression_bomb_page_is_refused(site, web, tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 * 1024**2)) + packer.flush(zlib.Z_FULL_FLUSH)
    site.pages = {"/a": say(block * 128 + b"\x03\0", Content_Encoding="deflate")}
    error = refuse(tmp_path, web, "/a", Code.FETCH_FAILED, FetchLimits(memory_bytes=600 * 1024**2))
    assert "memory" in error.message


def test_answer_without_a_length_that_breaks_off_is_no_file(site, web, tmp_path, film):
    def break_off(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp4")
        handler.end_headers()
        handler.wfile.write(film[:9000])
        handler.wfile.flush()
        reset = struct.pack("ii", 1, 0)  # closing sends a reset, as a broken connection does
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        os.close(handler.connection.detach())

    site.pages = {"/a.mp4": break_off}
    refuse(tmp_path, web, "/a.mp4", Code.FETCH_FAILED)


def test_proxy_that_dies_ends_the_download(site, web, tmp_path, monkeypatch):
    proxies = []
    monkeypatch.setattr(fetching, "Proxy", lambda *arguments: proxies.append(Proxy(*arguments)) or proxies[0])
    site.pages = {"/a.mp4": drip(b"\0\0\0\x20ftypisom" + b"x" * 1024, b"x" * 100, 0.02)}

    def kill(name, done, total):
        if "/a.mp4" in site.paths[1:]:
            proxies[0].close()

    error = refuse(tmp_path, web, "/a.mp4", Code.FETCH_FAILED, FetchLimits(), on_step=kill)
    assert error.code == "FETCH_FAILED" and proxies[0].received_bytes > 0


def test_child_that_dies_is_an_error(site, web, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "BOOT", "import os; os.abort()")
    refuse(tmp_path, web, "/a", Code.FETCH_FAILED)


def test_child_ends_with_its_parent(site, web, tmp_path, monkeypatch):
    children = []
    start = process._start
    monkeypatch.setattr(process, "_start", lambda *arguments: children.append(start(*arguments)) or children[0])

    def stop(name, done, total):
        raise KeyboardInterrupt

    site.pages = {"/a.mp4": drip(b"\0\0\0\x20ftypisom" + b"x" * 1024, b"x" * 100, 0.02)}
    with pytest.raises(KeyboardInterrupt):
        fetch_all(tmp_path, web, "/a.mp4", on_step=stop)
    assert children[0].returncode == -9 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", ["2026.07.03", "2025.12.08", "2026.7.3", "2023.1.1"])
def test_older_ytdlp_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setattr(metadata, "version", lambda _: version)
    with raises(Code.FETCH_UNAVAILABLE, match=re.escape(version)):
        fetch("http://www.example/", tmp_path)


@pytest.mark.parametrize("version", ["2026.07.04", "2026.7.4", "2026.10.26", "2026.07.04.232800", "2027.1.1"])
def test_newer_ytdlp_is_taken(monkeypatch, version):
    monkeypatch.setattr(metadata, "version", lambda _: version)
    fetching.check_system()


def test_missing_socket_passing_is_reported(monkeypatch, tmp_path):
    monkeypatch.delattr(socket, "send_fds")
    with raises(Code.FETCH_UNAVAILABLE, match="confine"):
        fetch("http://www.example/", tmp_path)


def test_nothing_of_the_environment_reaches_the_child(whole, site, web, canary, film, tmp_path, monkeypatch):
    home, out = tmp_path / "home", tmp_path / "out"
    plugin = home / ".config/yt-dlp/plugins/evil/yt_dlp_plugins/extractor/evil.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text(f"open({str(home / 'marker')!r}, 'w')\nimport os\nos._exit(3)\n")
    (home / ".config/yt-dlp/config").write_text(
        "--exec 'touch marker'\n--cookies cookies\n--proxy http://127.0.0.1:1\n"
    )
    (home / ".netrc").write_text("machine www.example login a password secret\n")
    there = f"http://127.0.0.1:{canary.port}"
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, there)
    for name, value in (("HOME", home), ("XDG_CONFIG_HOME", home / ".config"), ("PYTHONPATH", plugin.parents[2])):
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(plugin.parents[2])
    site.pages = {"/a.mp4": say(film, "video/mp4")}

    assert fetch_all(out, web, "/a.mp4").path.read_bytes() == film
    assert not list(tmp_path.rglob("marker")) and "secret" not in str(site.requests)


def test_link_left_by_the_child_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text("x")
    (tmp_path / "media.bin").symlink_to(tmp_path / "secret")
    with raises(Code.FETCH_FAILED):
        fetching._keep((tmp_path / "media.bin",), tmp_path, FetchLimits(max_bytes=1000))
    (tmp_path / "folder").mkdir()
    with raises(Code.FETCH_FAILED, match="regular"):
        fetching._keep((tmp_path / "folder",), tmp_path, FetchLimits(max_bytes=1000))


def test_unwritable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(errors.FolderUnwritable):
        fetch("http://www.example/", tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://a.example/b/c.mp4?token=1#x", "https://a.example/b/c.mp4"),
        ("https://user:word@a.example:444/b", "https://a.example:444/b"),
        ("file:///etc/passwd", ""),
        ("javascript:alert(1)", ""),
        ("http://[bad", ""),
    ],
)
def test_kept_url_has_no_token_in_it(url, plain):
    assert strip_url(url) == plain


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (JPEG, "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'>", ""),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_image_type_is_detected_by_its_bytes(data, kind):
    assert find_image_type(data) == kind
