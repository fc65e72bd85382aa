"""Rendered analyses are complete, escaped and make no false claim."""

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from engine.errors import Code, EngineError, LicenceNotAccepted, WeightsMissing
from engine.types import (
    AudioTrack,
    CalibrationNote,
    MediaReport,
    Mode,
    Model,
    Reason,
    Span,
    SpanKind,
    Status,
    SyncCurve,
    Window,
)
from tests.fakes import make_analysis, make_curve, make_report, make_second
from webapp.analysis.signals import FaceTrace, Gate, Traces
from webapp.views import analysis as views
from webapp.views.plots import plot_curve, plot_curves, plot_seconds, plot_timeline

NOTE = CalibrationNote("c" * 64, "1.0.0", "Ada", "Grace", (-1.3, 2.4), 0.3, -0.5)
MEAN = '<img src=x onerror="alert(1)">.mp4'


class Tags(HTMLParser):
    """Collect tags as a browser parses them, to test escaping."""

    def __init__(self, html: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(html))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_and_what_next(reason: Reason) -> None:
    html = views.list_reasons((reason,))
    assert reason in html and "Next: " in html
    assert len(reason.next_step) > 20


@pytest.mark.parametrize("status", Status)
def test_status_is_shown_by_sign_and_text_not_only_colour(status: Status) -> None:
    sign, word = views.STATUS_WORDS[status]
    assert sign in views.show_status(status) and word in views.show_status(status)
    assert len({words for words in views.STATUS_WORDS.values()}) == len(Status)


def test_a_summary_is_marked_uncalibrated_and_carries_the_cautions() -> None:
    html = views.describe_analysis(make_analysis())
    assert "Uncalibrated" in html
    assert "Mismatch is not proof of a deepfake; dubbing, voice-over, editing and desync also cause it." in html
    assert "Match does not prove authenticity." in html


def test_a_refused_analysis_shows_no_score_but_its_reason() -> None:
    analysis = make_analysis(make_report(None, 0, Reason.NOT_ENOUGH_SPEECH))
    html = views.describe_analysis(analysis) + views.describe_face(analysis.tracks[0])
    assert "NOT_ENOUGH_SPEECH" in html and "Score" not in views.describe_face(analysis.tracks[0])
    assert "nothing was compared" in html


def test_reasons_of_the_clip_are_not_repeated_in_the_summary() -> None:
    analysis = make_analysis(make_report(0.5, 0, Reason.EDITED))
    assert "EDITED" not in views.describe_analysis(analysis)
    assert "EDITED" in views.describe_face(analysis.tracks[0])


@pytest.mark.parametrize(("offset", "words"), [(0, "where it is"), (2, "0.08 s late"), (-3, "0.12 s early")])
def test_the_offset_is_read_out_with_its_direction(offset: int, words: str) -> None:
    assert words in views.describe_face(make_analysis(make_report(0.5, offset)).tracks[0])


def test_file_names_cannot_carry_markup() -> None:
    for html in (views.describe_analysis(make_analysis(name=MEAN)), views.show_player(f"files/{MEAN}", MEAN)):
        assert not [tag for tag, attrs in Tags(html).found if tag == "img" or "onerror" in attrs]
    assert MEAN in Tags(views.describe_analysis(make_analysis(name=MEAN))).text


def test_an_error_is_escaped_and_says_what_to_do() -> None:
    html = views.describe_error(Code.UNREADABLE_VIDEO(f"{MEAN} is empty", "Choose <another>."))
    tags = Tags(html)
    assert {tag for tag, _ in tags.found} <= {"div", "h2", "p", "b"}
    assert MEAN in tags.text and "Choose <another>." in tags.text and "UNREADABLE_VIDEO" in tags.text


def test_an_error_without_a_hint_has_no_empty_line() -> None:
    assert "What to do" not in views.describe_error(EngineError("No."))


def test_the_player_takes_the_file_as_it_is() -> None:
    video = next(attrs for tag, attrs in Tags(views.show_player("files/ab/input")).found if tag == "video")
    assert video["src"] == "files/ab/input"
    assert video["id"] == "ws-player" and "controls" in video


def test_the_table_has_a_button_a_window() -> None:
    windows = make_report().windows
    buttons = [attrs for tag, attrs in Tags(views.list_windows(windows)).found if tag == "button"]
    assert [float(attrs["data-seek"] or -1) for attrs in buttons] == [w.start_s for w in windows]


def test_timeline_points_know_where_the_player_goes_and_gaps_break_the_line() -> None:
    windows = [Window(t, t + 2.0, 0.4, 0.04) for t in (0.0, 1.0, 2.0, 6.0, 7.0)]
    (trace,) = plot_timeline(windows, 10.0).data
    assert [row[0] for y, row in zip(trace.y, trace.customdata, strict=True) if y is not None] == [0, 1, 2, 6, 7]
    assert trace.y[3] is None and len(trace.y) == 6
    assert trace.x[0] == 1.0
    (hole,), (label,) = plot_timeline(windows, 10.0).layout.shapes, plot_timeline(windows, 10.0).layout.annotations
    assert (hole.x0, hole.x1, label.text) == (4.0, 6.0, "no evidence")
    assert not plot_timeline(windows[:3], 10.0).layout.shapes
    assert "raw" in plot_timeline(windows, 10.0).layout.yaxis.title.text


def test_strip_under_timeline_marks_comparable_frames() -> None:
    gates = [(0.0, 2.0, Gate.COMPARED), (2.0, 3.0, Gate.NO_SPEECH), (3.0, 5.0, Gate.COMPARED)]
    figure = plot_timeline([Window(0.0, 2.0, 0.4, 0.0)], 5.0, gates)
    bars = {bar.name: (list(bar.base), list(bar.x)) for bar in figure.data[1:]}
    assert bars == {Gate.COMPARED: ([0.0, 3.0], [2.0, 2.0]), Gate.NO_SPEECH: ([2.0], [1.0])}
    assert len({bar.marker.pattern.shape for bar in figure.data[1:]}) == 2, "told by colour alone"


def test_sound_and_mouth_are_drawn_on_one_clock() -> None:
    rng = np.random.default_rng(0)
    opening = rng.random(50).astype(np.float32)
    face = FaceTrace(25, opening, np.arange(50) != 10)
    traces = Traces(rng.normal(size=(400, 40)).astype(np.float16), np.ones(100, bool), np.ones(100, bool), (face,))
    sound, mouth = plot_seconds(traces, 0, 1.0, 3.0).data
    assert (sound.x[0], sound.x[-1]) == (pytest.approx(1.005), pytest.approx(2.995)) and sound.z.shape == (40, 200)
    assert mouth.x[0] == 1.0 and mouth.y[0] == pytest.approx(opening[0]) and mouth.y[10] is None
    assert list(sound.y) == sorted(sound.y) and 60 < sound.y[0] < sound.y[-1] < 7600


def test_plots_of_a_part_have_the_times_of_the_recording() -> None:
    figure = plot_timeline([Window(60.0, 62.0, 0.4, 0.0)], 4.0, [(60.0, 64.0, Gate.COMPARED)], from_s=60.0)
    assert list(figure.layout.xaxis.range) == [60.0, 64.0]
    face = FaceTrace(25, np.arange(50, dtype=np.float32), np.ones(50, bool))
    traces = Traces(np.zeros((400, 40), np.float16), np.ones(100, bool), np.ones(100, bool), (face,), 60.0)
    figure = plot_seconds(traces, 0, 61.0, 63.0)
    sound, mouth = figure.data
    assert (sound.x[0], sound.x[-1]) == (pytest.approx(61.005), pytest.approx(62.995))
    assert (mouth.x[0], mouth.y[0], mouth.y[-1]) == (61.0, 0.0, 49.0)
    assert list(figure.layout.xaxis.range) == [61.0, 63.0]


MEDIA = MediaReport(
    zero_s=1.52,
    player_zero_s=1.5,
    to_s=10.0,
    audio_track=2,
    channel="FL",
    audio_tracks=(AudioTrack(1, "aac", ("FC",), "eng"), AudioTrack(2, "aac", ("FL", "FR"), "deu", "<b>Dub")),
)


def test_what_was_judged_is_shown_open_where_it_needs_attention() -> None:
    html = views.describe_analysis(replace(make_analysis(), media=MEDIA))
    assert '<details class="ws-judged" open>' in html and "<b>Dub" not in html
    text = " ".join(Tags(html).text.split())
    assert "audio track 2 of 2: deu, “<b>Dub”, aac, FL FR" in text and "left channel (FL)" in text
    assert "audio track 1, not judged: eng, aac, FC" in text and "1.50 s in a player" in text
    ordinary = MediaReport(to_s=10.0, audio_track=1, channel="mix", audio_tracks=MEDIA.audio_tracks[:1])
    assert "open" not in views.describe_analysis(replace(make_analysis(), media=ordinary)).split("<details")[1][:40]
    assert "ws-judged" not in views.describe_analysis(make_analysis())  # a report of an earlier version


def test_times_on_the_clock_of_the_file_stand_by_those_of_media_time() -> None:
    windows = (Window(2.0, 4.0, 0.4, 0.0),)
    html = views.list_windows(windows, MEDIA)
    assert 'data-seek="2.00"' in html and "<td>3.5 – 5.5 s</td>" in html
    assert "clock" not in views.list_windows(windows)
    face = Tags(views.describe_face(make_analysis().tracks[0], MEDIA)).text
    assert "1.5 to 11.5 s on the file's own clock" in face


def test_the_channel_of_a_face_is_shown() -> None:
    track = replace(make_analysis().tracks[0], channel="FR")
    assert "judged with: right channel (FR)" in Tags(views.describe_face(track)).text


def test_the_player_knows_its_own_clock() -> None:
    video = next(attrs for tag, attrs in Tags(views.show_player("files/ab/input", zero_s=1.52)).found if tag == "video")
    assert video["data-zero"] == "1.520"


def test_calibrated_face_has_verbal_scale_text() -> None:
    found = replace(
        make_report(0.6),
        calibration=NOTE,
        llr=2.4,
        zone="supported",
        band="moderately strong support",
        p_value=0.43,
        smallest_p=0.07,
        high_p_value=0.09,
    )
    text = " ".join(Tags(views.describe_face(make_analysis(found).tracks[0])).text.split())
    assert "Supported: face and voice fit" in text and "moderately strong support" in text
    assert "250 times more probable if this face produced this speech than if this face did not" in text
    assert "p = 0.09 fits at least as well (p cannot be below 0.07)" in text and "no verdict alone" in text
    assert "p = 0.43" in text and "made by Ada, approved by Grace" in text and "+2.40" in text
    assert "Uncalibrated" not in views.describe_analysis(make_analysis(found))


def test_a_calibration_that_abstains_says_so() -> None:
    found = replace(make_report(0.6), calibration=NOTE)
    assert "No likelihood ratio is given for the whole" in views.describe_face(make_analysis(found).tracks[0])


def test_a_timeline_of_one_window_can_be_drawn() -> None:
    (trace,) = plot_timeline([Window(0.0, 1.5, -0.2, 0.0)], 1.5).data
    assert list(trace.y) == [-0.2]
    low, high = plot_timeline([Window(0.0, 1.5, -0.2, 0.0)], 1.5).layout.yaxis.range
    assert low < -0.2 < high


def test_the_curve_marks_its_best_offset() -> None:
    line, best = plot_curve(make_curve(3, 0.6)).data
    assert len(line.x) == 31 and best.x[0] == pytest.approx(0.12) and best.y[0] == pytest.approx(0.6)


@pytest.mark.parametrize(("offset", "side"), [(-15, "right"), (0, "center"), (14, "left")])
def test_word_at_the_best_offset_stays_within_the_figure(offset: int, side: str) -> None:
    assert plot_curve(make_curve(offset)).data[1].textposition == f"top {side}"


def test_figures_speak_json_without_nan() -> None:
    curve = SyncCurve(np.zeros(1, np.float32), np.zeros(1, np.float32), np.ones(1, int))
    assert "NaN" not in plot_curve(curve).to_json()


@pytest.mark.parametrize("agrees", [True, False])
def test_second_model_score_is_shown_with_the_first(agrees: bool) -> None:
    reasons = () if agrees else (Reason.EXPERTS_DISAGREE,)
    report = replace(make_report(0.6, 1, *reasons), second=make_second(agrees, score=0.2))
    html = views.describe_face(make_analysis(report).tracks[0])
    text = " ".join(Tags(html).text.split())
    assert "Second opinion, AV-HuBERT LARGE" in text and "0.200, on a scale of its own" in text
    assert ("no contradiction" in text) == agrees and ("EXPERTS_DISAGREE" in text) != agrees
    assert "0.600" in text and "0.400" not in text


def test_what_the_method_means_is_said_once_above() -> None:
    analysis = replace(make_analysis(), model=Model.AVHUBERT_BASE, mode=Mode.PAPER)
    text = Tags(views.describe_analysis(analysis)).text
    assert "Method: AV-HuBERT BASE, as in the paper" in text
    assert "non-commercial research alone" in text and "over the first 50 s as a whole" in text
    assert "non-commercial" not in views.describe_analysis(make_analysis())


def test_missing_weights_are_one_line_with_command_and_licence() -> None:
    absent, unaccepted = WeightsMissing("no"), LicenceNotAccepted("no")
    both = views.describe_methods({Model.AVHUBERT_LARGE: absent, Model.AVHUBERT_BASE: unaccepted})
    assert both.count("<p") == 1 and "weights import PATH" in both and "weights accept av_hubert" in both
    assert "LARGE and AV-HuBERT BASE: not here" in views.describe_methods(dict.fromkeys([*Model][:0:-1], absent))
    assert views.describe_methods({}) == ""


def test_two_curves_share_a_figure_each_on_its_own_scale() -> None:
    weak = replace(make_curve(-4, 0.1), similarity=np.where(np.arange(31) == 0, np.nan, make_curve(-4, 0.1).similarity))
    figure = plot_curves(("Compact", make_curve(2, 0.6)), ("AV-HuBERT BASE", weak))
    assert [trace.name for trace in figure.data if trace.showlegend is not False] == ["Compact", "AV-HuBERT BASE"]
    assert [trace.yaxis for trace in figure.data] == [None, None, "y2", "y2"]
    assert [trace.x[0] for trace in figure.data[1::2]] == [pytest.approx(0.08), pytest.approx(-0.16)]
    assert figure.layout.yaxis2.range[1] >= 0.1 and "NaN" not in figure.to_json()


def make_spans() -> tuple[Span, ...]:
    """Own voice, another one from 4 to 7 s, own voice."""
    return (
        Span(0.0, 4.0, (0.0, 0.0), (3.5, 4.4), SpanKind.CONSISTENT, 3.6, 0.3, 1.2),
        Span(4.0, 7.0, (3.5, 4.4), (6.8, 7.3), SpanKind.INCONSISTENT, 2.8, -0.3, -1.1),
        Span(7.0, 10.0, (6.8, 7.3), (10.0, 10.0), SpanKind.UNDECIDABLE, 0.4, None, None),
    )


def test_another_voice_is_named_marked_and_listed() -> None:
    report = replace(make_report(0.4, 1, Reason.VOICE_CHANGES), spans=make_spans(), span_calibration=NOTE)
    page = views.describe_face(make_analysis(report).tracks[0])
    assert "From 4.0 to 7.0 s another voice fits better" in page and "From 0.0" not in page
    (mark,) = plot_timeline([], 10.0, spans=make_spans()).layout.shapes
    assert (mark.x0, mark.x1) == (4.0, 7.0)
    listed = views.list_spans(make_spans())
    for words in ("another voice fits better", "fits this face", "undecided", "3.5 – 4.4", "-1.10", "2.8 s"):
        assert words in listed
    buttons = [attrs["data-seek"] for tag, attrs in Tags(listed).found if tag == "button"]
    assert buttons == ["0.00", "4.00", "7.00"]
    assert "another voice" not in views.describe_face(make_analysis(make_report(0.4)).tracks[0])
