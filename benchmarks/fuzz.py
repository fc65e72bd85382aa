"""Damaged files for as long as wanted: every one must get an answer, none may end the engine or keep it for a minute.

`python -m benchmarks.fuzz [--minutes 10] [--seed 0]`. The files are those of `tests.hostile`, one small whole film of
each container, damaged anew each time by a seeded choice; a file that fails is named by its seed, to be made again.
FFmpeg comes without instrumentation, so a fuzzer led by coverage would see nothing of it.

Parsers of our own against bytes that a fuzzer makes of what it sees them do: each answers, or raises what it may.

`pip install -e '.[fuzz]'` (Linux), then `python -m benchmarks.fuzz TARGET [--minutes 1] [--corpus FOLDER]`.
Atheris follows which of our lines are reached, so that it finds its way into structures; FFmpeg, which it cannot
follow, has `benchmarks.fuzz`. A file that fails is written down by Atheris, to be run again:
`python -m benchmarks.fuzz TARGET --corpus FILE --minutes 0`.
"""

import json
import resource
import socket
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Annotated

import atheris
import numpy as np
import typer

from engine.errors import EngineError
from engine.media.clip import open_clip
from tests import hostile

MAX_S = 60.0


def try_file(path: Path) -> str:
    """The code of the refusal, or what the reading found; anything but an EngineError comes through."""
    try:
        clip = open_clip(path)
        for _ in clip.read_frames():
            pass
    except EngineError as error:
        return error.code
    return "read, " + (", ".join(clip.reasons) or "nothing amiss")


def main(
    minutes: Annotated[float, typer.Option(help="For how long.")] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the first file; each next one has the next.")] = 0,
) -> None:
    answers: Counter[str] = Counter()
    slowest_s, failed, began = 0.0, [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [path.read_bytes() for path in hostile.write_seeds(Path(folder) / "seeds")]
        path = Path(folder) / "damaged"
        while time.monotonic() - began < 60 * minutes:
            path.write_bytes(hostile.mutate(seeds[seed % len(seeds)], np.random.default_rng(seed)))
            opened = time.monotonic()
            answer = try_file(path)
            took_s = time.monotonic() - opened
            if answer == "DECODER_FAILED" or took_s > MAX_S:
                failed.append(f"seed {seed}: {answer} after {took_s:.1f} s")
            slowest_s, seed = max(slowest_s, took_s), seed + 1
            answers[answer] += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"{sum(answers.values())} files; slowest {slowest_s:.1f} s; peak of the engine {peak:.2f} GB")
    for answer, count in answers.most_common():
        print(f"{count:7d}  {answer}")
    print(*(failed or ["no decoder crashed, none hung"]), sep="\n")


if __name__ == "__main__":
    typer.run(main)


with atheris.instrument_imports(include=["engine"]):
    from engine.datasets import manifest
    from engine.errors import EngineError
    from engine.fetch import url_policy
    from engine.media import containers, scan
    from engine.media.sandbox import ipc
    from engine.settings import MediaLimits
    from engine.weights import checkpoint_reader

MAX_BYTES = 4096
PLACE = Path(tempfile.gettempdir()) / "wayspeak-fuzz"


def tell_container(data: bytes) -> None:
    """A file of any kind: what it is, and whether it is whole."""
    path = _write(data)
    demuxer = containers.identify_container(path)
    containers.is_whole(path, demuxer)


def load_checkpoint(data: bytes) -> None:
    """A checkpoint of unknown origin; endless memory and hashing are for the limits of the confined process."""
    with suppress(MemoryError), warnings.catch_warnings(action="ignore"):
        checkpoint_reader.load_checkpoint(BytesIO(data), "fuzz.pt")


def load_pickle(data: bytes) -> None:
    """The pickle of a zip checkpoint that is whole but for it."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        for name, content in {"data.pkl": data, "version": b"3", "data/0": bytes(16)}.items():
            entries.writestr(f"archive/{name}", content)
    load_checkpoint(archive.getvalue())


def read_manifest(data: bytes) -> None:
    """A list of clips."""
    manifest.read_manifest(_write(data))


def check_url(data: bytes) -> None:
    """A link: what is let through is in its plain form, and stays as it is."""
    url = url_policy.check_url(data.decode("utf-8", "replace"))
    assert url_policy.check_url(url) == url
    assert url.startswith(("http://", "https://")) and "@" not in url.partition("//")[2].partition("/")[0]


def read_message(data: bytes) -> None:
    """What a decoder that was taken over may say."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(data)
    link = ipc.Link(ours)
    try:
        while (message := link.receive()) is not None:
            json.dumps(message.note)
    finally:
        link.close()


def read_scan(data: bytes) -> None:
    """What a decoder says that it has found."""
    head, _, rest = data.partition(b"\n")
    try:
        note = json.loads(head)
    except (ValueError, RecursionError):
        return
    if isinstance(note, dict):
        for read in (scan.read_scan, scan.read_sound):
            try:
                read(note, rest, MediaLimits())
            except (KeyError, TypeError, ValueError, OverflowError):  # what `media` answers by DECODER_FAILED
                continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": tell_container,
    "pickle": load_pickle,
    "checkpoint": load_checkpoint,
    "manifest": read_manifest,
    "url": check_url,
    "message": read_message,
    "scan": read_scan,
}
SEEDS = {
    "container": [b"\0\0\0\x20ftypisom" + bytes(20) + b"\0\0\0\x08moov", b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x80"],
    "pickle": [b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01K\x01s."],
    "checkpoint": [b"PK\x05\x06" + bytes(18), b"\x02\0\0\0\0\0\0\0{}"],
    "manifest": [b"path,label,speaker,offset_s\na.mp4,real,ada,-0.2\n"],
    "url": [b"https://example.org/watch?v=1#t", b"http://[2606:4700::1]:80/", b"http://0x7f.1/"],
    "message": [ipc.HEAD.pack(13, 2) + b'["end",{"a":1}]'[:13] + b"xx"],
    "scan": [b'{"unit_s":1,"last_duration_s":0,"shape":{"scaled_px":[4,4],"turn":[1,0,0,1]},"stream_index":0}\n'],
}


def _write(data: bytes) -> Path:
    path = PLACE / "file"
    path.write_bytes(data)
    return path


def main(
    target: Annotated[str, typer.Argument(help=f"One of {', '.join(TARGETS)}.")],
    minutes: Annotated[float, typer.Option(help="For how long; 0: only what is in the corpus.")] = 1.0,
    corpus: Annotated[Path | None, typer.Option(help="A folder to begin with and to keep finds in, or a file.")] = None,
) -> None:
    PLACE.mkdir(exist_ok=True)
    if corpus is None:
        corpus = PLACE / target
        corpus.mkdir(exist_ok=True)
        for number, seed in enumerate(SEEDS[target]):
            (corpus / f"seed{number}").write_bytes(seed)

    def try_bytes(data: bytes) -> None:
        try:
            TARGETS[target](data)
        except (EngineError, ipc.Garbled):
            return

    runs = ["-runs=0"] if minutes == 0 else [f"-max_total_time={round(60 * minutes)}"]
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_BYTES}", "-rss_limit_mb=2048", "-timeout=20", *runs, str(corpus)], try_bytes
    )
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
