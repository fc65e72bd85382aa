"""Public datasets: layouts, lists, labels and speakers."""

import json
from pathlib import Path

import pytest

from engine.datasets.public import ABSENT, Choice, Layout, detect_layout, read_layout
from engine.errors import Code
from tests.raising import raises


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"clip")


def tell(folder: Path, layout: Layout | None = None, **choice: object) -> set[tuple[str, str, str, str]]:
    found = read_layout(folder, layout, Choice(**choice))  # type: ignore[arg-type]
    return {(row.written, row.label, row.method, row.speaker) for row in found.rows}


@pytest.fixture
def faceforensics(tmp_path: Path) -> Path:
    put(
        tmp_path,
        "original_sequences/youtube/c23/videos/033.mp4",
        "original_sequences/youtube/c23/videos/097.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/033_097.mp4",
        "manipulated_sequences/Face2Face/c23/videos/033_097.mp4",
        "manipulated_sequences/Face2Face/c23/masks/033_097.png",
    )
    return tmp_path


def test_faceforensics_names_methods_people_and_owners(faceforensics: Path) -> None:
    found = read_layout(faceforensics).rows
    assert [row.number for row in found] == [1, 2, 3, 4]
    by_method = {row.method: row for row in found if not row.is_real}
    assert set(by_method) == {"Deepfakes", "Face2Face"}
    swap, puppet = by_method["Deepfakes"], by_method["Face2Face"]
    assert (swap.face_owner, swap.motion_owner, swap.speaker) == ("097", "033", "033")
    assert (puppet.face_owner, puppet.motion_owner, puppet.speaker) == ("033", "097", "033")
    assert {row.speaker for row in found if row.is_real} == {"033", "097"}


def test_two_compressions_are_never_mixed(faceforensics: Path) -> None:
    put(faceforensics, "original_sequences/youtube/c40/videos/033.mp4")
    with raises(Code.BAD_MANIFEST, match="c23, c40"):
        read_layout(faceforensics)
    assert tell(faceforensics, compression="c40") == {
        ("original_sequences/youtube/c40/videos/033.mp4", "real", "", "033")
    }


def test_the_official_split_keeps_its_pairs_alone(faceforensics: Path) -> None:
    put(faceforensics, "original_sequences/youtube/c23/videos/500.mp4")
    (faceforensics / "splits").mkdir()
    (faceforensics / "splits/test.json").write_text('[["033", "097"]]')
    assert len(tell(faceforensics, split="test")) == 4
    with raises(Code.BAD_MANIFEST, match=r"val\.json"):
        read_layout(faceforensics, choice=Choice(split="val"))


def test_a_list_of_speechforensics_names_what_is_absent(tmp_path: Path) -> None:
    put(tmp_path, "real/videos/033.mp4", "fake/Deepfakes/videos/033_097.mp4")
    listed = tmp_path / "test_list.txt"
    listed.write_text("real/videos/033.mp4 1\nfake/Deepfakes/videos/033_097.mp4 0\nfake/FaceSwap/videos/1_2.mp4 0\n")
    found = read_layout(tmp_path, Layout.FACEFORENSICS, Choice(list_file=listed))
    assert [row.label for row in found.rows] == ["real", "fake"]
    assert [(one.path, one.reason) for one in found.absent] == [("fake/FaceSwap/videos/1_2.mp4", ABSENT)]


@pytest.mark.parametrize("line", ["real/videos/033.mp4 0", "real/videos/033.mp4", "elsewhere/033.mp4 1"])
def test_a_list_that_contradicts_the_folders_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "list.txt").write_text(f"{line}\n")
    with raises(Code.BAD_MANIFEST, match="line 1"):
        read_layout(tmp_path, Layout.FACEFORENSICS, Choice(list_file=tmp_path / "list.txt"))


def test_fakeavceleb_by_its_metadata(tmp_path: Path) -> None:
    put(
        tmp_path,
        "RealVideo-RealAudio/African/men/id00076/00109.mp4",
        "FakeVideo-FakeAudio/African/men/id00076/00109_10_id00476_wavtolip.mp4",
    )
    (tmp_path / "meta_data.csv").write_text(
        "source,target1,target2,method,category,type,race,gender,path,\n"
        "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,"
        "FakeAVCeleb/RealVideo-RealAudio/African/men/id00076\n"
        "id00076,id00476,10,wav2lip,D,FakeVideo-FakeAudio,African,men,00109_10_id00476_wavtolip.mp4,"
        "FakeAVCeleb/FakeVideo-FakeAudio/African/men/id00076\n"
        "id00077,-,-,real,A,RealVideo-RealAudio,African,men,00001.mp4,FakeAVCeleb/RealVideo-RealAudio/African/men/id00077\n"
    )
    found = read_layout(tmp_path)
    assert {(row.label, row.method, row.speaker) for row in found.rows} == {
        ("real", "", "id00076"),
        ("fake", "wav2lip (FakeVideo-FakeAudio)", "id00076"),
    }
    assert [one.path for one in found.absent] == ["RealVideo-RealAudio/African/men/id00077/00001.mp4"]


def test_fakeavceleb_without_its_metadata_is_read_by_folders(tmp_path: Path) -> None:
    put(tmp_path, "RealVideo-RealAudio/African/men/id1/1.mp4", "RealVideo-FakeAudio/African/men/id1/1_fake.mp4")
    assert {(label, method) for _, label, method, _ in tell(tmp_path)} == {
        ("real", ""),
        ("fake", "RealVideo-FakeAudio"),
    }


@pytest.mark.parametrize("top", ["", "synthesized_videos/"])
def test_kodf_speaks_korean(tmp_path: Path, top: str) -> None:
    put(tmp_path, "original_videos/138311/138311_034.mp4", f"{top}fo/20201024/181240/181240_181240_4_0023.mp4")
    found = read_layout(tmp_path).rows
    assert {(row.label, row.method, row.speaker, row.language) for row in found} == {
        ("real", "", "138311", "ko"),
        ("fake", "fo", "181240", "ko"),
    }


def test_lavdf_says_which_side_was_modified(tmp_path: Path) -> None:
    put(tmp_path, "test/0.mp4", "test/1.mp4", "train/2.mp4")
    items = [
        {"file": "test/0.mp4", "split": "test", "original": None, "modify_video": False, "modify_audio": False},
        {"file": "test/1.mp4", "split": "test", "original": "test/0.mp4", "modify_video": True, "modify_audio": True},
        {"file": "train/2.mp4", "split": "train", "original": None, "modify_video": False, "modify_audio": True},
    ]
    (tmp_path / "metadata.json").write_text(json.dumps(items))
    assert tell(tmp_path, split="test") == {
        ("test/0.mp4", "real", "", "test/0.mp4"),
        ("test/1.mp4", "fake", "video and audio", "test/0.mp4"),
    }


def test_avdeepfake1m_looks_into_the_folder_of_its_split(tmp_path: Path) -> None:
    put(tmp_path, "val/id1/v/real.mp4", "val/id1/v/fake_video_real_audio.mp4")
    kinds = {"real.mp4": "real", "fake_video_real_audio.mp4": "visual_modified", "gone.mp4": "both_modified"}
    items = [{"file": f"id1/v/{name}", "modify_type": kind} for name, kind in kinds.items()]
    (tmp_path / "val_metadata.json").write_text(json.dumps(items))
    found = read_layout(tmp_path)
    assert {(row.label, row.method, row.speaker) for row in found.rows} == {
        ("real", "", "id1"),
        ("fake", "video", "id1"),
    }
    assert [one.path for one in found.absent] == ["val/id1/v/gone.mp4"]


def test_idforge_by_its_lists(tmp_path: Path) -> None:
    put(
        tmp_path,
        "pristine/id00/id00_03/id00_a.mp4",
        "tts_textgen/id00/id00_03/id00_a.mp4",
        "lip_tts_textgen/x/y/id1_b.mp4",
    )
    listed = [
        "pristine/id00/id00_03/id00_a.mp4",
        "tts_textgen/id00/id00_03/id00_a.mp4",
        "lip_tts_textgen/x/y/id1_b.mp4",
    ]
    (tmp_path / "test.csv").write_text("\n".join(listed))
    assert {row[1:] for row in tell(tmp_path)} == {
        ("real", "", "id00"),
        ("fake-audio", "tts_textgen", "id00"),
        ("fake", "lip_tts_textgen", "id1"),
    }


def test_a_folder_that_is_none_of_them_must_be_named(tmp_path: Path) -> None:
    put(tmp_path, "clips/1.mp4")
    with raises(Code.BAD_MANIFEST, match="no known dataset"):
        detect_layout(tmp_path)
    put(tmp_path, "original_videos/1/1_1.mp4", "metadata.json")
    with raises(Code.BAD_MANIFEST, match="matches kodf and lavdf"):
        detect_layout(tmp_path)


def test_a_folder_without_a_clip_of_its_layout_is_refused(tmp_path: Path) -> None:
    with raises(Code.BAD_MANIFEST, match="no clip"):
        read_layout(tmp_path, Layout.KODF)
    with raises(Code.BAD_MANIFEST, match="not a folder"):
        read_layout(tmp_path / "gone")
