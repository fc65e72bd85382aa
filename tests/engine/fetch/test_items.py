"""The list of videos to choose from comes from the site, through the child."""

from engine.errors import Code
from engine.fetch.items import MAX_CHARS, MAX_LISTED, MediaItem, SeveralVideos, describe_items, read_items


def test_title_and_length_of_each_video_are_listed() -> None:
    entries = [{"title": "First", "duration": 94.6}, {"id": "x2"}, {}]
    found = read_items(describe_items(entries))
    assert found == (MediaItem(1, "First", 94.6), MediaItem(2, "x2", None), MediaItem(3, "without a name", None))
    assert [one.name for one in found] == ["First (1:35)", "x2", "without a name"]


def test_a_list_of_the_child_is_bounded() -> None:
    found = read_items([{"title": "a\u202e\n" * 500, "duration_s": -3}, {"duration_s": "x"}] * 99)
    assert len(found) == MAX_LISTED and found[0] == MediaItem(1, "a" * MAX_CHARS, None)
    assert read_items("text") == read_items([3]) == read_items(None) == ()


def test_the_error_carries_the_items() -> None:
    error = SeveralVideos("Several.", "Choose.", [MediaItem(1, "a", None)])
    assert error.code == Code.PLAYLIST_GIVEN and error.items[0].title == "a"
