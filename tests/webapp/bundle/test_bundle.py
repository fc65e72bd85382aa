"""The bundle is complete, reproducible and escaped, and its pages send no request."""

import json
import random
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from engine.reports.json import write_json
from engine.reports.lip_closures import to_json
from engine.types import Analysis, AudioTrack, ClockSeam, MediaReport, Reason, Span, SpanKind
from tests.engine.reports.test_lip_closures import make_report as make_lip_report
from tests.fakes import make_analysis, make_report
from tests.payloads import check_csv, check_html
from tests.webapp.bundle.sample_contents import make_contents
from tests.webapp.jobs.samples import make_result, make_settings, submit
from webapp.bundle import environment, verify
from webapp.bundle.bundle import COLUMNS, list_members, make_bundle, render_plots, to_windows_csv
from webapp.bundle.contents import BundleContents, collect_contents
from webapp.bundle.report_html import draw_curve, draw_timeline, render_report
from webapp.bundle.signing_key import SigningKey, open_key
from webapp.jobs.store import JobStore

FORBIDDEN = re.compile(r"% ?fake|fake probability|probability of fake", re.IGNORECASE)


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return open_key(tmp_path / "data")


@pytest.fixture
def contents(tmp_path: Path) -> BundleContents:
    return make_contents(tmp_path)


def test_everything_is_in_the_bundle_and_it_holds(contents: BundleContents, key: SigningKey, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(make_bundle(contents, key))
    assert verify.check(path, key.fingerprint) == []
    members = verify.unpack(path.read_bytes())
    assert sorted(members) == sorted(
        [
            "README.txt", "result.json", "speakers.json", "windows.csv", "report.html", "figures.html", "exhibit.json",
            "environment.json", "verify.py", "models/compact-model.md", f"calibrations/{'c' * 64}.json", "faces/0.png",
            verify.MANIFEST, verify.SIGNATURE, verify.PUBLIC_KEY,
        ]
    )  # fmt: skip
    assert members["result.json"].decode() == contents.result
    fields = json.loads(members["exhibit.json"])
    assert fields["original"]["sha256"] == "ab" * 32 and fields["original"]["size_bytes"] == 123_456
    assert fields["calibrations"] == ["c" * 64] and "before any decoder" in fields["original"]["sha256_taken"]
    assert key.fingerprint in members["README.txt"].decode()


def test_the_bundle_names_what_of_the_recording_was_judged(contents: BundleContents, key: SigningKey) -> None:
    tracks = (AudioTrack(1, "aac", ("FC",), "eng"), AudioTrack(2, "ac3", ("FL", "FR"), "deu", "Dub"))
    media = MediaReport(1.52, 1.5, 2.0, 9.0, (ClockSeam(5.0, 6.52, 0.4),), 1, "mix", tracks, 90, 3)
    told = replace(contents, analysis=replace(contents.analysis, media=media))
    members = verify.unpack(make_bundle(told, key))
    judged = json.loads(members["exhibit.json"])["judged"]
    assert "Judged sound: audio track 1 of 2: eng, aac, FC" in judged and "Part: 0:00:02 to 0:00:09" in judged
    report = unescape(members["report.html"].decode())
    for text in (
        "audio track 2, not judged: deu, “Dub”, ac3, FL FR",
        "at 0:00:05 the file's clock goes from 6.52 s to 0.40 s",
        "the pictures were turned by 90° clockwise",
        "up to 3 at one time",
        "On the file's own clock",
    ):
        assert text in report, text
    assert json.loads(verify.unpack(make_bundle(contents, key))["exhibit.json"])["judged"] == []


def test_same_contents_give_same_bytes(contents: BundleContents, key: SigningKey) -> None:
    assert make_bundle(contents, key) == make_bundle(contents, key)


def test_random_flips_anywhere_in_a_whole_bundle_are_found(
    contents: BundleContents, key: SigningKey, tmp_path: Path
) -> None:
    path, chance = tmp_path / "bundle.zip", random.Random(13)
    path.write_bytes(make_bundle(contents, key))
    archive = bytearray(path.read_bytes())
    for _ in range(60):
        at, bit = chance.randrange(len(archive)), 1 << chance.randrange(8)
        archive[at] ^= bit
        path.write_bytes(archive)
        assert verify.check(path), f"byte {at}, bit {bit}"
        archive[at] ^= bit
    path.write_bytes(archive)
    assert verify.check(path) == []


def test_one_flip_in_each_member_is_found_and_named(contents: BundleContents, key: SigningKey, tmp_path: Path) -> None:
    path, chance = tmp_path / "bundle.zip", random.Random(17)
    path.write_bytes(make_bundle(contents, key))
    members = verify.unpack(path.read_bytes())
    for name, data in members.items():
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(verify.pack({**members, name: bytes(changed)}))
        problems = verify.check(path)
        assert problems and (name in verify.UNLISTED or any(name in problem for problem in problems)), name


def test_what_was_not_asked_and_not_calibrated_is_said(contents: BundleContents, key: SigningKey) -> None:
    bare = replace(contents, speakers=None, calibrations={}, origin=None, thumbnails={})
    members = list_members(bare, key)
    assert "speakers.json" not in members and "speakers.json" not in members["README.txt"].decode()
    assert "none was in force" in json.loads(members["exhibit.json"])["calibrations"]
    report = members["report.html"].decode()
    assert "This was not asked." in report and "none was in force" in report


def test_report_states_both_hypotheses_cautions_and_next_steps(contents: BundleContents) -> None:
    analysis = make_analysis(make_report(0.5, 0, Reason.EDITED))
    report = render_report(replace(contents, analysis=analysis))
    for words in (
        "<b>H1:</b> this face produced this speech",
        "<b>H2:</b> this face did not produce this speech",
        "Mismatch is not proof of a deepfake",
        "Match does not prove authenticity",
        "Next: Read each shot",
        "taken while the file was copied, before any decoder saw it",
        "Content Credentials were not examined",
        "it does not show that what it says is",
        "None supported, of 3 enrolled speakers",
        "compact.safetensors",
        contents.sha256,
    ):
        assert words in report, words
    assert not FORBIDDEN.search(report)


def test_the_report_runs_nothing_and_loads_nothing(contents: BundleContents) -> None:
    report = render_report(contents)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in unescape(report)
    assert "<script" not in report and "<button" not in report
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import", report)


def test_the_figures_may_run_what_is_theirs_and_load_nothing(contents: BundleContents) -> None:
    page = render_plots(contents.analysis)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None and "default-src 'none'" in unescape(policy[1])
    assert "unsafe-eval" not in policy[1] and policy[1].count("sha256-") == 2
    assert page.count("<div data-figure=") == 4 and "click: play from here" not in page
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=", page[:2000] + page[-2000:])


def test_a_refused_face_has_no_figure_and_says_so(contents: BundleContents) -> None:
    refused = make_analysis(make_report(None, 0, Reason.NO_AUDIO))
    assert "Nothing was compared" in render_plots(refused) and 'data-figure="' not in render_plots(refused)
    assert "the file has no sound" in render_report(replace(contents, analysis=refused)).lower()


def test_nothing_in_a_name_becomes_markup_or_a_formula(tmp_path: Path) -> None:
    check_html(lambda name: render_report(make_contents(tmp_path, name)))
    check_csv(lambda name: to_windows_csv(make_analysis(name=name)))


def test_no_name_ends_the_elements_of_the_figures(tmp_path: Path) -> None:
    mean = "</script><script>alert(1)</script>"
    page = render_plots(make_analysis(name=mean))
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def test_a_row_a_window_with_faces_counted_from_one() -> None:
    lines = to_windows_csv(make_analysis(make_report(0.5, -1), make_report(0.25, 2))).splitlines()
    assert lines[0] == ",".join(COLUMNS) and len(lines) == 1 + 2 * 9
    assert lines[1] == f"drawn.mp4,{'ab' * 32},1,0.000,2.000,0.500000,-0.040,"
    assert lines[-1].split(",")[2] == "2"


def test_drawings_mark_only_known_values() -> None:
    analysis: Analysis = make_analysis()
    found = analysis.tracks[0].consistency
    timeline = draw_timeline(found.windows, analysis.duration_s)
    assert timeline.count("<circle") == len(found.windows) and ">10<" in timeline
    span = Span(4.0, 7.0, (3.5, 4.4), (6.8, 7.3), SpanKind.INCONSISTENT, 2.8, -0.3, -1.1)
    spans = (span, replace(span, start_s=7.0, kind=SpanKind.UNDECIDABLE))
    assert draw_timeline(found.windows, 10.0, spans=spans).count("<rect") == 1 and "<rect" not in timeline
    assert found.curve is not None
    similarity = found.curve.similarity.copy()
    similarity[:3] = float("nan")
    curve = draw_curve(replace(found.curve, similarity=similarity))
    points = re.search(r'points="([^"]*)"', curve)
    assert points is not None and len(points[1].split()) == len(similarity) - 3 and "nan" not in curve


def test_cards_and_environment_are_those_of_this_installation(tmp_path: Path) -> None:
    assert set(environment.read_cards()) == set(environment.CARDS)
    fields = environment.describe_environment(tmp_path)
    assert {"compact.safetensors", "dynamics.safetensors"} <= set(fields["weights"])
    assert {"numpy", "torch", "sqlalchemy"} <= set(fields["packages"])
    assert re.fullmatch(r"[0-9a-f]{64}", fields["weights"]["compact.safetensors"])


def test_cards_that_are_nowhere_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CHECKOUT", tmp_path)
    monkeypatch.setattr(environment, "PACKAGE", "no-such-package")
    assert environment.read_cards() == {} and environment.find_version("no-such-package") is None


def test_the_evidence_bundle_has_lip_closures_where_they_were_asked_for(key: SigningKey, tmp_path: Path) -> None:
    store = JobStore.open(make_settings(tmp_path))
    for articulations in (None, (make_lip_report(),)):
        submit(store, tmp_path)
        taken = store.lease("worker")
        assert taken is not None
        assert store.finish(taken.id, "worker", replace(make_result(), articulations=articulations))
        members = list_members(collect_contents(store, taken.id), key)
        asked = articulations is not None
        assert ("phonemes.json" in members) is asked
        assert ("phonemes.json" in members["README.txt"].decode()) is asked
    assert members["phonemes.json"].decode() == write_json(to_json((make_lip_report(),)))
    store.close()
