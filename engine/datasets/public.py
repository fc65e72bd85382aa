"""Public collections as they lie on disk, turned into the rows of a manifest: nothing is renamed, copied or converted.

Folders and lists are those of the releases: FaceForensics++ (Roessler et al. 2019), FakeAVCeleb v1.2 (Khalid et al.
2021), KoDF (Kwon et al. 2021), LAV-DF and AV-Deepfake1M (Cai et al. 2022, 2023), IDForge v1 (Xu et al. 2024); and the
lists of SpeechForensics (Liang et al. 2024), a path and a 1 for real or a 0 a line.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from engine.datasets.manifest import REAL, Row, Skipped
from engine.errors import Code

FAKE = "fake"
ABSENT = "the list names it, and the file is not there"
COMPRESSIONS = ("raw", "c0", "c23", "c40")
SWAPPING = ("Deepfakes", "FaceSwap", "FaceShifter", "DeepFakeDetection")  # the target moves behind the source's face
DRIVING = ("Face2Face", "NeuralTextures")  # the target's face moves as the source does
KODF_METHODS = ("audio-driven", "dffs", "dfl", "fo", "fsgan")
SOUND_ONLY = ("rvc_", "tts_")  # of IDForge: the picture is as it was filmed
VIDEO = (".mp4", ".avi", ".mov", ".mkv", ".webm")

Describe = Callable[[PurePosixPath], Row | None]
"""Tell of a path inside the collection what clip it is; None where it is none of it."""


class Layout(StrEnum):
    """Which collection lies in a folder."""

    FACEFORENSICS = "faceforensics"
    FAKEAVCELEB = "fakeavceleb"
    KODF = "kodf"
    LAVDF = "lavdf"
    AVDEEPFAKE1M = "avdeepfake1m"
    IDFORGE = "idforge"


@dataclass(frozen=True, slots=True)
class Listing:
    """The clips of a collection: those that are there, and those that are named alone."""

    rows: tuple[Row, ...]
    absent: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a collection is read."""

    list_file: Path | None = None  # of SpeechForensics' format; None: the collection's own lists, else all files
    split: str = ""  # of collections that have several; empty: all
    compression: str = ""  # of FaceForensics++; empty: the one that is there


def read_layout(folder: Path, layout: Layout | None = None, choice: Choice | None = None) -> Listing:
    """List the clips of a collection; BAD_MANIFEST where it is not what it should be, or has no clip.

    Without `layout` it is guessed from what lies in the folder.
    """
    if not folder.is_dir():
        raise Code.BAD_MANIFEST(f"{folder} is no folder.", "Name the folder of the collection, or a manifest.")
    choice, layout = choice or Choice(), layout or guess_layout(folder)
    found = list(_read_list(folder, layout, choice) if choice.list_file else READERS[layout](folder, choice))
    if not found:
        raise Code.BAD_MANIFEST(
            f"{folder} has no clip that lies as those of {layout} do.", "See `--layout` and `--split`."
        )
    numbered = [replace(row, number=number) for number, row in enumerate(found, start=1)]
    rows = [row for row in numbered if row.path.is_file()]
    absent = [Skipped(row.written, ABSENT) for row in numbered if not row.path.is_file()]
    return Listing(tuple(rows), tuple(absent))


def guess_layout(folder: Path) -> Layout:
    """Tell which collection lies in a folder; BAD_MANIFEST where it looks like none, or like several."""
    marks = {
        Layout.FACEFORENSICS: _has(folder, "original_sequences") and _has(folder, "manipulated_sequences"),
        Layout.FAKEAVCELEB: _has(folder, "RealVideo-RealAudio"),
        Layout.KODF: _has(folder, "original_videos"),
        Layout.LAVDF: any(_has(folder, name) for name in ("metadata.json", "metadata.min.json")),
        Layout.AVDEEPFAKE1M: any(folder.glob("*_metadata.json")),
        Layout.IDFORGE: _find_idforge(folder) is not None,
    }
    seen = [layout for layout, is_there in marks.items() if is_there]
    if len(seen) != 1:
        looks = f"like {' and like '.join(seen)}" if seen else "like none of the collections that are known"
        raise Code.BAD_MANIFEST(f"{folder} looks {looks}.", f"Name it by --layout: {', '.join(Layout)}.")
    return seen[0]


def describe_faceforensics(path: PurePosixPath) -> Row | None:
    """`original_sequences/youtube/c23/videos/033.mp4`, `manipulated_sequences/Deepfakes/c23/videos/033_097.mp4`.

    SpeechForensics' lists say `real/...` and `fake/...` instead. The sound of a forged clip is its first number's.
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
    """`FakeVideo-RealAudio/African/men/id00076/00109_3.mp4`; the method stands in `meta_data.csv` alone."""
    parts = path.parts
    if len(parts) < 3 or not parts[0].endswith(("-RealAudio", "-FakeAudio")):
        return None
    label = REAL if parts[0] == "RealVideo-RealAudio" else FAKE
    return _row(path, label, parts[-2], "FakeAVCeleb", "" if label == REAL else parts[0])


def describe_kodf(path: PurePosixPath) -> Row | None:
    """`original_videos/138311/138311_034.mp4`, `fo/20201024/181240/181240_181240_4_0023.mp4`; all speak Korean.

    The latter lie under `synthesized_videos` in some releases.
    """
    parts = path.parts[1:] if path.parts[0] == "synthesized_videos" else path.parts
    if parts[0] == "original_videos":
        return _row(path, REAL, parts[1], "KoDF", language="ko")
    return _row(path, FAKE, parts[-2], "KoDF", parts[0], language="ko") if parts[0] in KODF_METHODS else None


def describe_idforge(path: PurePosixPath) -> Row | None:
    """`pristine/id00/id00_03/...mp4` against `lip_tts_textgen/id00/id00_03/...mp4`; the first folder is the task."""
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
            f"{folder} holds its clips at several compressions: {', '.join(sorted(levels))}.",
            "Name one by --compression; figures of two would be mixed.",
        )
    wanted = _read_splits(folder, choice.split)
    for row in rows:
        parts = PurePosixPath(row.written).parts
        is_wanted = bool(levels & set(parts)) if levels or choice.compression else True
        if is_wanted and (wanted is None or row.path.stem in wanted):
            yield row


def _read_splits(folder: Path, split: str) -> set[str] | None:
    """Stems of the official split: pairs of numbers, either of which is a real clip."""
    if not split:
        return None
    pairs = _read_json(_place(folder, (f"splits/{split}.json", f"{split}.json")))
    return {name for one, other in pairs for name in (one, other, f"{one}_{other}", f"{other}_{one}")}


def _read_fakeavceleb(folder: Path, choice: Choice) -> Iterator[Row]:
    """By `meta_data.csv` where it is there: `path` is the file's name and the column without a name its folder."""
    listed = folder / "meta_data.csv"
    if not listed.is_file():
        tops = sorted(place.name for place in folder.iterdir() if place.name.endswith(("-RealAudio", "-FakeAudio")))
        yield from _walk(folder, tops, describe_fakeavceleb)
        return
    with listed.open(encoding="utf-8-sig", newline="") as file:
        for cells in csv.DictReader(file):
            place = PurePosixPath((cells.get("") or "").strip() or _place_cells(cells))
            inside = PurePosixPath(*place.parts[1:]) if place.parts[:1] == ("FakeAVCeleb",) else place
            row = describe_fakeavceleb(inside / cells["path"].strip())
            if row is not None:
                method = "" if row.is_real else f"{cells['method'].strip()} ({row.method})"
                yield replace(row, path=folder / row.path, speaker=cells["source"].strip(), method=method)


def _place_cells(cells: Mapping[str, str]) -> str:
    return "/".join(cells[name].strip() for name in ("type", "race", "gender", "source"))


def _read_kodf(folder: Path, choice: Choice) -> Iterator[Row]:
    return _walk(folder, ("original_videos", "synthesized_videos", *KODF_METHODS), describe_kodf)


def _read_lavdf(folder: Path, choice: Choice) -> Iterator[Row]:
    """`metadata.json`: `file`, `split`, `modify_video`, `modify_audio`."""
    for item in _read_json(_place(folder, ("metadata.json", "metadata.min.json"))):
        if choice.split in ("", item.get("split", "")):
            kinds = [name for name in ("video", "audio") if item[f"modify_{name}"]]
            yield _list_item(folder, item["file"], "LAV-DF", " and ".join(kinds), str(item.get("original") or ""))


def _read_avdeepfake1m(folder: Path, choice: Choice) -> Iterator[Row]:
    """`train_metadata.json`, `val_metadata.json`: `file`, `modify_type`; clips lie in a folder named by the split."""
    for listed in sorted(folder.glob(f"{choice.split or '*'}_metadata.json")):
        split = listed.name.removesuffix("_metadata.json")
        for item in _read_json(listed):
            kind = item["modify_type"].replace("_modified", "").replace("both", "video and audio")
            file = item["file"] if (folder / item["file"]).is_file() else f"{split}/{item['file']}"
            kind = "" if kind == REAL else kind.replace("visual", "video")
            person = PurePosixPath(item["file"]).parts
            yield _list_item(folder, file, "AV-Deepfake1M", kind, "", person[-3] if len(person) > 2 else "")


def _read_idforge(folder: Path, choice: Choice) -> Iterator[Row]:
    """`train.csv`, `val.csv`, `test.csv` without a header: a path a line, whose first folder is the task."""
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
    """Read lines of a path and a 1 for real or a 0; BAD_MANIFEST for a line that is none, or contradicts its folder."""
    assert choice.list_file is not None
    describe = DESCRIBERS.get(layout)
    if describe is None:
        raise Code.BAD_MANIFEST(f"{layout} has lists of its own.", "Leave out --list.")
    for number, line in enumerate(_read_lines(choice.list_file), start=1):
        place, _, mark = line.rpartition(" ")
        row = describe(PurePosixPath(place)) if place and mark in ("0", "1") else None
        if row is None or row.is_real != (mark == "1"):
            raise Code.BAD_MANIFEST(
                f"{choice.list_file}: line {number} is {line!r}, wanted a path of {layout} and 1 for real or 0.",
                "It is the format of SpeechForensics' test lists.",
            )
        yield replace(row, path=folder / row.path)


def _walk(folder: Path, tops: Iterable[str], describe: Describe) -> Iterator[Row]:
    for top in tops:
        for path in sorted((folder / top).rglob("*")):
            row = describe(PurePosixPath(path.relative_to(folder).as_posix())) if path.suffix.lower() in VIDEO else None
            if row is not None:
                yield replace(row, path=path)


def _row(path: PurePosixPath, label: str, speaker: str, source: str, method: str = "", **more: Any) -> Row:
    """A row whose path is still inside the collection."""
    return Row(0, Path(path), label, speaker, source, method, written=path.as_posix(), **more)


def _list_item(folder: Path, file: str, source: str, method: str, original: str, person: str = "") -> Row:
    """A clip of a list without people: clips made from one original are kept together."""
    row = _row(PurePosixPath(file), FAKE if method else REAL, person or original or file, source, method)
    return replace(row, path=folder / file)


def _first_name(stem: str) -> str:
    return stem.split("_")[0]


def _has(folder: Path, name: str) -> bool:
    return (folder / name).exists()


def _find_idforge(folder: Path) -> Path | None:
    homes = (folder, folder / "main", folder / "IDForge_v1" / "main")
    return next((home for home in homes if (home / "pristine").is_dir()), None)


def _place(folder: Path, names: Iterable[str]) -> Path:
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise Code.BAD_MANIFEST(f"{folder} has none of {', '.join(names)}.", "The collection's own list is needed.")
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise Code.BAD_MANIFEST(f"{path} cannot be read as JSON: {cause}.", "Download it anew.") from cause


def _read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as cause:
        raise Code.BAD_MANIFEST(f"{path} cannot be read: {cause}.", "Download it anew.") from cause
