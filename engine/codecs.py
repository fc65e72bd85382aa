"""The codings of picture and sound that are decoded; every other decoder is left alone.

A decoder that hardly anybody uses is hardly looked after: CVE-2026-8461 wrote out of bounds in MagicYUV. The names are
FFmpeg's, and those of the decoders that serve them.
"""

from engine.errors import Code

PICTURE_CODECS = frozenset("h264 hevc vp8 vp9 av1 mpeg4 mpeg1video mpeg2video mjpeg h263".split())
SOUND_CODECS = frozenset("aac mp3 mp2 ac3 eac3 opus vorbis flac alac amr_nb amr_wb".split())
PCM_CODECS = frozenset(
    f"pcm_{kind}"
    for kind in (
        "alaw mulaw u8 s8 bluray dvd s16le s16be u16le u16be s24le s24be s32le s32be f32le f32be f64le f64be".split()
    )
)
DECODERS = frozenset("libdav1d libvpx libvpx-vp9 libopus libvorbis mp3float mp2float mpegvideo amrnb amrwb".split())
WHITELIST = ",".join(sorted(PICTURE_CODECS | SOUND_CODECS | PCM_CODECS | DECODERS))
"""What FFmpeg itself may open, when it looks into the streams of a file."""


def check_picture_codec(name: str) -> None:
    """Raises CODEC_REFUSED for a coding that is not decoded."""
    if name not in PICTURE_CODECS:
        raise Code.CODEC_REFUSED(
            f"The picture is coded as {name!r}, which is not decoded here.", "Export the video as H.264 in MP4."
        )


def check_sound_codec(name: str) -> None:
    """Raises CODEC_REFUSED for a coding that is not decoded."""
    if not is_sound_allowed(name):
        raise Code.CODEC_REFUSED(
            f"The sound is coded as {name!r}, which is not decoded here.", "Export the sound as AAC, the video as MP4."
        )


def is_sound_allowed(name: str) -> bool:
    """Tell whether sound of this coding is decoded."""
    return name in SOUND_CODECS | PCM_CODECS
