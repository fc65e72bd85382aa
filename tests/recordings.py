"""Write a source clip as the recordings that people have: clocks that restart, odd tracks, holes, turned pictures.

`make_case` draws a combination of these kinds from a seed. A case states which stretches of the source it holds, and
where on its media clock, so that a reader can be checked against the source alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition

from engine.types import FPS

RATE = 48_000  # of the sound in a file
AAC = 1024  # samples of a frame of sound
CODECS = {".mp4": "aac", ".mov": "aac", ".mkv": "aac", ".ts": "aac", ".mpg": "mp2"}
RESTARTING = (".ts", ".mpg")  # two such files behind each other are one
SILENCE, TONE, BLACK, CARD, FREEZE = "silence", "room tone", "black", "card", "freeze"


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A decoded clip at 25 pictures a second."""

    pictures: np.ndarray  # (T, H, W, 3) uint8
    sound: np.ndarray  # (n,) float32 at 48 kHz, or (C, n)

    @property
    def seconds(self) -> float:
        """Length of the pictures."""
        return len(self.pictures) / FPS


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the source in a case."""

    source_s: float
    case_s: float  # on the media clock of the case
    length_s: float
    has_sound: bool = True


@dataclass(frozen=True, slots=True)
class Hole:
    """What is put in between two moments of the source, or over its sound alone."""

    at_s: float
    length_s: float
    picture: str | None  # BLACK, CARD or FREEZE; None: the source goes on, and only its sound is replaced
    sound: str  # SILENCE or TONE


@dataclass(frozen=True, slots=True)
class Plan:
    """How a file differs from the source."""

    suffix: str = ".mp4"
    origin_s: float = 0.0  # where the clock of the file begins
    cuts_s: tuple[float, ...] = ()  # where it steps, in source time
    steps_s: tuple[float, ...] = ()  # where it goes on after each
    sound_from_s: float = 0.0  # the sound has nothing before
    picture_from_s: float = 0.0  # nor has the picture
    hidden_s: float = 0.0  # cut off by an edit list
    jitter_s: float = 0.0  # by which every other frame of sound comes late, less than its length
    channels: str = "mono"  # "opposite", "left", "wide", or "as is" for a source of two channels
    tracks: tuple[str, ...] = ("own",)  # "own", "silent", "noise"
    default_track: int = 0
    hole: Hole | None = None
    key_every: int = 12

    def describe(self) -> str:
        """Name what differs from the default."""
        plain = Plan()
        changed = {name: getattr(self, name) for name in self.__slots__ if getattr(self, name) != getattr(plain, name)}
        return " ".join(f"{name}={value}" for name, value in changed.items()) or "untouched"


@dataclass(frozen=True, slots=True)
class Case:
    """A written file and what it holds."""

    plan: Plan
    path: Path
    spans: tuple[Span, ...]


def read_source(path: Path) -> Source:
    """Decode a plain file of 25 pictures a second."""
    with av.open(str(path)) as container:
        pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    resampler = av.AudioResampler("flt", "mono", RATE)
    with av.open(str(path)) as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return Source(pictures, np.concatenate([frame.to_ndarray()[0] for frame in frames]))


def draw_plan(seed: int, seconds: float) -> Plan:
    """Draw a combination of one to four kinds that a file can have at once, for a source of this length."""
    rng = np.random.default_rng(seed)
    suffix = str(rng.choice(list(CODECS)))
    plan = Plan(suffix, key_every=int(rng.choice([12, 50, 250])))
    kinds = list(_KINDS)
    for kind in rng.permutation(kinds)[: rng.integers(1, 5)]:
        plan = _KINDS[str(kind)](plan, rng, seconds)
    return plan


def _draw_origin(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    if plan.suffix == ".mkv":
        return replace(plan, origin_s=float(rng.choice([0.48, 10.0, 3600.0])))
    if plan.suffix in RESTARTING:
        return replace(plan, origin_s=float(rng.choice([0.0, 10.0, 3600.0, 2**33 / 90_000 - 4.0])))  # the last: a wrap
    return plan


def _draw_steps(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    if plan.suffix not in RESTARTING:
        return plan
    cuts = np.sort(rng.uniform(0.35, 0.8, rng.integers(1, 3))) * seconds
    cuts_s = tuple(round(cut * FPS) / FPS for cut in cuts)
    if len(cuts_s) == 2 and cuts_s[1] - cuts_s[0] < 1:
        cuts_s = cuts_s[:1]
    steps_s = tuple(float(rng.choice([0.0, 1.0, cut + 51.0, cut + 4000.0])) for cut in cuts_s)
    return replace(plan, cuts_s=cuts_s, steps_s=steps_s)


def _draw_lateness(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    late_s = round(float(rng.uniform(0.1, seconds / 4)) * FPS) / FPS
    return replace(plan, sound_from_s=late_s) if rng.random() < 0.5 else replace(plan, picture_from_s=late_s)


def _draw_trim(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    if plan.suffix not in (".mp4", ".mov"):
        return plan
    return replace(plan, hidden_s=round(float(rng.uniform(0.2, seconds / 4)) * FPS) / FPS)


def _draw_jitter(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    return replace(plan, jitter_s=float(rng.choice([0.012, 0.021]))) if plan.suffix in (".mkv", ".mp4") else plan


def _draw_channels(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    return replace(plan, channels=str(rng.choice(["opposite", "left", "wide"])))


def _draw_tracks(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    others = [str(rng.choice(["silent", "noise"])) for _ in range(rng.integers(1, 5))]
    at = int(rng.integers(0, len(others) + 1))
    return replace(plan, tracks=(*others[:at], "own", *others[at:]), default_track=at)


def _draw_hole(plan: Plan, rng: np.random.Generator, seconds: float) -> Plan:
    kind = rng.choice([None, BLACK, CARD, FREEZE])
    length_s = round(float(rng.uniform(1.0, 1.5 * seconds if kind else seconds / 4)) * FPS) / FPS
    at_s = float(rng.choice([0.0, round(seconds / 2 * FPS) / FPS, seconds if kind else seconds - length_s]))
    sound = str(rng.choice([SILENCE, TONE]))
    return replace(plan, hole=Hole(round(at_s * FPS) / FPS, length_s, kind and str(kind), sound))


_KINDS = {
    "origin": _draw_origin,
    "steps": _draw_steps,
    "lateness": _draw_lateness,
    "trim": _draw_trim,
    "jitter": _draw_jitter,
    "channels": _draw_channels,
    "tracks": _draw_tracks,
    "hole": _draw_hole,
}


def make_case(source: Source, plan: Plan, folder: Path, name: str = "case") -> Case:
    """Write the file of a plan."""
    content, spans = _put_hole(source, plan.hole)
    path = folder / f"{name}{plan.suffix}"
    bounds = [0.0, *plan.cuts_s, content.seconds]
    parts = []
    for number, (first_s, last_s) in enumerate(pairwise(bounds)):
        origin_s = plan.origin_s if number == 0 else plan.steps_s[number - 1]
        piece = folder / f"{name}-{number}{plan.suffix}"
        _write_part(piece, content, plan, first_s, last_s, origin_s - first_s if number else origin_s)
        parts.append(piece)
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return Case(plan, path, tuple(_trim(spans, plan)))


def _trim(spans: Sequence[Span], plan: Plan) -> Iterator[Span]:
    """Move spans to the clock that begins with the first picture, without what comes earlier."""
    zero_s = max(plan.picture_from_s, plan.hidden_s)
    for span in spans:
        cut_s = max(0.0, zero_s - span.case_s)
        if span.length_s - cut_s > 0:
            moved = Span(span.source_s + cut_s, span.case_s + cut_s - zero_s, span.length_s - cut_s, span.has_sound)
            silent_s = min(max(plan.sound_from_s - zero_s - moved.case_s, 0.0), moved.length_s)
            if silent_s:
                yield replace(moved, length_s=silent_s, has_sound=False)
            if moved.length_s > silent_s:
                yield Span(
                    moved.source_s + silent_s, moved.case_s + silent_s, moved.length_s - silent_s, moved.has_sound
                )


def _put_hole(source: Source, hole: Hole | None) -> tuple[Source, list[Span]]:
    """Return the pictures and the sound with the hole, and the stretches of the source in it."""
    if hole is None:
        return source, [Span(0.0, 0.0, source.seconds)]
    at, n_frames = round(hole.at_s * FPS), round(hole.length_s * FPS)
    at_sample, n_samples = round(hole.at_s * RATE), round(hole.length_s * RATE)
    noise = np.random.default_rng(0).normal(0, 0.002, n_samples).astype(np.float32)
    filler = noise if hole.sound == TONE else np.zeros(n_samples, np.float32)
    if hole.picture is None:
        sound = source.sound.copy()
        sound[at_sample : at_sample + n_samples] = filler[: len(sound[at_sample : at_sample + n_samples])]
        end_s = hole.at_s + hole.length_s
        spans = [
            Span(0.0, 0.0, hole.at_s),
            Span(hole.at_s, hole.at_s, hole.length_s, has_sound=False),
            Span(end_s, end_s, source.seconds - end_s),
        ]
        return Source(source.pictures, sound), [span for span in spans if span.length_s > 0]
    held = source.pictures[max(at - 1, 0)]
    picture = {FREEZE: held, BLACK: np.zeros_like(held), CARD: _draw_card(held.shape)}[hole.picture]
    shown = np.broadcast_to(picture, (n_frames, *held.shape))
    pictures = np.concatenate([source.pictures[:at], shown, source.pictures[at:]])
    sound = np.concatenate([source.sound[:at_sample], filler, source.sound[at_sample:]])
    after = Span(hole.at_s, hole.at_s + hole.length_s, source.seconds - hole.at_s)
    return Source(pictures, sound), [span for span in (Span(0.0, 0.0, hole.at_s), after) if span.length_s > 0]


def _draw_card(shape: tuple[int, ...]) -> np.ndarray:
    card = np.full(shape, 200, np.uint8)
    card[shape[0] // 4 : shape[0] // 2, shape[1] // 8 : -shape[1] // 8] = (30, 60, 160)
    return card


def _write_part(path: Path, content: Source, plan: Plan, first_s: float, last_s: float, shift_s: float) -> None:
    """Write the content from `first_s` to `last_s` with `shift_s` added to its times."""
    with av.open(str(path), "w", options=_choose_options(plan)) as container:
        height, width = content.pictures.shape[1:3]
        video = container.add_stream("mpeg2video" if plan.suffix == ".mpg" else "libx264", FPS)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = plan.key_every
        video.options = {"preset": "ultrafast", "crf": "18"} if plan.suffix != ".mpg" else {"qscale": "2"}
        layout = "mono" if plan.channels == "mono" else "stereo"
        tracks = [container.add_stream(CODECS[plan.suffix], RATE, layout=layout) for _ in plan.tracks]
        for number, track in enumerate(tracks):
            track.disposition = Disposition.default if number == plan.default_track else Disposition(0)
        packets = [*_encode_pictures(video, content, plan, first_s, last_s, shift_s)]
        for track, kind in zip(tracks, plan.tracks, strict=True):
            packets += _encode_sound(track, content, kind, plan, first_s, last_s, shift_s)
        for packet in sorted(packets, key=lambda packet: float(packet.dts * packet.time_base)):
            container.mux(packet)


def _choose_options(plan: Plan) -> dict[str, str]:
    if plan.suffix == ".ts":
        return {"mpegts_copyts": "1"}
    return {"avoid_negative_ts": "disabled"} if plan.hidden_s else {}


def _encode_pictures(
    video: av.VideoStream, content: Source, plan: Plan, first_s: float, last_s: float, shift_s: float
) -> Iterator[av.Packet]:
    first = round(max(first_s, plan.picture_from_s if first_s == 0 else 0.0) * FPS)
    for number in range(first, round(last_s * FPS)):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(content.pictures[number]), "rgb24")
        frame.time_base = Fraction(1, 90_000)
        frame.pts = round((number / FPS + shift_s - plan.hidden_s) * 90_000)
        yield from video.encode(frame)
    yield from video.encode(None)


def _encode_sound(
    track: av.AudioStream, content: Source, kind: str, plan: Plan, first_s: float, last_s: float, shift_s: float
) -> Iterator[av.Packet]:
    begin_s = max(first_s, plan.sound_from_s if first_s == 0 else 0.0)
    mono = content.sound[..., round(begin_s * RATE) : round(last_s * RATE)]
    if kind == "silent":
        mono = np.zeros_like(mono)
    elif kind == "noise":
        mono = np.random.default_rng(1).normal(0, 0.05, len(mono)).astype(np.float32)
    samples = _spread(mono, plan.channels)
    size = track.codec_context.frame_size or AAC
    packets: list[av.Packet] = []
    for start in range(0, samples.shape[1], size):
        piece = np.ascontiguousarray(samples[:, start : start + size])
        frame = av.AudioFrame.from_ndarray(piece, "fltp", track.codec_context.layout.name)
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round((begin_s + shift_s - plan.hidden_s) * RATE) + start
        packets += track.encode(frame)
    packets += track.encode(None)
    for number, packet in enumerate(packets):
        if plan.jitter_s and number % 2:
            late = round(plan.jitter_s / packet.time_base)
            packet.pts, packet.dts = packet.pts + late, packet.dts + late
        yield packet


def _spread(mono: np.ndarray, channels: str) -> np.ndarray:
    """Return (C, n): the sound on its channels."""
    if channels == "as is":
        return mono
    other = {"opposite": -mono, "left": np.zeros_like(mono), "wide": 0.6 * np.roll(mono, 24)}
    return np.stack([mono, other[channels]]) if channels in other else mono[None]
