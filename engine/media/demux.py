"""One pass over the packets of a file: when its pictures are shown, and its sound; one picture alone is decoded."""

import io
from collections.abc import Callable

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from engine.errors import Code
from engine.media.audio import SoundReader
from engine.media.containers import WANTED, check_picture_codec, check_sound_codec, is_sound_allowed
from engine.media.limits import check_duration, check_pixels, check_sound, check_streams
from engine.media.scan import Scan, SoundPiece
from engine.media.video import PictureIndex, bound_decoder, open_container, read_packets, shape_pictures
from engine.settings import MediaLimits

NOT_A_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
LENGTH_TOLD = ("matroska", "avi", "mov")  # by the header; elsewhere FFmpeg guesses it


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
