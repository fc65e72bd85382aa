import math
from dataclasses import replace

import pytest

from engine.consistency.gates import (
    GateOptions,
    combine,
    gate_agreement,
    gate_clip,
    gate_offset,
    gate_speakers,
    gate_track,
    soften,
    summarise,
)
from engine.features.records import ClipQuality, FaceQuality
from engine.types import Reason, Status

OPTIONS = GateOptions()
CLIP = ClipQuality(duration_s=12.0, has_audio=True, level_dbfs=-20.0, n_faces=1, n_cuts=0, mouth_seen=1.0)
TRACK = FaceQuality(length_s=12.0, speech_s=11.0, mouth_seen=1.0, face_px=160.0, mouth_motion=0.05)
FINE = (Status.EVALUATED, ())


def _limited(reason: Reason) -> tuple[Status, tuple[Reason, ...]]:
    return Status.LIMITED, (reason,)


def _refused(reason: Reason) -> tuple[Status, tuple[Reason, ...]]:
    return Status.NOT_EVALUATED, (reason,)


def test_good_clip_and_good_track_pass():
    assert gate_clip(CLIP, OPTIONS) == FINE
    assert gate_track(TRACK, OPTIONS) == FINE


@pytest.mark.parametrize(
    ("speech_s", "wanted"),
    [
        (0.0, _refused(Reason.NOT_ENOUGH_SPEECH)),
        (1.4, _refused(Reason.NOT_ENOUGH_SPEECH)),
        (math.nextafter(1.5, 0), _refused(Reason.NOT_ENOUGH_SPEECH)),
        (1.5, _limited(Reason.NOT_ENOUGH_SPEECH)),
        (9.9, _limited(Reason.NOT_ENOUGH_SPEECH)),
        (math.nextafter(10.0, 0), _limited(Reason.NOT_ENOUGH_SPEECH)),
        (10.0, FINE),
    ],
)
def test_net_speech(speech_s, wanted):
    assert gate_track(replace(TRACK, speech_s=speech_s), OPTIONS) == wanted


@pytest.mark.parametrize(("length_s", "wanted"), [(0.96, _refused(Reason.TOO_SHORT)), (1.0, FINE)])
def test_length_of_a_clip(length_s, wanted):
    assert gate_clip(replace(CLIP, duration_s=length_s), OPTIONS) == wanted


def test_short_track_is_called_short_and_not_also_speechless():
    assert gate_track(replace(TRACK, length_s=0.96, speech_s=0.5), OPTIONS) == _refused(Reason.TOO_SHORT)
    assert gate_track(replace(TRACK, length_s=1.0, speech_s=1.0), OPTIONS) == _refused(Reason.NOT_ENOUGH_SPEECH)


@pytest.mark.parametrize(("seen", "wanted"), [(0.59, _refused(Reason.FACE_LOST)), (0.6, FINE)])
def test_mouth_seen_of_a_track(seen, wanted):
    assert gate_track(replace(TRACK, mouth_seen=seen), OPTIONS) == wanted


@pytest.mark.parametrize(("seen", "wanted"), [(0.59, _limited(Reason.FACE_LOST)), (0.6, FINE)])
def test_mouth_seen_of_a_clip_limits_it(seen, wanted):
    assert gate_clip(replace(CLIP, mouth_seen=seen), OPTIONS) == wanted


@pytest.mark.parametrize(
    ("px", "wanted"),
    [
        (47.9, _refused(Reason.LOW_RES)),
        (48.0, _limited(Reason.LOW_RES)),
        (99.9, _limited(Reason.LOW_RES)),
        (100.0, FINE),
    ],
)
def test_face_size(px, wanted):
    assert gate_track(replace(TRACK, face_px=px), OPTIONS) == wanted


def test_still_mouth_is_refused_and_one_at_the_bound_is_not():
    bound = OPTIONS.min_mouth_motion
    assert gate_track(replace(TRACK, mouth_motion=math.nextafter(bound, 0)), OPTIONS) == _refused(Reason.STILL_FACE)
    assert gate_track(replace(TRACK, mouth_motion=bound), OPTIONS) == FINE


def test_still_mouth_during_little_speech_is_only_too_little_speech():
    for speech_s in (1.0, 1.5, 3.9):
        still = replace(TRACK, mouth_motion=0.0, speech_s=speech_s)
        assert gate_track(still, OPTIONS) == _refused(Reason.NOT_ENOUGH_SPEECH)
    assert gate_track(replace(TRACK, mouth_motion=0.0, speech_s=4.0), OPTIONS) == _refused(Reason.STILL_FACE)


@pytest.mark.parametrize(
    ("level", "wanted"),
    [(-math.inf, _refused(Reason.SILENT)), (-60.1, _refused(Reason.SILENT)), (-60.0, FINE)],
)
def test_silence(level, wanted):
    assert gate_clip(replace(CLIP, level_dbfs=level), OPTIONS) == wanted


def test_no_audio_is_not_also_silent():
    mute = replace(CLIP, has_audio=False, level_dbfs=-math.inf)
    assert gate_clip(mute, OPTIONS) == _refused(Reason.NO_AUDIO)


def test_no_face_and_one_face():
    assert gate_clip(replace(CLIP, n_faces=0, mouth_seen=0.0), OPTIONS) == _refused(Reason.NO_FACE)
    assert gate_clip(replace(CLIP, n_faces=1), OPTIONS) == FINE


@pytest.mark.parametrize(("cuts", "wanted"), [(0, FINE), (1, _limited(Reason.EDITED))])
def test_shot_cuts(cuts, wanted):
    assert gate_clip(replace(CLIP, n_cuts=cuts), OPTIONS) == wanted


@pytest.mark.parametrize("reason", [Reason.TRUNCATED, Reason.FPS_VFR])
def test_reasons_of_the_container_limit_the_clip(reason):
    assert gate_clip(replace(CLIP, reasons=(reason,)), OPTIONS) == _limited(reason)


@pytest.mark.parametrize(
    ("offset", "wanted"),
    [
        (14, FINE),
        (15, _limited(Reason.OFFSET_BEYOND_SEARCH)),
        (-15, _limited(Reason.OFFSET_BEYOND_SEARCH)),
        (-14, FINE),
    ],
)
def test_offset_at_the_edge_of_the_search(offset, wanted):
    assert gate_offset(offset, 15, 0, False, OPTIONS) == wanted


@pytest.mark.parametrize(
    ("drift", "wanted"), [(3, FINE), (-3, FINE), (4, _limited(Reason.DRIFT)), (-4, _limited(Reason.DRIFT))]
)
def test_drift(drift, wanted):
    assert gate_offset(0, 15, drift, False, OPTIONS) == wanted


def _statuses(spans, scores):
    return [gated[0] for gated in gate_speakers(spans, scores, OPTIONS)]


CLEAR, MARGIN = OPTIONS.clear_score, OPTIONS.clear_margin


def test_faces_one_after_the_other_are_not_contested():
    assert gate_speakers([(0, 100), (100, 200)], [0.0, 0.0], OPTIONS) == (FINE, FINE)


def test_one_common_frame_makes_faces_contested():
    assert gate_speakers([(0, 101), (100, 200)], [0.0, 0.0], OPTIONS) == (_limited(Reason.MULTI_FACE),) * 2


def test_one_clear_speaker_resolves_contested_faces():
    listens = _limited(Reason.LISTENER)
    assert gate_speakers([(0, 100), (0, 100)], [CLEAR, CLEAR - MARGIN], OPTIONS) == (FINE, listens)
    assert gate_speakers([(0, 100), (0, 100), (0, 100)], [-0.1, CLEAR, 0.0], OPTIONS) == (listens, FINE, listens)
    assert gate_speakers([(0, 100), (0, 100)], [CLEAR, None], OPTIONS) == (FINE, listens)


def test_one_person_shown_twice_is_one_speaker():
    spans = [(0, 100)] * 3
    fits, other = [0.6, 0.58, 0.1], (None, 0, None)
    assert gate_speakers(spans[:2], fits[:2], OPTIONS, other[:2]) == (FINE, FINE)
    assert gate_speakers(spans[:2], [0.0, 0.1], OPTIONS, other[:2]) == (FINE, FINE)
    assert gate_speakers(spans, fits, OPTIONS, other) == (FINE, FINE, _limited(Reason.LISTENER))
    assert gate_speakers(spans, [0.6, None, 0.55], OPTIONS, other) == (_limited(Reason.MULTI_FACE),) * 3


def test_two_synchronised_faces_stay_contested():
    wanted = [Status.LIMITED, Status.LIMITED]
    assert _statuses([(0, 100), (0, 100)], [CLEAR, CLEAR - MARGIN + 0.01]) == wanted
    assert _statuses([(0, 100), (0, 100)], [0.9, 0.9]) == wanted


def test_no_synchronised_face_stays_contested():
    assert _statuses([(0, 100), (0, 100)], [CLEAR - 0.01, None]) == [Status.LIMITED, Status.LIMITED]
    assert _statuses([(0, 100), (0, 100)], [None, None]) == [Status.LIMITED, Status.LIMITED]


def test_several_refusals_are_all_named():
    status, reasons = gate_track(replace(TRACK, face_px=20, mouth_seen=0.1), OPTIONS)
    assert status == Status.NOT_EVALUATED and set(reasons) == {Reason.LOW_RES, Reason.FACE_LOST}


def test_combination_is_as_bad_as_its_worst_part_and_names_each_reason_once():
    limited, other = _limited(Reason.EDITED), _limited(Reason.DRIFT)
    assert combine(FINE, limited, other, limited) == (Status.LIMITED, (Reason.EDITED, Reason.DRIFT))
    assert combine(limited, _refused(Reason.NO_FACE)) == _refused(Reason.NO_FACE)
    assert combine() == FINE


def test_analysis_is_as_good_as_its_best_face_but_no_better_than_the_clip():
    refused, limited = _refused(Reason.LOW_RES), _limited(Reason.EDITED)
    assert summarise(FINE, [FINE, refused]) == FINE
    assert summarise(limited, [FINE, refused]) == limited
    assert summarise(FINE, [refused, refused]) == refused
    assert summarise(_refused(Reason.NO_FACE), []) == _refused(Reason.NO_FACE)
    assert summarise(limited, [refused]) == (Status.NOT_EVALUATED, (Reason.EDITED, Reason.LOW_RES))


def test_sound_found_beyond_the_search_limits_whatever_was_found_inside() -> None:
    wanted = (Status.LIMITED, (Reason.OFFSET_BEYOND_SEARCH,))
    assert gate_offset(3, 15, 0, True, OPTIONS) == wanted
    assert gate_offset(3, 15, 0, False, OPTIONS) == (Status.EVALUATED, ())


def test_softened_refusals_are_limits_and_every_reason_stays():
    refused = (Status.NOT_EVALUATED, (Reason.TOO_SHORT,))
    limited = (Status.LIMITED, (Reason.EDITED, Reason.TOO_SHORT))
    assert soften(refused, (Status.EVALUATED, ()), limited) == (Status.LIMITED, (Reason.TOO_SHORT, Reason.EDITED))
    assert soften((Status.EVALUATED, ())) == (Status.EVALUATED, ())


def test_contradicting_models_limit_the_answer():
    assert gate_agreement(True) == (Status.EVALUATED, ())
    assert gate_agreement(False) == (Status.LIMITED, (Reason.EXPERTS_DISAGREE,))


@pytest.mark.parametrize(
    ("clear_s", "covered_s", "wanted"),
    [
        (11.0, 2.0, FINE),  # a hand that passes
        (11.0, 3.0, _limited(Reason.OCCLUDED)),
        (1.5, 12.0, (Status.LIMITED, (Reason.OCCLUDED, Reason.NOT_ENOUGH_SPEECH))),
        (1.4, 12.0, _refused(Reason.OCCLUDED)),
        (0.0, 1.5, _refused(Reason.OCCLUDED)),
        (0.0, 1.4, _refused(Reason.NOT_ENOUGH_SPEECH)),
        (1.4, 0.2, _refused(Reason.NOT_ENOUGH_SPEECH)),
    ],
)
def test_covered_mouth_is_refused_unless_enough_clear_speech_is_left(clear_s, covered_s, wanted):
    assert gate_track(replace(TRACK, speech_s=clear_s, covered_s=covered_s), OPTIONS) == wanted


@pytest.mark.parametrize(("level_dbfs", "wanted"), [(-45.0, FINE), (-45.1, _limited(Reason.QUIET))])
def test_quiet_speech_is_limited_and_never_silent(level_dbfs, wanted):
    assert gate_clip(replace(CLIP, level_dbfs=level_dbfs, has_speech=True), OPTIONS) == wanted
    faint = replace(CLIP, level_dbfs=-70.0, has_speech=True)
    assert gate_clip(faint, OPTIONS) == _limited(Reason.QUIET)
    assert gate_clip(replace(faint, has_speech=False), OPTIONS) == _refused(Reason.SILENT)


def test_speech_over_a_held_picture_is_no_speech_of_the_face():
    hung = replace(TRACK, speech_s=6.0, frozen_s=50.0)
    assert gate_track(hung, OPTIONS) == _limited(Reason.NOT_ENOUGH_SPEECH)
    photo = replace(TRACK, speech_s=0.0, frozen_s=11.0, mouth_motion=0.0)
    assert gate_track(photo, OPTIONS) == _refused(Reason.STILL_FACE)
    assert gate_track(replace(photo, frozen_s=3.9), OPTIONS) == _refused(Reason.NOT_ENOUGH_SPEECH)
    assert gate_track(replace(hung, speech_s=1.4), OPTIONS) == _refused(Reason.NOT_ENOUGH_SPEECH)
