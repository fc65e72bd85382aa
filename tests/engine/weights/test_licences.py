import json
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import FolderUnwritable, LicenceNotAccepted
from engine.weights import licences
from engine.weights.licences import AV_HUBERT, accept_licence, find_acceptance, require_acceptance

ROOT = Path(__file__).parents[3]


def test_nothing_is_accepted_before_somebody_does(tmp_path):
    assert find_acceptance(AV_HUBERT, tmp_path) is None
    with pytest.raises(LicenceNotAccepted, match="AV-HuBERT") as caught:
        require_acceptance(AV_HUBERT, tmp_path)
    assert AV_HUBERT.url in caught.value.hint and "wayspeak weights accept av_hubert" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_acceptance_is_kept_once_for_all(tmp_path):
    given = accept_licence(AV_HUBERT, tmp_path / "new" / "folder")

    assert require_acceptance(AV_HUBERT, tmp_path / "new" / "folder") == given
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == [licences.FILE]


def test_acceptance_names_time_and_terms_and_nobody(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    record = json.loads((tmp_path / licences.FILE).read_text())

    assert set(record) == {"av_hubert"}
    assert set(record["av_hubert"]) == {"accepted", "licence", "url", "terms_sha256"}
    assert record["av_hubert"]["accepted"].endswith("+00:00")


def test_other_words_must_be_accepted_anew(tmp_path):
    accept_licence(AV_HUBERT, tmp_path)
    changed = replace(AV_HUBERT, terms=(*AV_HUBERT.terms, "One thing more."))

    assert find_acceptance(changed, tmp_path) is None
    accept_licence(changed, tmp_path)
    assert find_acceptance(changed, tmp_path) is not None


def test_one_licence_says_nothing_of_another(tmp_path):
    other = replace(AV_HUBERT, name="other", title="Other")
    accept_licence(AV_HUBERT, tmp_path)
    assert find_acceptance(other, tmp_path) is None

    accept_licence(other, tmp_path)
    assert find_acceptance(AV_HUBERT, tmp_path) and find_acceptance(other, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"av_hubert": true}', '{"av_hubert": {"accepted": "2026"}}', "\xff"])
def test_damaged_record_accepts_nothing_and_can_be_renewed(tmp_path, text):
    (tmp_path / licences.FILE).write_bytes(text.encode("latin-1"))
    assert find_acceptance(AV_HUBERT, tmp_path) is None

    accept_licence(AV_HUBERT, tmp_path)
    assert find_acceptance(AV_HUBERT, tmp_path)


def test_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(FolderUnwritable, match=r"licences\.json cannot be written"):
        accept_licence(AV_HUBERT, tmp_path / "file")


def test_summary_says_what_is_forbidden_and_where_the_text_is():
    for word in ("non-commercial research", "production", "surveillance", "biometric", "data the model produces"):
        assert word in AV_HUBERT.summary.lower() or word in AV_HUBERT.summary
    assert AV_HUBERT.url == "https://github.com/facebookresearch/av_hubert/blob/main/LICENSE"
    assert AV_HUBERT.url in AV_HUBERT.summary
