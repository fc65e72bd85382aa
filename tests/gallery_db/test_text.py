"""Texts: open-set results, similarities marked as uncalibrated, no control characters in names."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from gallery_db import text as summary
from gallery_db.records import (
    Candidate,
    Check,
    Enrolment,
    EnrolmentCheck,
    Receipt,
    RecipeStats,
    Rejection,
    RejectionReason,
    SampleSimilarity,
    Search,
    SearchReason,
    Speaker,
    Stats,
    Verification,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ADA = Speaker(1, "Ada", 2, 31.5, False, NOW, NOW + timedelta(days=365))
FIRST = Candidate(1, "Ada", 0.8123, 0.8123, None, 2, 31.5, False)
RAW = Search((FIRST,), None, (SearchReason.UNCALIBRATED,), 12, "r", None, "faiss flat")


def test_every_reason_has_an_explanation() -> None:
    assert set(summary.EXPLANATIONS) == set(SearchReason)


def test_uncalibrated_search_names_no_speaker_and_marks_every_number() -> None:
    lines = summary.describe_search(replace(RAW, candidates=(FIRST, replace(FIRST, name="Ben"))))
    assert lines[0] == "No speaker is named, of 12 enrolled speakers"
    assert lines[1].strip().startswith("UNCALIBRATED: similarities are raw")
    assert lines[2:] == [
        "  1. Ada: similarity 0.812 (uncalibrated); 2 clips, 31.5 s",
        "  2. Ben: similarity 0.812 (uncalibrated); 2 clips, 31.5 s",
    ]
    assert "%" not in "".join(lines)


def test_none_supported_is_said_first() -> None:
    against = replace(FIRST, llr=-0.7, is_limited=True)
    lines = summary.describe_search(replace(RAW, candidates=(against,), is_supported=False, reasons=()))
    assert lines[0] == "None supported, of 12 enrolled speakers"
    assert "5 times more probable if the person whose way of speaking is seen is not enrolled" in lines[1]
    assert lines[2] == "  1. Ada: log10 likelihood ratio -0.70 (similarity 0.812); 2 clips, 31.5 s, LIMITED"


def test_supported_speaker_is_named() -> None:
    found = replace(RAW, candidates=(replace(FIRST, llr=1.25),), is_supported=True, reasons=(), n_speakers=1)
    assert summary.describe_search(found)[0] == "Supported, of 1 enrolled speaker: Ada"


@pytest.mark.parametrize(
    ("llr", "is_supported", "heading"),
    [
        (None, None, "Compared with Ada: similarity 0.500 (uncalibrated); 2 clips, 31.5 s"),
        (2.0, True, "It is supported that this is Ada: log10 likelihood ratio +2.00 (similarity 0.500)"),
        (-2.0, False, "It is not supported that this is Ada: log10 likelihood ratio -2.00 (similarity 0.500)"),
    ],
)
def test_a_verification_says_what_is_supported(llr: float | None, is_supported: bool | None, heading: str) -> None:
    samples = (SampleSimilarity(1, "a.mp4", 0.51), SampleSimilarity(2, "b.mp4", 0.44))
    found = Verification(ADA, 0.5, 0.5, llr, is_supported, (), samples, "r", None)
    lines = summary.describe_verification(found)
    assert lines[0].startswith(heading)
    assert lines[-1] == "  to each of their clips: a.mp4 0.510, b.mp4 0.440"
    assert len(lines) == (2 if llr is None else 3)
    assert llr is None or "100 times more probable if" in lines[1]


def test_a_verification_of_unnatural_motion_says_nothing_of_the_speaker() -> None:
    found = Verification(ADA, None, None, None, None, (SearchReason.NOT_NATURAL,), (), "r", None)
    lines = summary.describe_verification(found)
    assert lines[0] == "No result for Ada." and "tampered" in lines[1] and len(lines) == 2


def test_enrolment_text_lists_rejections_warnings_and_missing() -> None:
    rejected = Rejection("c.mp4", "ab" * 32, RejectionReason.OUTLIER, "it is not like the others")
    lines = summary.describe_enrolment(Enrolment(replace(ADA, is_limited=True), True, (1,), (rejected,), ("like Ben",)))
    assert lines == [
        "Ada: 1 clip enrolled, 2 clips, 31.5 s, LIMITED in all",
        "  left out: c.mp4: it is not like the others (OUTLIER)",
        "  warning: like Ben",
        "  LIMITED: 20 s of speech over two clips are asked for; enrol more clips",
        "  to be forgotten by 2027-03-01, when the term of the consent ends",
    ]


def test_dry_run_text_lists_planned_enrolment() -> None:
    rejected = Rejection("c\n.mp4", "ab" * 32, RejectionReason.SAME_SOURCE, "the same file")
    lines = summary.describe_enrolment_check(EnrolmentCheck(np.array([True, False]), (rejected,), (), True))
    assert lines == [
        "1 clip of 2 would be enrolled",
        "  left out: c\ufffd.mp4: the same file (SAME_SOURCE)",
        "  LIMITED: 20 s of speech over two clips are asked for; enrol more clips",
    ]


def test_speakers_are_listed_with_what_is_overdue() -> None:
    late = replace(ADA, name="Benedikt", expires_at=NOW, is_limited=True)
    lines = summary.describe_speakers([ADA, late, replace(ADA, name="C", expires_at=None)], NOW)
    assert lines == [
        "Ada       2 clips, 31.5 s, until 2027-03-01",
        "Benedikt  2 clips, 31.5 s, LIMITED, OVERDUE: to be forgotten by 2026-03-01",
        "C         2 clips, 31.5 s",
    ]
    assert summary.describe_speakers([], NOW) == ["No speaker is enrolled."]


def test_a_receipt_says_what_is_gone_and_what_could_not_be_reached() -> None:
    receipt = Receipt("f00", NOW, {"sample": 2, "result": 0}, False, ("backups",))
    lines = summary.describe_receipt("Ada", receipt)
    assert lines[0].startswith("Ada was forgotten at 2026-03-01 00:00:00 UTC")
    assert lines[2:] == [
        "  removed: 2 sample",
        "  Their bytes may still stand in the files of the database.",
        "  not reached: backups",
    ]
    assert "gone from every file" in summary.describe_receipt("Ada", replace(receipt, is_erased=True))[3]


def test_stats_name_the_search_and_what_is_overdue() -> None:
    recipes = (RecipeStats("r", 2, 5, "pgvector exact"), RecipeStats("s", 1, 1, "faiss flat"))
    lines = summary.describe_stats(Stats(3, 6, 99.6, 1, recipes, "sqlite:///g", 2_500_000, "0001", 7))
    assert lines == [
        "3 speakers, 6 clips, 100 s; 1 speaker overdue to be forgotten",
        "  r: 2 speakers, 5 vectors, pgvector exact",
        "  s: 1 speaker, 1 vector, faiss flat",
        "sqlite:///g: 2.5 MB, schema 0001, generation 7",
    ]


def test_check_text_lists_repaired_and_unrepaired() -> None:
    assert summary.describe_check(Check((), ())) == ["The gallery is sound."]
    assert summary.describe_check(Check(("a",), ("b",))) == ["mended: a", "problem: b"]


def test_names_cannot_steer_a_terminal() -> None:
    evil = "A\x1b[2J\u202ed\n"
    lines = [
        *summary.describe_search(replace(RAW, candidates=(replace(FIRST, name=evil),))),
        *summary.describe_speakers([replace(ADA, name=evil)], NOW),
    ]
    assert all(line.isprintable() for line in lines) and any("A\ufffd[2J\ufffdd" in line for line in lines)


def test_json_is_plain_and_finite() -> None:
    result = summary.to_json({"search": RAW, "at": NOW, "bad": float("nan"), "vector": np.array([0.5], np.float32)})
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again == result
    assert (
        again["search"]["candidates"][0] | {"name": "Ada", "similarity": 0.8123, "llr": None}
        == (again["search"]["candidates"][0])
    )
    assert again["search"]["reasons"] == ["UNCALIBRATED"] and again["search"]["is_supported"] is None
    assert (again["at"], again["bad"], again["vector"]) == ("2026-03-01T00:00:00+00:00", None, [0.5])
