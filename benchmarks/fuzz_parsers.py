"""Coverage-guided fuzzing of our parsers with Atheris: each must return or raise an expected error.

`pip install -e '.[fuzz]'` (Linux), then `python -m benchmarks.fuzz_parsers TARGET [--minutes 1] [--corpus FOLDER]`.
FFmpeg is not instrumented; for it, see `benchmarks.fuzz`. This is a separate module because Atheris must instrument the
engine while it is imported. Atheris writes failing inputs to files; to reproduce:
`python -m benchmarks.fuzz_parsers TARGET --corpus FILE --minutes 0`.
"""

import json
import socket
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Annotated

import atheris
import typer

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


def identify_container(data: bytes) -> None:
    """Identify the container of a file and check that it is complete."""
    path = _write(data)
    demuxer = containers.identify_container(path)
    containers.is_whole(path, demuxer)


def load_checkpoint(data: bytes) -> None:
    """Load an untrusted checkpoint; the sandbox limits memory and time."""
    with suppress(MemoryError), warnings.catch_warnings(action="ignore"):
        checkpoint_reader.load_checkpoint(BytesIO(data), "fuzz.pt")


def load_pickle(data: bytes) -> None:
    """Load a zip checkpoint with this pickle."""
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        for name, content in {"data.pkl": data, "version": b"3", "data/0": bytes(16)}.items():
            entries.writestr(f"archive/{name}", content)
    load_checkpoint(archive.getvalue())


def read_manifest(data: bytes) -> None:
    """Read a manifest."""
    manifest.read_manifest(_write(data))


def check_url(data: bytes) -> None:
    """Check a URL: accepted URLs are normalised, and normalisation is idempotent."""
    url = url_policy.check_url(data.decode("utf-8", "replace"))
    assert url_policy.check_url(url) == url
    assert url.startswith(("http://", "https://")) and "@" not in url.partition("//")[2].partition("/")[0]


def read_message(data: bytes) -> None:
    """Read messages of a compromised decoder."""
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
    """Read the scan result of a compromised decoder."""
    head, _, rest = data.partition(b"\n")
    try:
        note = json.loads(head)
    except (ValueError, RecursionError):
        return
    if isinstance(note, dict):
        for read in (scan.read_scan, scan.read_audio_chunk):
            try:
                read(note, rest, MediaLimits())
            except (KeyError, TypeError, ValueError, OverflowError):  # reported by `media` as DECODER_FAILED
                continue


TARGETS: dict[str, Callable[[bytes], None]] = {
    "container": identify_container,
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
    minutes: Annotated[float, typer.Option(help="Duration; 0: only run the corpus.")] = 1.0,
    corpus: Annotated[Path | None, typer.Option(help="Corpus folder, or one file.")] = None,
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
        except (EngineError, ipc.InvalidMessage):
            return

    runs = ["-runs=0"] if minutes == 0 else [f"-max_total_time={round(60 * minutes)}"]
    atheris.Setup(
        [sys.argv[0], f"-max_len={MAX_BYTES}", "-rss_limit_mb=2048", "-timeout=20", *runs, str(corpus)], try_bytes
    )
    atheris.Fuzz()


if __name__ == "__main__":
    typer.run(main)
