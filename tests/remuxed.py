"""Recordings made of others without encoding: several audio tracks, a picture that begins late."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream


def write_tracks(path: Path, picture: Path, sounds: Sequence[Path], languages: Sequence[str], default: int) -> Path:
    """Write the picture of one file with the sound of each of the others; `default` is the number of a track."""
    with _copy(path, picture, sounds) as (packets, targets, out):
        for number, (target, language) in enumerate(zip(targets[1:], languages, strict=True), 1):
            target.metadata["language"], target.metadata["title"] = language, f"Track {number}"
            target.disposition = Disposition.default if number == default else Disposition(0)
        for packet, place in packets:
            packet.stream = targets[place]
            out.mux(packet)
    return path


def delay_picture(source: Path, path: Path, late_s: float) -> Path:
    """Copy a file with its picture later than its sound."""
    with _copy(path, source, [source]) as (packets, targets, out):
        for packet, place in packets:
            if place == 0:
                shift = round(Fraction(late_s).limit_denominator(1000) / packet.time_base)
                assert packet.pts is not None and packet.dts is not None
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = targets[place]
            out.mux(packet)
    return path


def repeat(source: Path, path: Path, times: int) -> Path:
    """Copy a file several times, one after the other."""
    with av.open(str(path), "w") as out:
        targets: list[Stream] = []
        for number in range(times):
            with av.open(str(source)) as clip:
                streams: list[Stream] = [clip.streams.video[0], clip.streams.audio[0]]
                targets = targets or [out.add_stream_from_template(one) for one in streams]
                shift_s = Fraction(number * (clip.duration or 0), av.time_base)
                for packet, place in _interleave([clip, clip], streams):
                    shift = round(shift_s / packet.time_base)
                    assert packet.pts is not None and packet.dts is not None
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, targets[place]
                    out.mux(packet)
    return path


@contextmanager
def _copy(
    path: Path, picture: Path, sounds: Sequence[Path]
) -> Iterator[tuple[Iterator[tuple[Packet, int]], list[Stream], OutputContainer]]:
    """Yield the packets of a picture and of sounds, with the streams of a new file for them."""
    with ExitStack() as opened, av.open(str(path), "w") as out:
        sources = [opened.enter_context(av.open(str(one))) for one in (picture, *sounds)]
        streams: list[Stream] = [sources[0].streams.video[0], *(one.streams.audio[0] for one in sources[1:])]
        targets: list[Stream] = [out.add_stream_from_template(one) for one in streams]
        yield _interleave(sources, streams), targets, out


def _interleave(sources: Sequence[InputContainer], streams: Sequence[Stream]) -> Iterator[tuple[Packet, int]]:
    """Yield the packets of the streams in the order of their times, each with the place of its stream."""
    found = [
        (packet.dts * packet.time_base, place, number, packet)
        for place, (source, stream) in enumerate(zip(sources, streams, strict=True))
        for number, packet in enumerate(source.demux(stream))
        if packet.dts is not None and packet.size
    ]
    for _, place, _, packet in sorted(found, key=lambda one: one[:3]):
        yield packet, place
