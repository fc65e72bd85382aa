"""Two example clips: one portrait animated by a sentence, with its own audio and with that of another sentence.

Nothing is downloaded: the portrait is the public-domain NASA picture of scikit-image, the voice is synthesised. Run
`python -m webapp.analysis.examples`; existing clips of the same recipe are kept.
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from engine.errors import EngineError
from engine.faces.landmarker import FaceNets
from engine.settings import Settings
from engine.synthesis.animation import animate, write_clip
from engine.synthesis.portrait import Portrait, find_portrait
from engine.synthesis.tts import Speech, Voice, speak
from engine.synthesis.visemes import Manner, move_face
from engine.types import FPS
from engine.weights import registry

FOLDER = "examples"  # in the data folder
_VOICE = Voice("en-us+f3", words_per_minute=145)
_MANNER = Manner(seed=7)
_VERSION = 4  # increase it whenever the same texts would produce another clip


@dataclass(frozen=True, slots=True)
class Example:
    """A clip with known truth: the lips speak one text, the audio the same or another one."""

    file: str
    title: str
    caption: str
    lips: str
    sound: str
    voice: Voice = _VOICE
    manner: Manner = _MANNER


_BOATS = (
    "My mother bought a big wooden boat last summer. Every Monday morning she moves it along the river, "
    "and my father waves from the bridge above the village. Few people "
    "ever ask them why."
)
_WEATHER = (
    "The weather report promises heavy rain before the weekend. People who live near the mountains should "
    "keep away from open fields, and avoid travelling by night. Schools will open "
    "at noon."
)
EXAMPLES = (
    Example(
        "in-sync.mp4",
        "Example: own sound",
        "An example of ours: an animated portrait (NASA, public domain) with its own synthesised sentences.",
        _BOATS,
        _BOATS,
    ),
    Example(
        "other-sound.mp4",
        "Example: other sound",
        "An example of ours: the same animated portrait, with the sound of other sentences than its lips say.",
        _BOATS,
        _WEATHER,
    ),
)


def find_examples(data_dir: Path) -> tuple[Path, ...]:
    """Return the paths of the examples in the order of `EXAMPLES`; empty if any is missing."""
    paths = tuple(data_dir / FOLDER / example.file for example in EXAMPLES)
    return paths if all(path.is_file() for path in paths) else ()


def make_examples(data_dir: Path, examples: tuple[Example, ...] = EXAMPLES) -> tuple[Path, ...]:
    """Create missing or outdated examples; raise EngineError if a tool or weight is missing."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / example.file for example in examples)
    due = [(e, path) for e, path in zip(examples, paths, strict=True) if not _is_made(e, path)]
    if due:
        portrait = load_astronaut(FaceNets.load(registry.face_landmarker(data_dir)))
        for example, path in due:
            _make(example, portrait, path)
            _stamp(path).write_text(_recipe(example), "utf-8")
    return paths


def load_astronaut(nets: FaceNets) -> Portrait:
    """Find the head in NASA's portrait of Eileen Collins (public domain), enlarged to 640 x 640 pixels."""
    from skimage import data

    head = data.astronaut()[0:300, 76:376]
    image = cv2.resize(head, (640, 640), interpolation=cv2.INTER_CUBIC)
    return find_portrait(np.ascontiguousarray(image), nets)


def _make(example: Example, portrait: Portrait, path: Path) -> None:
    seen = speak(example.lips, example.voice)
    heard = seen if example.sound == example.lips else speak(example.sound, example.voice)
    n_frames = int(min(seen.duration_s, heard.duration_s) * FPS)
    sound = heard.audio[: n_frames * heard.rate_hz // FPS]
    motion = move_face(seen.phonemes, n_frames, example.manner)
    write_clip(path, animate(portrait, motion), Speech(sound, heard.rate_hz, heard.phonemes))


def _is_made(example: Example, path: Path) -> bool:
    stamp = _stamp(path)
    return path.is_file() and stamp.is_file() and stamp.read_text("utf-8") == _recipe(example)


def _stamp(path: Path) -> Path:
    return path.with_suffix(".recipe")


def _recipe(example: Example) -> str:
    return hashlib.sha256(f"{_VERSION} {replace(example, title='', caption='')!r}".encode()).hexdigest()


def main() -> None:
    """Create both examples and print their paths."""
    try:
        paths = make_examples(Settings.from_env().data_dir)
    except EngineError as error:
        sys.exit(f"The examples were not made. {error.message} {error.hint}")
    for example, path in zip(EXAMPLES, paths, strict=True):
        print(f"{example.title}: {path}")


if __name__ == "__main__":
    main()
