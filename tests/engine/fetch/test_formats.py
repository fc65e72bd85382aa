"""Of a dub and the original the original is fetched where the site says so, and the choice is reported."""

from typing import Any

import pytest
from yt_dlp import YoutubeDL

from engine.fetch.formats import (
    MAX_CHARS,
    MAX_OFFERED,
    OfferedAudio,
    describe_formats,
    prefer_language,
    read_offered,
    read_track_language,
)
from engine.fetch.ytdlp_child import FORMATS


def make_format(name: str, **more: Any) -> dict[str, Any]:
    kinds = {"v": ("avc1", "none"), "a": ("none", "mp4a.40.2"), "b": ("avc1", "mp4a.40.2")}
    video, audio = kinds[name[0]]
    return {"format_id": name, "url": f"http://a.example/{name}", "vcodec": video, "acodec": audio, "ext": "mp4"} | more


def select(*formats: dict[str, Any]) -> dict[str, Any]:
    """Choose as the child does."""
    options = {"format": FORMATS, "format_sort": ["lang", "res:1080"], "quiet": True, "simulate": True}
    with YoutubeDL(options) as downloader:
        downloader.format_selector = prefer_language(downloader.format_selector)
        info = {"id": "1", "title": "T", "extractor": "e", "formats": [dict(one) for one in formats]}
        return dict(downloader.process_video_result(info, download=False))


ORIGINAL, DUB = {"language": "en", "language_preference": 10}, {"language": "de", "language_preference": -10}


@pytest.mark.parametrize(
    ("chosen", "formats"),
    [
        ("b1", {"b1": {"height": 720} | ORIGINAL, "b2": {"height": 1080} | DUB}),
        ("v1+a1", {"v1": {"height": 1080}, "a1": {"abr": 64} | ORIGINAL, "a2": {"abr": 256} | DUB}),
        ("v1+a1", {"b1": {"height": 1080} | DUB, "v1": {"height": 480}, "a1": ORIGINAL}),
        ("b1", {"b1": {"height": 1080} | DUB, "a1": ORIGINAL}),
        ("b1", {"b1": {"height": 1080}, "b2": {"height": 480}}),
    ],
    ids="file parts dubbed-file no-video unknown".split(),
)
def test_the_original_is_chosen_before_size_and_resolution(chosen: str, formats: dict[str, dict[str, Any]]) -> None:
    assert select(*(make_format(name, **more) for name, more in formats.items()))["format_id"] == chosen


def test_format_language_and_what_else_was_offered_are_reported() -> None:
    info = select(
        make_format("v1", height=1080),
        make_format("a1", abr=64, format_note="English original", **ORIGINAL),
        make_format("a2", abr=256, format_note="English original", **ORIGINAL),
        make_format("a3", abr=256, format_note="German", **DUB),
    )
    facts = describe_formats(info, info["requested_formats"])
    assert (facts["format_id"], facts["language"], facts["track_language"]) == ("v1+a2", "en", "eng")
    offered = read_offered(facts["offered"])
    assert offered == (
        OfferedAudio("en", "a2", "mp4a.40.2", "English original", 10.0),
        OfferedAudio("de", "a3", "mp4a.40.2", "German", -10.0),
    )
    assert str(offered[1]) == "de, mp4a.40.2, German (a3)"


@pytest.mark.parametrize(("language", "code"), [("pt-BR", "por"), ("deu", "deu"), ("", ""), ("qq", "")])
def test_the_code_of_a_track_has_three_letters(language: str, code: str) -> None:
    facts = describe_formats({}, [make_format("b1", language=language)])
    assert read_track_language(facts["track_language"]) == code


@pytest.mark.parametrize("value", ["", "english", "en", "e\n1", None, 3])
def test_another_code_of_the_child_is_not_taken(value: object) -> None:
    assert read_track_language(value) == ""


def test_a_report_of_the_child_is_bounded() -> None:
    hostile = {"language": "x\u202e" * 900, "format_id": None, "codec": ["c"], "preference": float("inf")}
    found = read_offered([hostile] * 500)
    assert len(found) == MAX_OFFERED and found[0].language == "x" * MAX_CHARS and found[0].preference == -1.0
    assert read_offered("text") == read_offered([3]) == read_offered(None) == ()
