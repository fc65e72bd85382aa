"""What a person is told where a site's media is not taken: the child sends a code, the words are here."""

from dataclasses import dataclass

from engine.errors import Code, EngineError

UPLOAD = "Download it yourself, where you may, and upload the file."


@dataclass(frozen=True, slots=True)
class Words:
    """Message and hint of an error."""

    message: str  # {text} is what the site or yt-dlp said, cut to one line; {names} titles of a playlist
    hint: str


REFUSALS: dict[str, Words] = {
    Code.ADDRESS_FORBIDDEN: Words("The link leads to where nothing is fetched from. {text}", "Use a public link."),
    Code.SITE_UNREACHABLE: Words("{text} does not answer.", "Check the link, or try again later."),
    Code.LIVE_MEDIA: Words(
        "This is a live stream, and only finished videos are taken.", "Come back when it has ended."
    ),
    Code.UPCOMING_MEDIA: Words("This video is announced and not yet there.", "Come back when it has been shown."),
    Code.UNFINISHED_MEDIA: Words("This live stream has just ended and is not yet a video.", "Try again in some hours."),
    Code.PLAYLIST_GIVEN: Words(
        "The link leads to several videos, and one is wanted. {names}",
        "Give the link of one video, or say which of them.",
    ),
    Code.MEDIA_TOO_LONG: Words("The video is {text} s long, longer than is taken.", "Cut the part that matters."),
    Code.MEDIA_TOO_LARGE: Words(
        "The video's file is larger than is taken.", "Cut the part that matters, and upload that."
    ),
    Code.LOGIN_NEEDED: Words(
        "The site shows this to those who are logged in, or turns programs away. {text}",
        f"Nothing is ever fetched with anybody's login. {UPLOAD}",
    ),
    Code.NO_MEDIA: Words("There is no video at this link that can be fetched. {text}", UPLOAD),
    Code.FETCH_FAILED: Words("The video could not be fetched. {text}", f"Try again later. {UPLOAD}"),
}


def explain(code: str, text: str = "", names: tuple[str, ...] = ()) -> EngineError:
    """The error of a code; one that is not known is FETCH_FAILED."""
    known = code if code in REFUSALS else Code.FETCH_FAILED
    words = REFUSALS[known]
    listed = " ".join(f"{number}: {name}." for number, name in enumerate(names, 1))
    return EngineError(words.message.format(text=text, names=listed).strip(), words.hint, known)
