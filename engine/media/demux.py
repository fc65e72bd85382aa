"""One pass over the packets of a file: when its pictures are shown, and its sound; one picture alone is decoded."""

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
from engine.media.containers import WANTED, check_picture_codec, check_sound_codec, is_sound_allowed
from engine.media.limits import check_duration, check_pixels, check_sound, check_streams
from engine.media.scan import Scan, SoundPiece, is_exact
from engine.media.video import PictureIndex, bound_decoder, open_container, read_packets, shape_pictures
from engine.settings import MediaLimits

NOT_A_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
LENGTH_TOLD = ("matroska", "avi", "mov")  # by the header; elsewhere FFmpeg guesses it
JUMP_S = 0.02  # timestamps off by less than half a frame are rounding, not a gap
SAFE_RATE = 48_000  # what source rates are brought to first that the exact resampler cannot serve
PIECE = 2**16  # samples handed on at once

# ITU-R BS.775: front channels before the surround ones, the low-frequency effects left out.
SIDE_WEIGHT, SURROUND_WEIGHT = math.sqrt(0.5), 0.5
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": SIDE_WEIGHT, "FR": SIDE_WEIGHT, "LFE": 0.0, "LFE2": 0.0}


def mix_down(channels: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """One channel of (C, n) float32: the weighted mean, so that it never exceeds full scale.

    `names` are FFmpeg's: FL, FR, FC, LFE, BL, BR, SL, SR ... A lone or unnamed channel counts as a front one.
    """
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    if len(channels) == 1 or weights.sum() == 0:
        weights = np.ones(len(channels), np.float32)
    mono: np.ndarray = (weights / weights.sum()) @ channels
    return mono


class SoundReader:
    """Decodes one audio stream and hands it on in pieces."""

    def __init__(self, hand_on: Callable[[SoundPiece], None], limits: MediaLimits):
        self.damaged = False  # a packet is incomplete or could not be decoded
        self._hand_on, self._limits = hand_on, limits
        self._shape: tuple[str, str, int] | None = None
        self._converter: AudioResampler | None = None
        self._rate = 0
        self._start_s = 0.0
        self._heard = 0  # samples at the source's rate since `_start_s`; 0: no stretch is open
        self._waiting: list[np.ndarray] = []
        self._n_waiting = 0
        self._is_new = True  # what waits begins a stretch

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
        """Hand on what is left."""
        if self._n_waiting:
            starts_s = self._start_s if self._is_new else None
            self._hand_on(SoundPiece(np.concatenate(self._waiting), self._rate, starts_s))
        self._waiting, self._n_waiting, self._is_new = [], 0, False

    def _convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """The same sound as float32 at a rate the exact resampler can serve, its channels interleaved.

        PyAV 18 counts one plane too many of eight, and reads it.
        """
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._converter is None or shape != self._shape:
            check_sound(frame.layout.nb_channels, frame.sample_rate, self._limits)
            self.finish()
            self._heard = 0
            self._rate = frame.sample_rate if is_exact(frame.sample_rate) else SAFE_RATE
            self._shape, self._converter = shape, AudioResampler("flt", frame.layout, self._rate)
        yield from self._converter.resample(frame)

    def _append(self, frame: AudioFrame) -> None:
        expected_s = self._start_s + (self._heard / self._rate)
        time_s = expected_s if frame.pts is None or frame.time_base is None else float(frame.pts * frame.time_base)
        if self._heard == 0 or abs(time_s - expected_s) > JUMP_S:
            self.finish()
            self._start_s, self._heard, self._is_new = time_s, 0, True
        names = tuple(channel.name for channel in frame.layout.channels)
        mono = mix_down(np.ascontiguousarray(frame.to_ndarray().reshape(-1, len(names)).T), names)
        self._heard += len(mono)
        self._waiting.append(mono)
        self._n_waiting += len(mono)
        if self._n_waiting >= PIECE:
            self.finish()


def scan_file(
    file: io.FileIO,
    demuxer: str,
    limits: MediaLimits,
    on_sound: Callable[[SoundPiece], None],
    on_packet: Callable[[], None],
) -> Scan:
    """Read every packet once; the sound is handed on as it comes.

    Raises UNREADABLE_VIDEO, NO_VIDEO and the codes of a limit exceeded.
    """
    with open_container(file, demuxer, limits.max_pixels) as container:
        declared_s = (container.duration or 0) / av.time_base
        check_duration(declared_s if demuxer in LENGTH_TOLD else 0.0, limits)
        check_streams(len(container.streams.video) + len(container.streams.audio), limits)
        video, audio = _pick_video(container), _pick_audio(container, limits)
        check_pixels(video.codec_context.width, video.codec_context.height, limits)
        video.codec_context.options = bound_decoder(limits.max_pixels)
        index, sound = PictureIndex(video, limits), SoundReader(on_sound, limits)
        broken_off = _read_all(container, video, audio, index, sound, on_packet)
        times, unit_s = index.finish(), float(video.time_base or 0)
        if index.first is None or len(times) == 0:
            raise Code.UNREADABLE_VIDEO(
                f"The file has a picture stream ({video.codec_context.name}), but no picture of it can be decoded.",
                "It may be damaged, truncated or encrypted; export it again, as H.264 in MP4.",
            )
        shape = shape_pictures(index.first, video)
        check_pixels(*shape.scaled_px, limits)
        return Scan(
            times=times,
            unit_s=unit_s,
            last_duration_s=index.last_duration * unit_s,
            shape=shape,
            stream_index=video.index,
            declared_end_s=declared_s,
            damaged=broken_off or index.damaged or sound.damaged,
        )


def _read_all(
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    index: PictureIndex,
    sound: SoundReader,
    on_packet: Callable[[], None],
) -> bool:
    """Hand every packet to its collector; returns True when reading broke off."""
    packets = read_packets(container, *([video, audio] if audio else [video]))
    while True:
        try:
            packet: Packet = next(packets)
        except StopIteration as end:
            sound.finish()
            return bool(end.value)
        on_packet()
        if packet.stream.index == video.index:  # the empty packet at the end has a stream, but no number of its own
            index.add(packet)
        else:
            sound.add(packet)


def _pick_video(container: InputContainer) -> VideoStream:
    """The first film whose coding is decoded here; a cover or a thumbnail is none."""
    films = [stream for stream in container.streams.video if not stream.disposition & NOT_A_FILM]
    if not films:
        raise Code.NO_VIDEO(
            "The file has no video, only " + ("sound." if container.streams.audio else "other streams."),
            f"Choose a video with a face: {WANTED}.",
        )
    for stream in films:
        if stream.codec_context is not None:
            check_picture_codec(stream.codec_context.codec.canonical_name)
            return stream
    raise Code.UNREADABLE_VIDEO(
        "The picture is coded in a way that cannot be decoded here.", "Export it as H.264 in MP4."
    )


def _pick_audio(container: InputContainer, limits: MediaLimits) -> AudioStream | None:
    """The first sound whose coding is decoded here; CODEC_REFUSED where there is sound, but none of that kind."""
    streams = [stream for stream in container.streams.audio if stream.codec_context is not None]
    names = [stream.codec_context.codec.canonical_name for stream in streams]
    for stream, name in zip(streams, names, strict=True):
        if is_sound_allowed(name):
            check_sound(stream.codec_context.channels, stream.codec_context.sample_rate, limits)
            return stream
    if names:
        check_sound_codec(names[0])
    return None
