"""Makes the files that would do harm if they could: playlists, bombs, lies, strange codings, damage."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.clips import Film, write_clip

MATROSKA_CHANNELS = b"\x9f\x81"  # of 1 byte
MATROSKA_DURATION = b"\x44\x89\x88"  # of 8 bytes, IEEE 754 big-endian, in units of a millisecond
PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile {near}\n",
    "concat, a whole path": "ffconcat version 1.0\nfile '{far}'\n",
    "concat without a head": "file '{far}'\nfile {url}\n",
    "concat, a protocol": "ffconcat version 1.0\nfile concat:{far}|{far}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{near}\n#EXT-X-ENDLIST\n",
    "hls, a file": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\nfile://{far}\n#EXT-X-ENDLIST\n",
    "hls, an address": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{url}\n#EXT-X-ENDLIST\n",
    "hls, a master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
    "hls, a key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF:1,\n{near}\n#EXT-X-ENDLIST\n',
    "dash": '<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><Representation><BaseURL>{url}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n",
    "dash, a file": '<?xml version="1.0"?>\n<MPD><Period><AdaptationSet><Representation><BaseURL>file://{far}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "smil": '<smil><body><video src="{url}"/></body></smil>\n',
}


def write_playlist(path: Path, kind: str, foreign: Path, port: int) -> Path:
    """Write a playlist that names a foreign file or an address with a watched port."""
    address = f"http://127.0.0.1:{port}/{foreign.name}"
    path.write_text(PLAYLISTS[kind].format(near=foreign.name, far=foreign.absolute(), url=address, port=port))
    return path


def write_repeated(path: Path, size_px: tuple[int, int], times_s: np.ndarray, is_skipped: bool = False) -> Path:
    """One tiny black H.264 picture again and again, so that anything can be claimed at the price of a few bytes.

    Skipped ones say "as before" and are the smallest there are; the others stand alone.
    """
    options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "51", "threads": "1"}
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", 25, options=options)
        video.width, video.height = size_px
        video.pix_fmt, video.codec_context.time_base = "yuv420p", Fraction(1, 25)
        video.time_base = Fraction(1, 90_000)
        packets = list(_encode_black(video, 2))
        for number, time in enumerate(times_s):
            packet = av.Packet(bytes(packets[1 if is_skipped and number else 0]))
            packet.stream, packet.time_base = video, Fraction(1, 90_000)
            packet.pts = packet.dts = round(time * 90_000)
            packet.is_keyframe = not (is_skipped and number)
            container.mux(packet)
    return path


def write_bomb(path: Path) -> Path:
    """4 seconds of 8192 x 8192 pixels in 200 kB: 19 GB once they are decoded."""
    return write_repeated(path, (8192, 8192), np.arange(100) / 25, is_skipped=True)


def write_lie(path: Path, claimed_s: float, times_s: np.ndarray) -> Path:
    """Write a Matroska file with a false duration in its header."""
    data = bytearray(write_repeated(path, (64, 48), times_s).read_bytes())
    place = data.index(MATROSKA_DURATION) + len(MATROSKA_DURATION)
    data[place : place + 8] = np.array(claimed_s * 1000, ">f8").tobytes()
    path.write_bytes(data)
    return path


def write_coded(path: Path, picture: str, sound: str | None = None, pixel_format: str = "yuv420p") -> Path:
    """Half a second in these codings."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(picture, 25)
        video.width, video.height, video.pix_fmt = 64, 48, pixel_format
        audio = container.add_stream(sound, 48_000, layout="stereo") if sound else None
        for packet in _encode_black(video, 12):
            container.mux(packet)
        if audio is not None:
            write_silence(container, audio, 24_000)
    return path


def write_channels(path: Path, channels: int, rate_hz: int = 48_000) -> Path:
    """Write half a second of audio with this many channels of unknown layout."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", 25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate_hz, layout="7.1" if channels == 8 else "stereo")
        for packet in _encode_black(video, 12):
            container.mux(packet)
        write_silence(container, audio, rate_hz // 2)
    if channels not in (2, 8):
        data = bytearray(path.read_bytes())
        place = data.index(MATROSKA_CHANNELS + b"\x02\xb5") + len(MATROSKA_CHANNELS)  # not in a random UID
        data[place] = channels
        path.write_bytes(data)
    return path


def write_streams(path: Path, count: int) -> Path:
    """One stream of pictures, and as many of sound as make up this count."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", 25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", 48_000, layout="mono") for _ in range(count - 1)]
        for packet in _encode_black(video, 12):
            container.mux(packet)
        for audio in sounds:
            write_silence(container, audio, 24_000)
    return path


def write_silence(container: av.container.OutputContainer, audio: av.AudioStream, count: int) -> None:
    """This many samples of nothing."""
    layout, rate, step = audio.codec_context.layout, audio.codec_context.sample_rate, 960
    for start in range(0, count, step):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, step * layout.nb_channels), np.float32), "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(audio.encode(frame))
    container.mux(audio.encode(None))


def write_seeds(folder: Path) -> list[Path]:
    """One small, whole file of every container, to be damaged."""
    folder.mkdir(exist_ok=True)
    film = Film(duration_s=1.2, size_px=(64, 48))
    suffixes = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".ts")
    seeds = [write_clip(folder / f"seed{suffix}", film) for suffix in suffixes]
    fragments = Film(duration_s=1.2, size_px=(64, 48), options=(("movflags", "frag_keyframe+empty_moov"),))
    return [*seeds, write_clip(folder / "fragments.mp4", fragments)]


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage a file in one of the ways in which files are damaged, or made to do harm."""
    damaged = np.frombuffer(data, np.uint8).copy()
    kind = rng.integers(6)
    if kind == 0:  # noise all over
        places = rng.integers(0, len(damaged), max(1, len(damaged) // 100))
        damaged[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    elif kind == 1:  # cut short
        damaged = damaged[: rng.integers(0, len(damaged))]
    elif kind == 2:  # a few numbers of the structure, as large or small as they can be
        for place in rng.integers(0, max(1, min(len(damaged) - 4, 4096)), 4):
            damaged[place : place + 4] = rng.choice([0, 1, 0x7F, 0x80, 0xFF], 4)
    elif kind == 3:  # a hole
        start = rng.integers(0, len(damaged))
        damaged[start : start + rng.integers(1, 4096)] = 0
    elif kind == 4:  # a piece twice
        start, stop = sorted(rng.integers(0, len(damaged), 2))
        damaged = np.concatenate([damaged[:stop], damaged[start:]])
    else:  # a piece lost
        start, stop = sorted(rng.integers(0, len(damaged), 2))
        damaged = np.concatenate([damaged[:start], damaged[stop:]])
    return damaged.tobytes()


def _encode_black(video: av.VideoStream, count: int) -> Iterator[av.Packet]:
    width, height = video.width, video.height
    frame = av.VideoFrame(width, height, video.pix_fmt)
    for plane, value in zip(frame.planes, (16, 128, 128, 128), strict=False):
        plane.update(bytes([value]) * plane.buffer_size)
    for number in range(count):
        frame.pts, frame.time_base = number, Fraction(1, 25)
        yield from video.encode(frame)
    yield from video.encode(None)
