"""Which of the videos at a link is meant, and what of a link is shown."""

import pytest

from engine.fetch.items import MediaItem
from webapp.pages.link import choose_item, offer

LINK = "https://a.example/b"


@pytest.mark.parametrize(
    ("url", "item", "offered", "expected"),
    [
        (LINK, 2, LINK, 2),
        (f" {LINK} ", 2, LINK, 2),
        (LINK, None, LINK, 0),
        (LINK, 2, None, 0),
        ("https://a.example/c", 2, LINK, 0),  # the link was changed, and the page has not answered yet
    ],
)
def test_a_number_is_one_of_the_videos_offered_for_the_link(
    url: str, item: int | None, offered: str | None, expected: int
) -> None:
    assert choose_item(url, item, offered) == expected


def test_videos_are_offered_by_number_and_name_without_a_choice() -> None:
    shown, of = offer((MediaItem(1, "first", 9.0), MediaItem(2, "second", None)), LINK)
    assert (shown["visible"], shown["value"], of) == (True, None, LINK)
    assert [number for _, number in shown["choices"]] == [1, 2]
    hidden, of = offer((), None)
    assert (hidden["visible"], hidden["choices"], of) == (False, [], None)
