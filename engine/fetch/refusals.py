"""What a person is told where a site's media is not taken: the child sends a code, the words are here."""

from dataclasses import dataclass

from engine import errors
from engine.errors import EngineError

UPLOAD = "Download it yourself, where you may, and upload the file."


@dataclass(frozen=True, slots=True)
class Words:
    """An error and what it says."""

    error: type[EngineError]
    message: str  # {text} is what the site or yt-dlp said, cut to one line; {names} titles of a playlist
    hint: str


REFUSALS = {
    "ADDRESS_FORBIDDEN": Words(
        errors.AddressForbidden, "The link leads to where nothing is fetched from. {text}", "Use a public link."
    ),
    "SITE_UNREACHABLE": Words(errors.SiteUnreachable, "{text} does not answer.", "Check the link, or try again later."),
    "LIVE_MEDIA": Words(
        errors.LiveMedia, "This is a live stream, and only finished videos are taken.", "Come back when it has ended."
    ),
    "UPCOMING_MEDIA": Words(
        errors.UpcomingMedia, "This video is announced and not yet there.", "Come back when it has been shown."
    ),
    "UNFINISHED_MEDIA": Words(
        errors.UnfinishedMedia, "This live stream has just ended and is not yet a video.", "Try again in some hours."
    ),
    "PLAYLIST_GIVEN": Words(
        errors.PlaylistGiven,
        "The link leads to several videos, and one is wanted. {names}",
        "Give the link of one video, or say which of them.",
    ),
    "MEDIA_TOO_LONG": Words(
        errors.MediaTooLong, "The video is {text} s long, longer than is taken.", "Cut the part that matters."
    ),
    "MEDIA_TOO_LARGE": Words(
        errors.MediaTooLarge, "The video's file is larger than is taken.", "Cut the part that matters, and upload that."
    ),
    "LOGIN_NEEDED": Words(
        errors.LoginNeeded,
        "The site shows this to those who are logged in, or turns programs away. {text}",
        f"Nothing is ever fetched with anybody's login. {UPLOAD}",
    ),
    "NO_MEDIA": Words(errors.NoMedia, "There is no video at this link that can be fetched. {text}", UPLOAD),
    "FETCH_FAILED": Words(errors.FetchFailed, "The video could not be fetched. {text}", f"Try again later. {UPLOAD}"),
}


def explain(code: str, text: str = "", names: tuple[str, ...] = ()) -> EngineError:
    """The error of a code; one that is not known is FETCH_FAILED."""
    words = REFUSALS.get(code, REFUSALS["FETCH_FAILED"])
    listed = " ".join(f"{number}: {name}." for number, name in enumerate(names, 1))
    return words.error(words.message.format(text=text, names=listed).strip(), words.hint)
