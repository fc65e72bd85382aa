"""Read public datasets in their released folder layout as manifest rows; no file is renamed, copied or converted.

Layouts and lists follow the releases: FaceForensics++ (Roessler et al. 2019), FakeAVCeleb v1.2 (Khalid et al.
2021), KoDF (Kwon et al. 2021), LAV-DF and AV-Deepfake1M (Cai et al. 2022, 2023), IDForge v1 (Xu et al. 2024); and the
lists of SpeechForensics (Liang et al. 2024) with one path and 1 (real) or 0 per line.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from engine.datasets.manifest import REAL, Row, Skipped
from engine.datasets.tables import read_table, read_text
from engine.errors import Code

FAKE = "fake"
ABSENT = "the list names it, and the file is not there"
COMPRESSIONS = ("raw", "c0", "c23", "c40")
SWAPPING = (
    "Deepfakes",
    "FaceSwap",
    "FaceShifter",
    "DeepFakeDetection",
)  # the face of the source, the motion of the target
DRIVING = ("Face2Face", "NeuralTextures")  # the face of the target, the motion of the source
KODF_METHODS = ("audio-driven", "dffs", "dfl", "fo", "fsgan")
SOUND_ONLY = ("rvc_", "tts_")  # of IDForge: the video is real
VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".webm")  # endings in the releases, which also hold audio, masks and lists

Describe = Callable[[PurePosixPath], Row | None]
"""Map a path inside the dataset to a row; None if it is not a clip of the dataset."""


class Layout(StrEnum):
    """Folder layout of a dataset."""

    FACEFORENSICS = "faceforensics"
    FAKEAVCELEB = "fakeavceleb"
    KODF = "kodf"
    LAVDF = "lavdf"
    AVDEEPFAKE1M = "avdeepfake1m"
    IDFORGE = "idforge"


@dataclass(frozen=True, slots=True)
class Listing:
    """Clips of a dataset: existing rows, and listed clips without a file."""

    rows: tuple[Row, ...]
    absent: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """Selection of clips of a dataset."""

    list_file: Path | None = None  # in SpeechForensics' format; None: the lists of the dataset, else all files
    split: str = ""  # for datasets with splits; empty: all
    compression: str = ""  # of FaceForensics++; empty: the only one present


def read_layout(folder: Path, layout: Layout | None = None, choice: Choice | None = None) -> Listing:
    """List the clips of a dataset; raises BAD_MANIFEST if it is damaged or has no clip.

    Without `layout` it is detected from the content of the folder.
    """
    if not folder.is_dir():
        raise Code.BAD_MANIFEST(f"{folder} is not a folder.", "Name the folder of the dataset, or a manifest.")
    choice, layout = choice or Choice(), layout or detect_layout(folder)
    found = list(_read_list(folder, layout, choice) if choice.list_file else READERS[layout](folder, choice))
    if not found:
        raise Code.BAD_MANIFEST(f"{folder} has no clip in the layout of {layout}.", "See `--layout` and `--split`.")
    numbered = [replace(row, number=number) for number, row in enumerate(found, start=1)]
    rows = [row for row in numbered if row.path.is_file()]
    absent = [Skipped(row.written, ABSENT) for row in numbered if not row.path.is_file()]
    return Listing(tuple(rows), tuple(absent))


def detect_layout(folder: Path) -> Layout:
    """Detect the dataset of a folder; raises BAD_MANIFEST if none or several match."""
    marks = {
        Layout.FACEFORENSICS: _has(folder, "original_sequences") and _has(folder, "manipulated_sequences"),
        Layout.FAKEAVCELEB: _has(folder, "RealVideo-RealAudio"),
        Layout.KODF: _has(folder, "original_videos"),
        Layout.LAVDF: any(_has(folder, name) for name in ("metadata.json", "metadata.min.json")),
        Layout.AVDEEPFAKE1M: any(folder.glob("*_metadata.json")),
        Layout.IDFORGE: _find_idforge(folder) is not None,
    }
    found = [layout for layout, is_present in marks.items() if is_present]
    if len(found) != 1:
        matches = f"matches {' and '.join(found)}" if found else "matches no known dataset"
        raise Code.BAD_MANIFEST(f"{folder} {matches}.", f"Name it by --layout: {', '.join(Layout)}.")
    return found[0]


def describe_faceforensics(path: PurePosixPath) -> Row | None:
    """`original_sequences/youtube/c23/videos/033.mp4`, `manipulated_sequences/Deepfakes/c23/videos/033_097.mp4`.

    SpeechForensics' lists use `real/...` and `fake/...` instead. A fake has the audio of its first number.
    """
    parts, stem = path.parts, path.stem
    if parts[0] in ("original_sequences", "real"):
        return _row(path, REAL, _first_name(stem), "FaceForensics++")
    if parts[0] not in ("manipulated_sequences", "fake") or len(parts) < 3:
        return None
    method, names = parts[1], stem.split("__")[0].split("_")
    target, source = names[0], names[-1]
    face, motion = (target, source) if method in DRIVING else (source, target)
    known = method in DRIVING + SWAPPING
    owners = {"face_owner": face, "motion_owner": motion} if known else {}
    return _row(path, FAKE, target, "FaceForensics++", method, **owners)


def describe_fakeavceleb(path: PurePosixPath) -> Row | None:
    """`FakeVideo-RealAudio/African/men/id00076/00109_3.mp4`; the method is only in `meta_data.csv`."""
    parts = path.parts
    if len(parts) < 3 or not parts[0].endswith(("-RealAudio", "-FakeAudio")):
        return None
    label = REAL if parts[0] == "RealVideo-RealAudio" else FAKE
    return _row(path, label, parts[-2], "FakeAVCeleb", "" if label == REAL else parts[0])


def describe_kodf(path: PurePosixPath) -> Row | None:
    """`original_videos/138311/138311_034.mp4`, `fo/20201024/181240/181240_181240_4_0023.mp4`; all in Korean.

    The latter are under `synthesized_videos` in some releases.
    """
    parts = path.parts[1:] if path.parts[0] == "synthesized_videos" else path.parts
    if parts[0] == "original_videos":
        return _row(path, REAL, parts[1], "KoDF", language="ko")
    return _row(path, FAKE, parts[-2], "KoDF", parts[0], language="ko") if parts[0] in KODF_METHODS else None


def describe_idforge(path: PurePosixPath) -> Row | None:
    """`pristine/id00/id00_03/...mp4` or `lip_tts_textgen/id00/id00_03/...mp4`; the first folder is the task."""
    parts = path.parts
    if len(parts) < 2:
        return None
    if parts[0] == "pristine":
        return _row(path, REAL, _first_name(path.stem), "IDForge")
    label = "fake-audio" if parts[0].startswith(SOUND_ONLY) else FAKE
    return _row(path, label, _first_name(path.stem), "IDForge", parts[0])


def _read_faceforensics(folder: Path, choice: Choice) -> Iterator[Row]:
    rows = list(_walk(folder, ("original_sequences", "manipulated_sequences"), describe_faceforensics))
    levels = {level for row in rows for level in COMPRESSIONS if level in PurePosixPath(row.written).parts}
    if choice.compression:
        levels &= {choice.compression}
    if len(levels) > 1:
        raise Code.BAD_MANIFEST(
            f"{folder} has several compressions: {', '.join(sorted(levels))}.",
            "Name one by --compression; results of two would mix.",
        )
    wanted = _read_splits(folder, choice.split)
    for row in rows:
        parts = PurePosixPath(row.written).parts
        is_wanted = bool(levels & set(parts)) if levels or choice.compression else True
        if is_wanted and (wanted is None or row.path.stem in wanted):
            yield row


def _read_splits(folder: Path, split: str) -> set[str] | None:
    """Return the stems of the official split: pairs of numbers, each of them also a real clip."""
    if not split:
        return None
    pairs = _read_json(_find_list(folder, (f"splits/{split}.json", f"{split}.json")))
    return {name for one, other in pairs for name in (one, other, f"{one}_{other}", f"{other}_{one}")}


def _read_fakeavceleb(folder: Path, choice: Choice) -> Iterator[Row]:
    """Read `meta_data.csv` if present: `path` is the file name and the column without a name its folder."""
    listed = folder / "meta_data.csv"
    if not listed.is_file():
        tops = sorted(place.name for place in folder.iterdir() if place.name.endswith(("-RealAudio", "-FakeAudio")))
        yield from _walk(folder, tops, describe_fakeavceleb)
        return
    columns = ("path", "method", "source", "type", "race", "gender")
    for cells in read_table(listed, columns, Code.BAD_MANIFEST).rows:
        place = PurePosixPath(cells.get("") or _join_folders(cells))
        inside = PurePosixPath(*place.parts[1:]) if place.parts[:1] == ("FakeAVCeleb",) else place
        row = describe_fakeavceleb(inside / cells["path"])
        if row is not None:
            method = "" if row.is_real else f"{cells['method']} ({row.method})"
            yield replace(row, path=folder / row.path, speaker=cells["source"], method=method)


def _join_folders(cells: Mapping[str, str]) -> str:
    return "/".join(cells[name] for name in ("type", "race", "gender", "source"))


def _read_kodf(folder: Path, choice: Choice) -> Iterator[Row]:
    return _walk(folder, ("original_videos", "synthesized_videos", *KODF_METHODS), describe_kodf)


def _read_lavdf(folder: Path, choice: Choice) -> Iterator[Row]:
    """`metadata.json`: `file`, `split`, `modify_video`, `modify_audio`."""
    for item in _read_json(_find_list(folder, ("metadata.json", "metadata.min.json"))):
        if choice.split in ("", item.get("split", "")):
            kinds = [name for name in ("video", "audio") if item[f"modify_{name}"]]
            yield _list_item(folder, item["file"], "LAV-DF", " and ".join(kinds), str(item.get("original") or ""))


def _read_avdeepfake1m(folder: Path, choice: Choice) -> Iterator[Row]:
    """`train_metadata.json`, `val_metadata.json`: `file`, `modify_type`; clips are in a folder named by the split."""
    for listed in sorted(folder.glob(f"{choice.split or '*'}_metadata.json")):
        split = listed.name.removesuffix("_metadata.json")
        for item in _read_json(listed):
            kind = item["modify_type"].replace("_modified", "").replace("both", "video and audio")
            file = item["file"] if (folder / item["file"]).is_file() else f"{split}/{item['file']}"
            kind = "" if kind == REAL else kind.replace("visual", "video")
            person = PurePosixPath(item["file"]).parts
            yield _list_item(folder, file, "AV-Deepfake1M", kind, "", person[-3] if len(person) > 2 else "")


def _read_idforge(folder: Path, choice: Choice) -> Iterator[Row]:
    """`train.csv`, `val.csv`, `test.csv` without a header: a path per line, with the task as first folder."""
    home = _find_idforge(folder) or folder
    splits = (choice.split,) if choice.split else ("train", "val", "test")
    listed = [home / f"{split}.csv" for split in splits if (home / f"{split}.csv").is_file()]
    if not listed:
        tops = sorted(place.name for place in home.iterdir() if place.is_dir()) if (home / "pristine").is_dir() else []
        yield from _walk(home, tops, describe_idforge)
    for file in listed:
        for line in _read_lines(file):
            row = describe_idforge(PurePosixPath(line.split(",")[0]))
            if row is not None:
                yield replace(row, path=home / row.path)


READERS: Mapping[Layout, Callable[[Path, Choice], Iterable[Row]]] = {
    Layout.FACEFORENSICS: _read_faceforensics,
    Layout.FAKEAVCELEB: _read_fakeavceleb,
    Layout.KODF: _read_kodf,
    Layout.LAVDF: _read_lavdf,
    Layout.AVDEEPFAKE1M: _read_avdeepfake1m,
    Layout.IDFORGE: _read_idforge,
}
DESCRIBERS: Mapping[Layout, Describe] = {
    Layout.FACEFORENSICS: describe_faceforensics,
    Layout.FAKEAVCELEB: describe_fakeavceleb,
    Layout.KODF: describe_kodf,
    Layout.IDFORGE: describe_idforge,
}


def _read_list(folder: Path, layout: Layout, choice: Choice) -> Iterator[Row]:
    """Read lines of a path and 1 (real) or 0; BAD_MANIFEST for an invalid line, or one that contradicts its folder."""
    assert choice.list_file is not None
    describe = DESCRIBERS.get(layout)
    if describe is None:
        raise Code.BAD_MANIFEST(f"{layout} has its own lists.", "Leave out --list.")
    for number, line in enumerate(_read_lines(choice.list_file), start=1):
        place, _, mark = line.rpartition(" ")
        row = describe(PurePosixPath(place)) if place and mark in ("0", "1") else None
        if row is None or row.is_real != (mark == "1"):
            raise Code.BAD_MANIFEST(
                f"{choice.list_file}: line {number} is {line!r}, wanted a path of {layout} and 1 for real or 0.",
                "This is the format of SpeechForensics' test lists.",
            )
        yield replace(row, path=folder / row.path)


def _walk(folder: Path, tops: Iterable[str], describe: Describe) -> Iterator[Row]:
    for top in tops:
        for path in sorted((folder / top).rglob("*")):
            row = describe(PurePosixPath(path.relative_to(folder).as_posix())) if path.suffix.lower() in VIDEO else None
            if row is not None:
                yield replace(row, path=path)


def _row(path: PurePosixPath, label: str, speaker: str, source: str, method: str = "", **more: Any) -> Row:
    """Build a row with the path relative to the dataset."""
    return Row(0, Path(path), label, speaker, source, method, written=path.as_posix(), **more)


def _list_item(folder: Path, file: str, source: str, method: str, original: str, person: str = "") -> Row:
    """Build a row of a list without speakers: clips of one original share a group."""
    row = _row(PurePosixPath(file), FAKE if method else REAL, person or original or file, source, method)
    return replace(row, path=folder / file)


def _first_name(stem: str) -> str:
    return stem.split("_")[0]


def _has(folder: Path, name: str) -> bool:
    return (folder / name).exists()


def _find_idforge(folder: Path) -> Path | None:
    homes = (folder, folder / "main", folder / "IDForge_v1" / "main")
    return next((home for home in homes if (home / "pristine").is_dir()), None)


def _find_list(folder: Path, names: Iterable[str]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise Code.BAD_MANIFEST(f"{folder} has none of {', '.join(names)}.", "The list of the dataset is needed.")
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise Code.BAD_MANIFEST(f"{path} cannot be read as JSON: {cause}.", "Download it again.") from cause


def _read_lines(path: Path) -> list[str]:
    return [line.strip() for line in read_text(path, Code.BAD_MANIFEST).splitlines() if line.strip()]
