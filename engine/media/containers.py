"""Identify the container of a file from its bytes, and list the allowed codecs.

The demuxer is chosen here and never probed by FFmpeg: probing would open a playlist named `.mp4`, and then the files or
URLs that the playlist names. Only widely used decoders are allowed, since rare ones are poorly maintained:
CVE-2026-8461 was an out-of-bounds write in MagicYUV. Names of codecs and decoders are those of FFmpeg.
"""

import re
from pathlib import Path
from typing import BinaryIO

from engine.errors import Code

ACCEPTED = "MP4, MOV, MKV, WebM, AVI or MPEG"
HEAD_BYTES = 4096
SEEKING = ("mov", "matroska")  # containers with an index of their key frames
MAX_BOXES = 200_000  # of a fragmented file; a hostile one could hold 60 million empty boxes

MOV_BOXES = tuple(b"ftyp moov mdat moof styp sidx emsg prft uuid wide free skip junk udta pnot".split())
STILL_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"crx ")
TS_PACKETS = {188: 0, 192: 4, 204: 0}  # place of the sync byte by length: broadcast, camera, broadcast with parity
PROGRAM_STARTS = re.compile(rb"\0\0\x01[\xba\xbb\xbd-\xef]")  # a pack, a system header, or a packet of a cut stream
PROGRAM_RIFF = b"CDXA"  # sectors of a Video CD, as `.dat`
RIFF_KINDS = {b"WEBP": "an image (WebP)", b"WAVE": "audio (WAV)"}

# First bytes of files uploaded by mistake, and the name of their kind in the message.
OTHER_KINDS = (
    (b"\x89PNG", "an image (PNG)"),
    (b"\xff\xd8\xff", "an image (JPEG)"),
    (b"GIF8", "an image (GIF)"),
    (b"BM", "an image (BMP)"),
    (b"II*\0", "an image (TIFF)"),
    (b"MM\0*", "an image (TIFF)"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"FLV\x01", "a Flash video"),
    (b"0&\xb2u", "a Windows Media file"),
    (b"fLaC", "audio (FLAC)"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "audio (MP3)"),
    (b"\xff\xfb", "audio (MP3)"),
    (b"\xff\xf1", "audio (AAC)"),
    (b"\xff\xf9", "audio (AAC)"),
    (b"\0\0\x01\xb3", "a bare MPEG video stream without timestamps"),
)
UNKNOWN = "of an unknown kind"
PLAYLIST_WORDS = (b"#extm3u", b"ffconcat", b"[playlist]", b"<mpd", b"<smil", b"<asx", b"v=0\r", b"v=0\n")


def identify_container(path: Path) -> str:
    """Return the FFmpeg name of the demuxer for this file, from its first bytes.

    Raises UNREADABLE_VIDEO for an empty file and any file that is not a video, naming its apparent kind, and
    NO_VIDEO for an audio file.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    demuxer = _name_demuxer(head)
    if demuxer:
        return demuxer
    found = _name_kind(head)
    if found.startswith("audio"):
        raise Code.NO_VIDEO(
            f"The file is {found}; a video with a face is needed.", "Choose the video that this audio belongs to."
        )
    raise Code.UNREADABLE_VIDEO(
        f"The file is {found}, not a video. Accepted: {ACCEPTED}.",
        "Choose another file, or convert it to MP4 first; the name's ending does not matter.",
    )


def is_whole(path: Path, demuxer: str) -> bool:
    """Return True where the file has all the bytes that its structure declares.

    Raises UNREADABLE_VIDEO for an MP4 or MOV without its index. A file that declares no size counts as whole.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if demuxer == "mov":
            return _is_mov_whole(file, size)
        if demuxer == "matroska":
            return _is_matroska_whole(file, size)
        if demuxer == "avi":
            return _is_avi_whole(file, size)
        if demuxer == "mpeg":
            return _is_program_whole(file, size)
        return _is_transport_whole(file, size)


def _is_mov_whole(file: BinaryIO, end: int) -> bool:
    """Check the top-level boxes (ISO/IEC 14496-12, 4.2)."""
    has_index, position = False, 0
    for _ in range(MAX_BOXES):
        kind, size = _read_box(file, position, end)
        if size < 8:  # the end, or appended data that is not a box
            break
        has_index = has_index or kind == b"moov"
        position += size
    if not has_index:
        raise Code.UNREADABLE_VIDEO(
            "The file is truncated: its index (the `moov` box) is missing, and nothing can be read without it.",
            "Copy or download it again; of a recording that broke off, repair the original first.",
        )
    return position <= end


def _read_box(file: BinaryIO, position: int, end: int) -> tuple[bytes, int]:
    file.seek(position)
    header = file.read(16)
    size, kind = int.from_bytes(header[:4], "big"), header[4:8]
    if len(kind) < 4 or not kind.isascii() or not kind.decode("ascii").isprintable():
        return b"", 0
    if size == 1:
        size = int.from_bytes(header[8:16], "big")
    return kind, size if size else end - position


def _is_matroska_whole(file: BinaryIO, end: int) -> bool:
    """Compare the sizes of the Segment and the file (RFC 8794, 4 and 6); a live recording declares none."""
    file.seek(4)
    position, header_size = _read_ebml_size(file)
    file.seek(position + header_size)
    if file.read(4) != b"\x18\x53\x80\x67":
        return True
    start, size = _read_ebml_size(file)
    return start + size <= end


def _read_ebml_size(file: BinaryIO) -> tuple[int, int]:
    """Return the position of the content and its length in bytes, 0 where unknown."""
    first = file.read(1)
    length = 9 - first[0].bit_length() if first and first[0] else 1
    value = int.from_bytes(first + file.read(length - 1), "big") & ((1 << 7 * length) - 1)
    return file.tell(), 0 if value == (1 << 7 * length) - 1 else value


def _is_avi_whole(file: BinaryIO, end: int) -> bool:
    """Compare the sizes of the RIFF chunks (large files have several) with the file; 0 was never completed."""
    position = 0
    while position < end:
        file.seek(position)
        header = file.read(8)
        if header[:4] != b"RIFF":  # the end, or appended data
            return True
        size = int.from_bytes(header[4:], "little")
        if size == 0:
            return False
        position += 8 + size
    return position <= end + 1  # the padding byte of the last chunk is often missing


def _is_program_whole(file: BinaryIO, end: int) -> bool:
    """Return True where the last packet of a program stream ends within the file (ISO/IEC 13818-1, 2.4.3.6)."""
    start = max(0, end - 2**17)  # a packet has 65,541 bytes at most
    file.seek(start)
    tail = file.read()
    last = max((match.start() for match in re.finditer(rb"\0\0\x01[\xbd-\xef]..", tail, re.DOTALL)), default=-1)
    return last < 0 or last + 6 + int.from_bytes(tail[last + 4 : last + 6], "big") <= len(tail)


def _is_transport_whole(file: BinaryIO, end: int) -> bool:
    """Return True where the file consists of whole packets."""
    start, length = find_packets(file.read(HEAD_BYTES))
    return length > 0 and (end - start) % length == 0


def _name_demuxer(head: bytes) -> str:
    if head[4:8] in MOV_BOXES and head[8:12] not in STILL_BRANDS:
        return "mov"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if PROGRAM_STARTS.match(head) or (head.startswith(b"RIFF") and head[8:12] == PROGRAM_RIFF):
        return "mpeg"
    start, length = find_packets(head)
    return "mpegts" if length and (start == 0 or _name_kind(head) == UNKNOWN) else ""


def find_packets(head: bytes) -> tuple[int, int]:
    """Return the start of the first whole packet of a transport stream and the packet length; (0, 0) for no stream.

    A recording may begin within a packet.
    """
    for length, sync in TS_PACKETS.items():
        for start in range(length):
            marks, following = head[start + sync :: length], head[start + sync + 1 :: length]
            wanted = 0.8 * len(marks)  # a few may be damaged
            if len(marks) >= 4 and marks.count(0x47) >= wanted > following.count(0x47):
                return start, length
    return 0, 0


def _name_kind(head: bytes) -> str:
    if not head:
        return "empty (0 bytes)"
    if head[4:8] == b"ftyp":
        return "an image (HEIF or AVIF)"
    if head.startswith(b"RIFF"):
        return RIFF_KINDS.get(head[8:12], "a RIFF file of an unknown kind")
    for start, name in OTHER_KINDS:
        if head.startswith(start):
            return name
    if any(word in head[:512].lower() for word in PLAYLIST_WORDS):
        return "a playlist that only names other files"
    return "text" if _is_text(head) else UNKNOWN


def _is_text(head: bytes) -> bool:
    return b"\0" not in head and head.decode("utf-8", errors="ignore").encode() in (
        head,
        head[:-1],
        head[:-2],
        head[:-3],
    )


# Codecs by family. FFmpeg's decoders of one line share their code, so a sibling adds few lines that a file can reach.
# Siblings that no recorder or editor of these containers writes are left out: mp3adu, mp3on4, h263i, msmpeg4v1, wmv1,
# vp7, mjpegb, sp5x. dvvideo, prores, the sixty variants of adpcm, s302m, theora and dts share no code with these.
VIDEO_CODECS = frozenset({
    "h264", "hevc", "vp8", "vp9", "av1", "mjpeg",
    "mpeg1video", "mpeg2video",  # mpeg12dec.c
    "mpeg4", "h263", "h263p", "flv1",  # h263dec.c; the last two differ in the header of a picture
    "msmpeg4v2", "msmpeg4v3",  # h263dec.c with the tables of msmpeg4dec.c; v3 is DivX 3, once the usual AVI
})  # fmt: skip
AUDIO_CODECS = frozenset({
    "opus", "vorbis", "flac", "alac", "amr_nb", "amr_wb",
    "aac", "aac_latm",  # LATM, of broadcasters, is another header of the same frames (aacdec_latm.h)
    "mp1", "mp2", "mp3",  # mpegaudiodec_template.c
    "ac3", "eac3",  # ac3dec.c
})  # fmt: skip
PCM_CODECS = frozenset({
    f"pcm_{kind}"
    for kind in (
        "alaw mulaw u8 s8 s16le s16be u16le u16be s24le s24be u24le u24be s32le s32be u32le u32be s64le s64be f16le "
        "f24le f32le f32be f64le f64be s8_planar s16le_planar s16be_planar s24le_planar s32le_planar "  # pcm.c
        "bluray dvd"
    ).split()
})  # fmt: skip
DECODERS = frozenset(
    "libdav1d libvpx libvpx-vp9 libopus libvorbis mp3float mp2float mp1float mpegvideo flv msmpeg4 amrnb amrwb".split()
)  # names of decoders that differ from those of their codecs
WHITELIST = ",".join(sorted(VIDEO_CODECS | AUDIO_CODECS | PCM_CODECS | DECODERS))
# for FFmpeg itself, which opens decoders when it probes the streams of a file


def check_video_codec(name: str) -> None:
    """Raise CODEC_REFUSED for a codec that is not allowed."""
    if name not in VIDEO_CODECS:
        raise Code.CODEC_REFUSED(
            f"The video is coded as {name!r}, which is not supported.", "Export the video as H.264 in MP4."
        )


def check_audio_codec(name: str) -> None:
    """Raise CODEC_REFUSED for a codec that is not allowed."""
    if not is_audio_codec_allowed(name):
        raise Code.CODEC_REFUSED(
            f"The audio is coded as {name!r}, which is not supported.", "Export the audio as AAC, the video as MP4."
        )


def is_audio_codec_allowed(name: str) -> bool:
    """Return True where this audio codec is allowed."""
    return name in AUDIO_CODECS | PCM_CODECS
