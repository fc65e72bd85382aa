"""Recordings of public bug reports: each genuine one keeps its zone, and what of the file was judged is reported.

The drawn example is written as each of them; the files of the reports are analysed too where they are at hand.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from engine.pipeline import Engine
from engine.types import Analysis, MediaSelection, Reason
from tests.examples import draw_examples
from tests.recordings import BLACK, SILENCE, TONE, Hole, Plan, Source, make_case, read_source

pytestmark = pytest.mark.timeout(900)
FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "design" / "fixtures"


@pytest.fixture(scope="module")
def untouched(engine: Engine, source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysis]:
    """The example in the codecs of each container."""
    folder = tmp_path_factory.mktemp("untouched")
    return {suffix: engine.analyse(make_case(source, Plan(suffix), folder).path) for suffix in (".mp4", ".mpg")}


def read_score(analysis: Analysis) -> float:
    """The score of the first face, which has one."""
    score = analysis.tracks[0].consistency.score
    assert score is not None
    return score


@pytest.mark.parametrize("suffix", [".mp4", ".mpg"])
def test_the_untouched_example_is_supported(untouched: dict[str, Analysis], suffix: str) -> None:
    found = untouched[suffix]
    assert found.tracks[0].consistency.zone == "supported"
    assert set(found.reasons) <= {Reason.LOW_RES}
    assert (found.media.audio_track, found.media.channel, found.media.seams) == (1, "mix", ())


@dataclass(frozen=True)
class Reported:
    """A plan, and what its report has to say."""

    plan: Plan
    reasons: tuple[Reason, ...] = ()
    track: int = 1
    channel: str = "mix"
    n_seams: int = 0


CASES = {
    "X01 muted for 3 s": Reported(Plan(hole=Hole(4.0, 3.0, None, SILENCE))),
    "X01 late sound": Reported(Plan(sound_from_s=4.0), (Reason.NOT_ENOUGH_SPEECH,)),
    "a black minute": Reported(Plan(hole=Hole(6.0, 60.0, BLACK, TONE)), (Reason.EDITED,)),
    "R01 two parts": Reported(Plan(".ts", cuts_s=(5.2,), steps_s=(0.0,)), (Reason.CLOCK_RESET,), n_seams=1),
    "R01 three parts": Reported(Plan(".ts", cuts_s=(3.2, 8.0), steps_s=(0.0, 1.0)), (Reason.CLOCK_RESET,), n_seams=2),
    "R02 program stream": Reported(Plan(".mpg", cuts_s=(5.2,), steps_s=(0.0,)), (Reason.CLOCK_RESET,), n_seams=1),
    "R23 jump": Reported(Plan(".ts", cuts_s=(5.2,), steps_s=(56.2,)), (Reason.CLOCK_RESET,), n_seams=1),
    "R23 starts at one hour": Reported(Plan(".mkv", origin_s=3600.0)),
    "R04 default track": Reported(Plan(tracks=("noise", "own"), default_track=1), track=2),
    "R21 voice on the second track": Reported(Plan(".ts", tracks=("silent", "own")), track=2),
    "R21 five tracks": Reported(Plan(".mkv", tracks=("silent", "noise", "silent", "own", "silent")), track=4),
    "R08 late picture": Reported(Plan(picture_from_s=1.52)),
    "R10 edit list": Reported(Plan(hidden_s=1.0, key_every=250)),
    "R11 opposite phase": Reported(Plan(channels="opposite"), channel="FL"),
    "R12 jitter": Reported(Plan(jitter_s=0.021)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_reported_recording_keeps_its_zone(
    engine: Engine, source: Source, untouched: dict[str, Analysis], tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    found = engine.analyse(make_case(source, case.plan, tmp_path).path)
    control = untouched[".mpg" if case.plan.suffix == ".mpg" else ".mp4"]
    best = max(found.tracks, key=lambda track: track.consistency.score or -1.0)
    assert best.consistency.zone == "supported"
    assert best.consistency.score == pytest.approx(read_score(control), abs=0.05)
    assert not any(track.consistency.zone == "against" for track in found.tracks)
    assert {*case.reasons} <= {*found.reasons} <= {*case.reasons, Reason.LOW_RES, Reason.NOT_ENOUGH_SPEECH}
    media = found.media
    assert (media.audio_track, media.channel, len(media.seams)) == (case.track, case.channel, case.n_seams)
    assert len(media.audio_tracks) == len(case.plan.tracks)


def test_two_voices_on_two_channels_are_judged_apart(
    engine: Engine, source: Source, untouched: dict[str, Analysis], tmp_path: Path
) -> None:
    _, other = draw_examples(tmp_path)
    voice = read_source(other).sound
    path = write_two_voices(source, voice, tmp_path)
    found = engine.analyse(path)
    track = found.tracks[0]
    assert (track.channel, track.consistency.zone) == ("FR", "supported")
    assert track.consistency.score == pytest.approx(read_score(untouched[".mp4"]), abs=0.03)
    assert Reason.CHANNELS_DIFFER in found.reasons
    alone = engine.analyse(path, selection=MediaSelection(channel="FL"))
    assert (alone.media.channel, alone.tracks[0].channel) == ("FL", None)
    assert alone.tracks[0].consistency.zone != "supported"


def write_two_voices(source: Source, other: np.ndarray, folder: Path) -> Path:
    """The other voice on the left channel, the own one on the right."""
    count = min(len(source.sound), len(other))
    both = np.stack([other[:count], source.sound[:count]])
    return make_case(replace(source, sound=both), Plan(channels="as is"), folder, "voices").path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("R01_clock_reset.ts", {"reasons": {Reason.CLOCK_RESET}, "seams": 1}),
        ("R03_radio_first.ts", {"track": 2}),
        ("R04_second_is_default.mp4", {"track": 2}),
        ("R06_left_right.mp4", {"reasons": {Reason.CHANNELS_DIFFER}, "channel": "FL"}),
        ("R08_late_picture.mp4", {"zero_s": 1.52, "reasons": {Reason.NOT_ENOUGH_SPEECH}}),
        ("R10_edit_list_trim.mp4", {"duration_s": 10.76}),
        ("R11_opposite_phase.mp4", {"channel": "FL"}),
        ("R12_wobble21ms.mp4", {}),
        ("R13_long_subtitle.mkv", {"duration_s": 11.76}),
        ("R21_four_tracks.mkv", {"tracks": 4}),
        ("R21_voice_on_second.mp4", {"track": 2}),
        ("R22_latm.ts", {}),
        ("R23_starts_at_1h.mkv", {"zero_s": 3600.0}),
        ("X01_muted_5s.mp4", {"reasons": {Reason.NOT_ENOUGH_SPEECH}}),
    ],
)
def test_a_file_of_a_report_is_supported(engine: Engine, name: str, expected: dict[str, object]) -> None:
    path = FIXTURES / name
    if not path.exists():
        pytest.skip("the files of the reports are not at hand")
    found = engine.analyse(path)
    assert found.tracks[0].consistency.zone == "supported"
    wanted = expected.get("reasons", set())
    assert isinstance(wanted, set)
    assert wanted <= {*found.reasons} <= {*wanted, Reason.LOW_RES}
    media = found.media
    known = {
        "track": media.audio_track,
        "channel": media.channel,
        "seams": len(media.seams),
        "tracks": len(media.audio_tracks),
        "zero_s": pytest.approx(media.zero_s, abs=1e-3),
        "duration_s": pytest.approx(found.duration_s, abs=0.041),
    }
    assert {name: known[name] for name in expected if name != "reasons"} == {
        name: value for name, value in expected.items() if name != "reasons"
    }


def test_the_ten_tiles_of_the_report_name_the_speaker(engine: Engine) -> None:
    path = FIXTURES / "R07_ten_tiles.mp4"
    if not path.exists():
        pytest.skip("the files of the reports are not at hand")
    found = engine.analyse(path)
    assert found.tracks[0].consistency.zone == "supported"
    assert not any(track.consistency.zone == "against" for track in found.tracks)
