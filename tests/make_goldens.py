"""Cuts the parts of the reference numbers that the tests read: `python -m tests.make_goldens FOLDER`.

FOLDER holds the golden files that the reference implementations printed; the parts go to `tests/goldens/` and are
committed. Only this script writes there. No test makes its own expectation, and a missing golden fails.
"""

import sys
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parent / "goldens"
MAX_BYTES = 2 * 1024 * 1024  # of all parts together

SHAPES = "avhubert_state_dict_shapes.json"  # a text, kept as its bytes

# Part: the file it is cut from and the arrays taken. SpeechForensics' preprocessing of a sound and of a moving pattern;
# AV-HuBERT of two layers with weights that follow from their names (`tests/formula.py`).
PARTS = {
    "preprocess.npz": (
        "preprocess_golden.npz",
        (
            "wav",  # (20800,) int16, 1.3 s at 16 kHz
            "logfbank",  # (129, 26) float32
            "audio_input",  # (33, 104) float32
            "frame_check",  # (2, 8, 10, 3) uint8: frames 0 and 39 at every 40th pixel, BGR
            "landmarks_raw",  # (40, 68, 2) float64, NaN in rows 11, 12 and 25
            "landmarks_interpolated",  # (40, 68, 2) float64
            "mean_face",  # (68, 2) float64
            "mouth_gray",  # (40, 96, 96) uint8
            "video_input_first_last",  # (2, 88, 88) float32
        ),
    ),
    "avhubert.npz": (
        "avhubert_golden.npz",
        (
            "base2.video_features",  # (30, 768) float32
            "base2.audio_features",  # (32, 768) float32
            "base2.offset_similarity",  # (31,) float32
            "base2.score",  # () float32
            "large2.video_features",  # (8, 1024) float32 of the 30
            "large2.audio_features",  # (8, 1024) float32 of the 32
            "large2.av_features",  # (8, 1024) float32 of the 30
            SHAPES,
        ),
    ),
}
EVERY = {f"large2.{name}_features": 4 for name in ("video", "audio", "av")}  # array: every so many rows are enough


def cut_goldens(source: Path, target: Path = GOLDENS) -> list[Path]:
    """Write every part from the folder of full goldens; return the files written."""
    target.mkdir(exist_ok=True)
    written = []
    for part, (file, names) in PARTS.items():
        with np.load(source / file) as golden:
            texts = {SHAPES: np.frombuffer((source / SHAPES).read_bytes(), np.uint8)} if SHAPES in names else {}
            arrays = {name: golden[name] for name in names if name not in texts}
        thinned = {name: array[:: EVERY[name]] if name in EVERY else array for name, array in arrays.items()}
        np.savez_compressed(target / part, **thinned, **texts)
        written.append(target / part)
    n_bytes = sum(path.stat().st_size for path in written)
    if n_bytes > MAX_BYTES:
        raise ValueError(f"the goldens take {n_bytes} bytes, wanted at most {MAX_BYTES}: take fewer arrays")
    return written


if __name__ == "__main__":
    for path in cut_goldens(Path(sys.argv[1])):
        print(f"{path.name}: {path.stat().st_size} bytes")
