"""Read the packets of a file once: frame times, decoded audio and one joined clock; only the first frame is decoded."""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import Code, EngineError
from engine.media.audio_decoder import AudioDecoder
from engine.media.channels import MIX
from engine.media.clock import WRAP_S, Elapsed, join_runs, unwrap
from engine.media.containers import ACCEPTED, SEEKING, check_audio_codec, check_video_codec, is_audio_codec_allowed
from engine.media.frame_index import FrameIndex
from engine.media.limits import check_audio, check_pixels, check_streams
from engine.media.scan import MARGIN_S, MAX_DAMAGED_SHARE, AudioChunk, Scan, TrackScan, VideoStart
from engine.media.transport import read_programmes
from engine.media.video import bound_decoder, open_container, read_geometry, read_packets, seek_video
from engine.settings import MediaLimits
from engine.types import WHOLE, AudioTrack, MediaSelection

STILL_IMAGES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
SPOKEN_OVER = (
    Disposition.dub
    | Disposition.comment
    | Disposition.visual_impaired
    | Disposition.descriptions
    | Disposition.karaoke
    | Disposition.clean_effects
)  # audio tracks that are seldom the sound of the recording
MAX_DECODED_TRACKS = 6  # of a file, to find the one with speech
WRAPPING = ("mpegts", "mpeg")
MIN_SEEK_S = 30.0
MAX_INTERLEAVED_S = 60.0  # by which the packets of two streams may be apart in a badly written file
UNKNOWN_LANGUAGES = ("und", "")


def scan_file(
    file: io.FileIO,
    demuxer: str,
    limits: MediaLimits,
    on_audio: Callable[[AudioChunk], None],
    on_packet: Callable[[], None],
    selection: MediaSelection = WHOLE,
) -> Scan:
    """Read every packet once; pass each audio chunk to `on_audio` and call `on_packet` per packet.

    Of a range, only what lies in it is decoded and counted against the limits. Raises UNREADABLE_VIDEO, NO_VIDEO,
    BAD_SELECTION and the codes of a limit exceeded.
    """
    programmes = read_programmes(file) if demuxer == "mpegts" else {}
    with open_container(file, demuxer, limits.max_pixels) as container:
        video = pick_video(container)
        tracks = _order_tracks(container, video, programmes)
        chosen = _choose_tracks(tracks, selection, limits)
        check_streams(len(container.streams.video) + len(container.streams.audio), limits)
        check_pixels(video.codec_context.width, video.codec_context.height, limits)
        video.codec_context.options = bound_decoder(limits.max_pixels)
        reader = _PacketReader(container, video, selection, limits, on_packet, WRAP_S if demuxer in WRAPPING else 0.0)
        decoders = {number: AudioDecoder(on_audio, limits, number, selection.channel or MIX) for number in chosen}
        reader.read_all({tracks[number].stream: decoder for number, decoder in decoders.items()}, demuxer)
        return _make_scan(reader, container, tracks, decoders)


class _Track:
    """An audio stream and what the container states about it."""

    def __init__(self, stream: AudioStream, number: int, program: int | None, is_together: bool):
        context = stream.codec_context
        self.stream, self.is_together = stream, is_together
        self.codec = context.codec.canonical_name if context is not None else "unknown"
        self.is_readable = context is not None and is_audio_codec_allowed(self.codec)
        language = str(stream.metadata.get("language", ""))
        self.described = AudioTrack(
            number=number,
            codec=self.codec,
            channels=tuple(channel.name for channel in context.layout.channels) if context is not None else (),
            language=None if language in UNKNOWN_LANGUAGES else language,
            title=stream.metadata.get("title") or None,
            is_default=bool(stream.disposition & Disposition.default),
            program=program,
        )

    @property
    def rank(self) -> tuple[bool, bool, bool, bool, int]:
        """Order of preference, the smallest first: the picture's programme, the original, the default, the first."""
        disposition = self.stream.disposition
        return (
            not self.is_together,
            bool(disposition & SPOKEN_OVER),
            not disposition & Disposition.original,
            not disposition & Disposition.default,
            self.described.number,
        )


def _order_tracks(container: InputContainer, video: VideoStream, programmes: Mapping[int, int]) -> dict[int, _Track]:
    """Return the audio tracks by number, the preferred one first."""
    own = programmes.get(video.id)
    tracks = [
        _Track(stream, number, programmes.get(stream.id), programmes.get(stream.id) == own)
        for number, stream in enumerate(container.streams.audio, 1)
    ]
    return {track.described.number: track for track in sorted(tracks, key=lambda track: track.rank)}


def list_tracks(container: InputContainer, programmes: Mapping[int, int]) -> tuple[AudioTrack, ...]:
    """Return all audio tracks in the order of their numbers; `programmes` are those of a transport stream."""
    tracks = _order_tracks(container, pick_video(container), programmes)
    return tuple(tracks[number].described for number in sorted(tracks))


def _choose_tracks(tracks: Mapping[int, _Track], selection: MediaSelection, limits: MediaLimits) -> Sequence[int]:
    """Return the numbers of the tracks to decode, the preferred one first: the selected one, or all of its programme.

    Raises BAD_SELECTION, and CODEC_REFUSED where there are only tracks of refused codecs.
    """
    wanted = [number for number in tracks if selection.audio_track in (None, number)]
    if selection.audio_track is not None and not wanted:
        raise _make_track_error(tracks, selection.audio_track)
    readable = [number for number in wanted if tracks[number].is_readable]
    if wanted and not readable:
        check_audio_codec(tracks[wanted[0]].codec)
    together = [number for number in readable if tracks[number].is_together == tracks[readable[0]].is_together]
    chosen = together[:MAX_DECODED_TRACKS]
    for number in chosen:
        context = tracks[number].stream.codec_context
        check_audio(context.channels, context.sample_rate, limits)
        _check_channel(tracks[number].described, selection)
    return chosen


def _make_track_error(tracks: Mapping[int, _Track], number: int) -> EngineError:
    found = f"{len(tracks)} audio tracks" if len(tracks) != 1 else "1 audio track"
    return Code.BAD_SELECTION(
        f"Audio track {number} was asked for, and the file has {found}.",
        f"Choose a number from 1 to {len(tracks)}, or leave the choice open." if tracks else "Leave the choice open.",
    )


def _check_channel(track: AudioTrack, selection: MediaSelection) -> None:
    if selection.channel in (None, MIX, *track.channels):
        return
    raise Code.BAD_SELECTION(
        f"Channel {selection.channel} was asked for, and audio track {track.number} has "
        f"{', '.join(track.channels) or 'none'}.",
        f"Choose one of them, or {MIX} for all.",
    )


class _PacketReader:
    """Pass the packets of a range to the frame index and the audio decoders."""

    def __init__(
        self,
        container: InputContainer,
        video: VideoStream,
        selection: MediaSelection,
        limits: MediaLimits,
        on_packet: Callable[[], None],
        wrap_s: float,
    ):
        self.index, self.wrap_s = FrameIndex(video, limits, selection, wrap_s), wrap_s
        self.video, self.is_broken_off = video, False
        self.starts_s: list[float] = []
        self.seek_s: float | None = None
        self._container, self._selection, self._on_packet = container, selection, on_packet

    def read_all(self, decoders: Mapping[AudioStream, AudioDecoder], demuxer: str) -> None:
        """Read to the end of the range."""
        by_index = {stream.index: decoder for stream, decoder in decoders.items()}
        elapsed = {index: Elapsed() for index in by_index}
        streams = [self.video, *decoders]
        self.starts_s = [float(s.start_time * s.time_base) for s in streams if s.start_time is not None and s.time_base]
        if demuxer in SEEKING and self._selection.from_s > MIN_SEEK_S:
            self._seek()
        packets, position = read_packets(self._container, *streams), 0
        while not self._is_behind(elapsed.values()):
            try:
                packet: Packet = next(packets)
            except StopIteration as end:
                self.is_broken_off = bool(end.value)
                break
            self._on_packet()
            position += 1
            if packet.stream.index == self.video.index:  # the empty packet at the end has a stream, but no number
                self.index.add(packet, position)
            elif self._is_wanted(packet, elapsed[packet.stream.index]):
                by_index[packet.stream.index].add(packet, position)
        for decoder in by_index.values():
            decoder.finish()

    def _is_wanted(self, packet: Packet, elapsed: Elapsed) -> bool:
        """Return whether a packet of audio is in the range or near it; always without a range."""
        time, unit_s = packet.pts if packet.pts is not None else packet.dts, float(packet.time_base or 0)
        if time is None:
            return True
        now_s = elapsed.add(time * unit_s, (packet.duration or 0) * unit_s)
        at_s = unwrap(now_s, self.index.zero_s + self.index.elapsed_s, self.wrap_s) - self.index.zero_s
        to_s = self._selection.to_s
        return at_s >= self._selection.from_s - MARGIN_S and (to_s is None or at_s <= to_s + MARGIN_S)

    def _is_behind(self, audio: Iterable[Elapsed]) -> bool:
        """Return whether every stream is behind the range, or the pictures are far behind it."""
        to_s = self._selection.to_s
        if to_s is None or self.index.elapsed_s < to_s + MARGIN_S:
            return False
        is_far = self.index.elapsed_s > to_s + MAX_INTERLEAVED_S
        behind_s = self.index.zero_s + to_s + MARGIN_S
        return is_far or all(unwrap(one.now_s, behind_s, self.wrap_s) > behind_s for one in audio)

    def _seek(self) -> None:
        """Read the first picture, then go to the key frame before the range."""
        for packet in read_packets(self._container, self.video):
            self._on_packet()
            self.index.add(packet, 0)
            if self.index.first is not None:
                break
        self.seek_s = self.index.restart(self._selection.from_s)
        if self.seek_s is not None:
            seek_video(self._container, self.video, self.seek_s)


def _make_scan(
    reader: _PacketReader,
    container: InputContainer,
    tracks: Mapping[int, _Track],
    decoders: Mapping[int, AudioDecoder],
) -> Scan:
    """Join the clock, and describe what was found."""
    index, video = reader.index, reader.video
    if index.first is None:
        raise Code.UNREADABLE_VIDEO(
            f"The file has a video stream ({video.codec_context.name}), but no frame of it can be decoded.",
            "It may be damaged, truncated or encrypted; export it again, as H.264 in MP4.",
        )
    joined = join_runs(index.runs, [decoder.runs for decoder in decoders.values()], reader.wrap_s)
    shifts = dict(zip(decoders, joined.audio_s, strict=True))
    found = index.finish(joined.video_s)
    shape = read_geometry(index.first, video)
    check_pixels(*shape.scaled_px, index.limits)
    # a joint of two files flags one packet of each stream
    damaged = [(index.n_damaged, index.n_packets)] + [(one.n_damaged, one.n_packets) for one in decoders.values()]
    return Scan(
        times=found.times,
        unit_s=index.unit_s,
        last_duration_s=found.last_duration_s,
        shape=shape,
        stream_index=video.index,
        damaged=reader.is_broken_off
        or any(bad > max(MAX_DAMAGED_SHARE * count, 1 + len(joined.seams)) for bad, count in damaged),
        zero=found.zero,
        start_s=min([found.zero * index.unit_s, *reader.starts_s]),
        start=VideoStart(reader.seek_s, found.n_skipped),
        shifts=found.shifts,
        seams=joined.seams,
        tracks=tuple(
            _describe(track, decoders.get(number), shifts.get(number, ())) for number, track in tracks.items()
        ),
        keys=found.keys,
    )


def _describe(track: _Track, decoder: AudioDecoder | None, shifts_s: tuple[float, ...]) -> TrackScan:
    if decoder is None:
        return TrackScan(track.described, is_decoded=False)
    cancels = decoder.meter.cancels()
    return TrackScan(
        track=track.described,
        is_decoded=True,
        shifts_s=shifts_s,
        cancels=cancels,
        loudest=decoder.meter.find_loudest() if cancels else "",
        differing=() if cancels else decoder.meter.find_differing(),
    )


def pick_video(container: InputContainer) -> VideoStream:
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
