import errno
import json

import pytest
from yt_dlp.utils import DownloadError, ExtractorError, GeoRestrictedError, UnsupportedError, UserNotLive

from engine.errors import Code
from engine.fetch.process import REFUSALS, make_error
from engine.fetch.ytdlp_child import (
    ERROR_PATTERNS,
    STATUS_CODES,
    FetchRequest,
    Refusal,
    _check_video,
    _classify,
    _clean,
    _describe,
)

JOB = FetchRequest("http://a.example/", "/", 3, True, 0, 1000, 900.0, 15.0, 60, 2**30)


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({"is_live": True}, "LIVE_MEDIA"),
        ({"live_status": "is_live"}, "LIVE_MEDIA"),
        ({"live_status": "is_upcoming"}, "UPCOMING_MEDIA"),
        ({"live_status": "post_live"}, "UNFINISHED_MEDIA"),
        ({"duration": 900.5}, "MEDIA_TOO_LONG"),
        ({"fragments": [{"duration": 300}, {"duration": 300}, {"duration": 301}]}, "MEDIA_TOO_LONG"),
        ({"filesize": 1001}, "MEDIA_TOO_LARGE"),
    ],
)
def test_video_is_refused_by_what_the_site_says_of_it(info, code):
    with pytest.raises(Refusal) as refused:
        _check_video(info, JOB)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"live_status": "was_live", "duration": 900, "filesize": 1000},
        {"live_status": "not_live", "is_live": False, "duration": None, "fragments": [{}]},
        {"duration": "long", "filesize": "large"},
    ],
)
def test_video_within_the_limits_is_taken(info):
    _check_video(info, JOB)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnsupportedError("http://a.example/"), "NO_MEDIA"),
        (UserNotLive(), "FETCH_FAILED"),
        (GeoRestrictedError("only in one country"), "FETCH_FAILED"),
        (ExtractorError("Sign in to confirm you're not a bot"), "LOGIN_NEEDED"),
        (ExtractorError("This video is private"), "LOGIN_NEEDED"),
        (ExtractorError("Join this channel to get access to members-only content"), "LOGIN_NEEDED"),
        (ExtractorError("This live event will begin in 3 hours"), "UPCOMING_MEDIA"),
        (ExtractorError("Premieres in 2 days"), "UPCOMING_MEDIA"),
        (ExtractorError("No video formats found!"), "NO_MEDIA"),
        (ExtractorError("Requested format is not available"), "NO_MEDIA"),
        (OSError(errno.EFBIG, "File too large"), "MEDIA_TOO_LARGE"),
        (MemoryError(), "FETCH_FAILED"),
        (ValueError("something else"), "FETCH_FAILED"),
    ],
)
def test_error_is_classified_through_ytdlp_wrapper(error, code):
    assert _classify(error)[0] == code
    behind = DownloadError(f"ERROR: {error}", (type(error), error, None))
    assert _classify(behind)[0] == code


def test_cyclic_error_causes_terminate():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert _classify(first) == ("FETCH_FAILED", "a")


def test_every_code_has_a_text():
    codes = {
        *STATUS_CODES.values(),
        *(code for code, _ in ERROR_PATTERNS),
        "MEDIA_TOO_LONG",
        "MEDIA_TOO_LARGE",
        "FETCH_FAILED",
    }
    assert codes <= set(REFUSALS)
    for code, text in REFUSALS.items():
        error = make_error(code, "because", ("one", "two"))
        assert error.code == code and text.hint and "{" not in error.message
    assert "1: one. 2: two." in make_error("PLAYLIST_GIVEN", names=("one", "two")).message
    assert make_error("no such code").code == Code.FETCH_FAILED
    assert "{names}" in make_error("FETCH_FAILED", "{names}", ("x",)).message  # the text of the site is no template


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("ERROR: [generic] 1: Unable", "1: Unable"),
        ("see https://a.example/b?token=secret#x now", "see https://a.example/b now"),
        ("two\nlines\t\x1b[31mred\x00 \u202eright", "two lines [31mred right"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_text_is_one_printable_line_without_tokens(text, clean):
    assert _clean(text) == clean


def test_title_of_a_hostile_site_is_text_alone():
    found = _describe(
        {"title": "../../x\0" + "\u202e" + "y" * 400, "duration": True, "url": "http://a.example/" + "z" * 9000}
    )
    assert found["title"].startswith("../../x") and len(found["title"]) == 300 and found["title"].isprintable()
    assert len(found["url"]) == 4096


def test_job_survives_the_way_to_the_child():
    assert FetchRequest(**json.loads(JOB.write())) == JOB
