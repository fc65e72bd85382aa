"""Sites with separate video and audio: both come through the proxy, within one limit, and become one file."""

import hashlib
import json
import re
from pathlib import Path

import av
import pytest

from engine.errors import Code, EngineError
from engine.fetch import process
from engine.fetch.fetch import FetchedMedia, describe, fetch
from engine.fetch.ytdlp_child import Refusal, _check_video, _describe, _list_parts
from engine.media.clip import open_clip
from engine.settings import FetchLimits
from tests.canary import Canary
from tests.engine.fetch.sites import PUBLIC, Site, Web, redirect, say
from tests.engine.fetch.test_fetch import M3U8, MPD, QUICK
from tests.engine.fetch.test_ytdlp_child import JOB
from tests.engine.media.test_remux import find_moments, write_parts
from tests.raising import raises
from webapp.cli.main import load_command

LIMITS = FetchLimits(max_bytes=1_000_000)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A whole film, its picture, its sound."""
    return write_parts(tmp_path_factory.mktemp("parts"), "mp4")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BOOT", QUICK)


def write_manifest(picture: str = "/v.mp4", sound: str = "/s.m4a") -> bytes:
    """A DASH manifest of two adaptation sets."""
    sets = (("video/mp4", "avc1.4d401e", 'width="160" height="120"', picture), ("audio/mp4", "mp4a.40.2", "", sound))
    listed = "".join(
        f'<AdaptationSet mimeType="{kind}"><Representation id="{number}" bandwidth="1000" codecs="{codec}" {size}>'
        f"<BaseURL>http://www.example{place}</BaseURL></Representation></AdaptationSet>"
        for number, (kind, codec, size, place) in enumerate(sets)
    ).replace("http://www.examplehttp", "http")
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration='
        '"PT1.6S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>' + listed + "</Period></MPD>"
    ).encode()


def serve(site: Site, parts: tuple[Path, Path, Path]) -> None:
    _, picture, sound = parts
    site.pages = {
        "/a": say(write_manifest(), MPD),
        "/v.mp4": say(picture.read_bytes(), "video/mp4"),
        "/s.m4a": say(sound.read_bytes(), "audio/mp4"),
    }


def fetch_all(folder: Path, web: Web, limits: FetchLimits = LIMITS) -> FetchedMedia:
    return fetch("http://www.example/a", folder, limits, network=web.network)


def check_merged(media: FetchedMedia, parts: tuple[Path, Path, Path]) -> None:
    whole, picture, sound = parts
    data = media.path.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (media.sha256, media.n_bytes)
    result = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in (picture, sound))
    assert media.parts_sha256 == result
    clip, original = open_clip(media.path), open_clip(whole)
    assert (clip.n_frames, clip.has_audio) == (original.n_frames, True)
    assert find_moments(clip) == pytest.approx(find_moments(original), abs=0.003)


def test_picture_and_sound_of_a_manifest_become_one_file(
    site: Site, web: Web, tmp_path: Path, parts: tuple[Path, Path, Path]
) -> None:
    serve(site, parts)
    media = fetch_all(tmp_path, web)

    check_merged(media, parts)
    assert re.fullmatch(r"[0-9a-f]{32}\.mp4", media.path.name) and list(tmp_path.iterdir()) == [media.path]
    assert set(web.dialled) == {PUBLIC} and media.final_url.endswith("/a")


def test_sound_of_a_stream_in_pieces_is_found_next_to_it(
    site: Site, web: Web, tmp_path: Path, parts: tuple[Path, Path, Path]
) -> None:
    serve(site, parts)
    master = (
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="one",DEFAULT=YES,URI="s.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=90000,RESOLUTION=160x120,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="a"\nv.m3u8\n'
    )
    site.pages["/a"] = say(master.encode(), M3U8)
    for name, piece in (("v", "v.mp4"), ("s", "s.m4a")):
        listed = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\n{piece}\n#EXT-X-ENDLIST\n"
        site.pages[f"/{name}.m3u8"] = say(listed.encode(), M3U8)
    check_merged(fetch_all(tmp_path, web), parts)


def test_language_of_the_chosen_sound_is_in_the_file_and_the_other_is_reported(
    site: Site, web: Web, tmp_path: Path, parts: tuple[Path, Path, Path]
) -> None:
    serve(site, parts)
    media = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{}",LANGUAGE="{}",DEFAULT={},URI="{}.m3u8"\n'
    master = (
        f"#EXTM3U\n{media.format('Deutsch', 'de', 'NO', 'dub')}{media.format('English', 'en-GB', 'YES', 's')}"
        '#EXT-X-STREAM-INF:BANDWIDTH=90000,RESOLUTION=160x120,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="a"\nv.m3u8\n'
    )
    site.pages["/a"] = say(master.encode(), M3U8)
    for name, piece in (("v", "v.mp4"), ("s", "s.m4a")):
        listed = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.6,\n{piece}\n#EXT-X-ENDLIST\n"
        site.pages[f"/{name}.m3u8"] = say(listed.encode(), M3U8)
    found = fetch_all(tmp_path, web)

    check_merged(found, parts)
    assert found.language == "en-GB" and [(one.language, one.note) for one in found.offered] == [
        ("en-GB", "English"),
        ("de", "Deutsch"),
    ]
    assert found.format_id.endswith("+a-English")
    with av.open(str(found.path)) as container:
        assert container.streams.audio[0].metadata["language"] == "eng"
    described = describe("http://www.example/a", LIMITS, network=web.network)
    assert (described.format_id, described.language, described.offered) == (
        found.format_id,
        found.language,
        found.offered,
    )


def test_description_fetches_neither(site: Site, web: Web, parts: tuple[Path, Path, Path]) -> None:
    serve(site, parts)
    assert describe("http://www.example/a", LIMITS, network=web.network).title
    assert not {"/v.mp4", "/s.m4a"} & set(site.paths)


def refuse(folder: Path, web: Web, code: str, limits: FetchLimits = LIMITS) -> EngineError:
    with raises(code) as raised:
        fetch_all(folder, web, limits)
    assert list(folder.iterdir()) == []
    return raised.value


def test_limit_is_of_both_together(site: Site, web: Web, tmp_path: Path, parts: tuple[Path, Path, Path]) -> None:
    serve(site, parts)
    sizes = [path.stat().st_size for path in parts[1:]]
    refuse(tmp_path, web, Code.MEDIA_TOO_LARGE, FetchLimits(max_bytes=max(sizes) + min(sizes) // 2))


@pytest.mark.parametrize("part", ["/v.mp4", "/s.m4a"])
def test_both_parts_require_public_addresses(
    site: Site, web: Web, canary: Canary, tmp_path: Path, parts: tuple[Path, Path, Path], part: str
) -> None:
    serve(site, parts)
    site.pages[part] = redirect(f"http://127.0.0.1:{canary.port}{part}")
    refuse(tmp_path, web, Code.ADDRESS_FORBIDDEN)


@pytest.mark.parametrize(
    ("part", "data", "code"),
    [
        ("/s.m4a", b"", Code.FETCH_FAILED),
        ("/s.m4a", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n", Code.UNREADABLE_VIDEO),
        ("/v.mp4", b"ffconcat version 1.0\nfile /etc/hostname\n", Code.UNREADABLE_VIDEO),
        ("/v.mp4", b"\0\0\0\x20ftypisom" + bytes(2000), Code.UNREADABLE_VIDEO),
    ],
    ids="empty playlist concat damaged".split(),
)
def test_parts_that_are_no_video_are_refused(
    site: Site,
    web: Web,
    tmp_path: Path,
    parts: tuple[Path, Path, Path],
    part: str,
    data: bytes,
    code: str,
) -> None:
    serve(site, parts)
    site.pages[part] = say(data, "video/mp4")
    refuse(tmp_path, web, code)


def test_missing_part_is_reported(site: Site, web: Web, tmp_path: Path, parts: tuple[Path, Path, Path]) -> None:
    serve(site, parts)
    del site.pages["/s.m4a"]
    refuse(tmp_path, web, Code.NO_MEDIA)


def test_command_prints_both_hashes(
    site: Site,
    tmp_path: Path,
    parts: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve(site, parts)
    base = f"http://127.0.0.1:{site.port}"
    site.pages["/a"] = say(write_manifest(f"{base}/v.mp4", f"{base}/s.m4a"), MPD)
    monkeypatch.setenv("WAYSPEAK_ALLOW_LOOPBACK_FETCH", "1")
    load_command("fetch")([f"{base}/a", "--out", str(tmp_path / "b.mp4"), "--json"], standalone_mode=False)
    assert len(json.loads(capsys.readouterr().out)["parts_sha256"]) == 2


VIDEO, AUDIO = {"vcodec": "avc1", "acodec": "none"}, {"vcodec": "none", "acodec": "mp4a"}


@pytest.mark.parametrize(
    ("formats", "n"), [(None, 0), ([], 0), ([VIDEO, AUDIO], 2), ([AUDIO, VIDEO], 2)], ids="none empty one other".split()
)
def test_picture_goes_before_sound(formats: list[dict[str, str]] | None, n: int) -> None:
    found = _list_parts({"requested_formats": formats})
    assert len(found) == n and (not found or found[0] == VIDEO)


@pytest.mark.parametrize("formats", [[VIDEO], [VIDEO, VIDEO], [VIDEO, AUDIO, AUDIO]])
def test_other_numbers_of_parts_are_refused(formats: list[dict[str, str]]) -> None:
    with pytest.raises(Refusal):
        _list_parts({"requested_formats": formats})


def test_sizes_stated_by_the_site_are_added() -> None:
    parts = [VIDEO | {"filesize": 600, "url": "http://a.example/v"}, AUDIO | {"filesize": 401}]
    with pytest.raises(Refusal) as refused:
        _check_video({"requested_formats": parts}, JOB)
    assert refused.value.code == "MEDIA_TOO_LARGE" and JOB.max_bytes == 1000
    assert _describe({"requested_formats": parts})["url"] == "http://a.example/v"
