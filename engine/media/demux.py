"""Read all packets of a file once: frame times and decoded audio; only the first frame is decoded."""

import io
import math
from collections.abc import Callable, Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import Code
from engine.media.containers import ACCEPTED, check_audio_codec, check_video_codec, is_audio_codec_allowed
from engine.media.limits import check_audio, check_duration, check_pixels, check_streams
from engine.media.scan import AudioChunk, Scan, is_exactly_resampled
from engine.media.video import FrameIndex, bound_decoder, open_container, read_geometry, read_packets
from engine.settings import MediaLimits

STILL_IMAGES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
WITH_DURATION = ("matroska", "avi", "mov")  # in the header; for other containers FFmpeg guesses it
JUMP_S = 0.02  # timestamps off by less than half a frame are rounding, not a gap
SAFE_RATE = 48_000  # first step for source rates that the exact resampler does not support
CHUNK = 2**16  # samples per chunk

# ITU-R BS.775: front channels weigh more than surround ones; low-frequency effects are dropped.
SIDE_WEIGHT, SURROUND_WEIGHT = math.sqrt(0.5), 0.5
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": SIDE_WEIGHT, "FR": SIDE_WEIGHT, "LFE": 0.0, "LFE2": 0.0}


def downmix(channels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Mix (C, n) float32 to (n,): the weighted mean, which never exceeds full scale.

    `names` are those of FFmpeg: FL, FR, FC, LFE, BL, BR, SL, SR ... A single or unnamed channel counts as a front one.
    """
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    if len(channels) == 1 or weights.sum() == 0:
        weights = np.ones(len(channels), np.float32)
    mono: np.ndarray = (weights / weights.sum()) @ channels
    return mono


class AudioDecoder:
    """Decode one audio stream and pass it on in chunks."""

    def __init__(self, on_chunk: Callable[[AudioChunk], None], limits: MediaLimits):
        self.damaged = False  # a packet is incomplete or could not be decoded
        self._on_chunk, self._limits = on_chunk, limits
        self._shape: tuple[str, str, int] | None = None
        self._converter: AudioResampler | None = None
        self._rate = 0
        self._start_s = 0.0
        self._n_decoded = 0  # samples at the source rate since `_start_s`; 0: no segment is open
        self._pending: list[np.ndarray] = []
        self._n_pending = 0
        self._is_new = True  # the pending samples begin a segment

    def add(self, packet: "Packet[AudioStream]") -> None:
        """Decode a packet; the empty packet at the end flushes the decoder. Raises SOUND_TOO_LARGE."""
        self.damaged = self.damaged or packet.is_corrupt
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.damaged = True
            return
        for frame in frames:
            for channels in self._convert(frame):
                self._append(channels)

    def finish(self) -> None:
        """Pass on the pending samples."""
        if self._n_pending:
            starts_s = self._start_s if self._is_new else None
            self._on_chunk(AudioChunk(np.concatenate(self._pending), self._rate, starts_s))
        self._pending, self._n_pending, self._is_new = [], 0, False

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """Convert to interleaved float32 at a rate that the exact resampler supports.

        Not planar: PyAV 18 reads one plane too many of eight.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or shape != self._shape:
            check_audio(frame.layout.nb_channels, frame.sample_rate, self._limits)
            self.finish()
            self._n_decoded = 0
            self._rate = frame.sample_rate if is_exactly_resampled(frame.sample_rate) else SAFE_RATE
            self._shape, self._converter = shape, AudioResampler("flt", frame.layout, self._rate)
        yield from self._converter.resample(frame)

    def _append(self, frame: AudioFrame) -> None:
        expected_s = self._start_s + (self._n_decoded / self._rate)
        time_s = expected_s if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._n_decoded == 0 or abs(time_s - expected_s) > JUMP_S:
            self.finish()
            self._start_s, self._n_decoded, self._is_new = time_s, 0, True
        names = tuple(channel.name for channel in frame.layout.channels)
        mono = downmix(np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(names)).T), names)
        self._n_decoded += len(mono)
        self._pending.append(mono)
        self._n_pending += len(mono)
        if self._n_pending >= CHUNK:
            self.finish()


def scan_file(
    file: io.FileIO,
    demuxer: str,
    limits: MediaLimits,
    on_audio: Callable[[AudioChunk], None],
    on_packet: Callable[[], None],
) -> Scan:
    """Read every packet once; pass each audio chunk to `on_audio` and call `on_packet` per packet.

    Raises UNREADABLE_VIDEO, NO_VIDEO and the codes of a limit exceeded.
    """
    with open_container(file, demuxer, limits.max_pixels) as container:
        declared_s = (container.duration or 0) / av.time_base
        check_duration(declared_s if demuxer in WITH_DURATION else 0.0, limits)
        check_streams(len(container.streams.video) + len(container.streams.audio), limits)
        video, audio = _pick_video(container), _pick_audio(container, limits)
        check_pixels(video.codec_context.width, video.codec_context.height, limits)
        video.codec_context.options = bound_decoder(limits.max_pixels)
        index, decoder = FrameIndex(video, limits), AudioDecoder(on_audio, limits)
        broken_off = _read_all(container, video, audio, index, decoder, on_packet)
        times, unit_s = index.finish(), float(video.time_base or 0)
        if index.first is None or len(times) == 0:
            raise Code.UNREADABLE_VIDEO(
                f"The file has a video stream ({video.codec_context.name}), but no frame of it can be decoded.",
                "It may be damaged, truncated or encrypted; export it again, as H.264 in MP4.",
            )
        shape = read_geometry(index.first, video)
        check_pixels(*shape.scaled_px, limits)
        return Scan(
            times=times,
            unit_s=unit_s,
            last_duration_s=index.last_duration * unit_s,
            shape=shape,
            stream_index=video.index,
            declared_end_s=declared_s,
            damaged=broken_off or index.damaged or decoder.damaged,
        )


def _read_all(
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    index: FrameIndex,
    decoder: AudioDecoder,
    on_packet: Callable[[], None],
) -> bool:
    """Pass every packet to the frame index or the audio decoder; return True when reading broke off."""
    packets = read_packets(container, *([video, audio] if audio else [video]))
    while True:
        try:
            packet: Packet = next(packets)
        except StopIteration as end:
            decoder.finish()
            return bool(end.value)
        on_packet()
        if packet.stream.index == video.index:  # the empty packet at the end has a stream, but no stream number
            index.add(packet)
        else:
            decoder.add(packet)


def _pick_video(container: InputContainer) -> VideoStream:
    """Choose the first video stream with a decoder; cover images and thumbnails do not count."""
    streams = [stream for stream in container.streams.video if not stream.disposition & STILL_IMAGES]
    if not streams:
        raise Code.NO_VIDEO(
            "The file has no video, only " + ("audio." if container.streams.audio else "other streams."),
            f"Choose a video with a face: {ACCEPTED}.",
        )
    for stream in streams:
        if stream.codec_context is not None:
            check_video_codec(stream.codec_context.codec.canonical_name)
            return stream
    raise Code.UNREADABLE_VIDEO("The video codec is not supported.", "Export it as H.264 in MP4.")


def _pick_audio(container: InputContainer, limits: MediaLimits) -> AudioStream | None:
    """Choose the first audio stream with an allowed codec; raise CODEC_REFUSED where there are only others."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    names = [stream.codec_context.codec.canonical_name for stream in streams]
    for stream, name in zip(streams, names, strict=True):
        if is_audio_codec_allowed(name):
            check_audio(stream.codec_context.channels, stream.codec_context.sample_rate, limits)
            return stream
    if names:
        check_audio_codec(names[0])
    return None
