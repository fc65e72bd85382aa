"""A confined process distinguishes missing, valid and invalid Content Credentials."""

import json
import sys
from pathlib import Path

import pytest

from tests.clips import Film, write_clip
from tests.webapp.bundle.signed_clips import sign_clip
from webapp.bundle import c2pa
from webapp.bundle.c2pa import TEXTS, Credentials, CredentialState, examine_credentials


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "plain.mp4", Film())


def test_missing_credentials_are_reported_as_inconclusive(plain: Path) -> None:
    found = examine_credentials(plain)
    assert found.state is CredentialState.NONE and "means nothing" in found.text


def test_credentials_that_hold_and_that_do_not(plain: Path, tmp_path: Path) -> None:
    signed = sign_clip(plain.read_bytes(), signer="A <tester>")
    (tmp_path / "signed.mp4").write_bytes(signed)
    found = examine_credentials(tmp_path / "signed.mp4")
    assert (found.state, found.signer, found.generator) == (CredentialState.VALID, "A <tester>", "test camera")
    assert "not that the content is true" in found.text and "Signed by: A <tester>." in found.text
    at = signed.index(b"mdat") + 100  # within the media data
    (tmp_path / "changed.mp4").write_bytes(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :])
    changed = examine_credentials(tmp_path / "changed.mp4")
    assert changed.state is CredentialState.INVALID and "do not hold" in changed.text


@pytest.mark.parametrize("content", [b"", b"RIFF....WAVE", b"\x1aE\xdf\xa3" + b"x" * 90])
def test_files_of_other_kinds_are_not_read_at_all(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    found = examine_credentials(tmp_path / "x")
    assert found.state is CredentialState.NOT_EXAMINED and "file type" in found.text


def test_damaged_file_raises_no_exception(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0\0\0\x18ftypisom" + b"\xff" * 2000)
    assert examine_credentials(tmp_path / "x").state in (CredentialState.NONE, CredentialState.INVALID)
    assert "no longer exists" in examine_credentials(tmp_path / "nowhere").text


@pytest.mark.parametrize(
    ("program", "words", "wall_s"),
    [
        ("import sys; sys.exit(3)", "failed on this file", 120),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "failed on this file", 120),
        ("print('no json')", "invalid answer", 120),
        ('print(\'{"state": "fine", "signer": "", "generator": ""}\')', "invalid answer", 120),
        ("import time; time.sleep(600)", "too long", 1),
    ],
)
def test_child_process_failures_are_reported(
    plain: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, words: str, wall_s: int
) -> None:
    (tmp_path / "stand_in.py").write_text(program)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(c2pa, "MODULE", "stand_in")
    monkeypatch.setattr(c2pa, "MAX_WALL_S", wall_s)
    monkeypatch.setattr(c2pa.engine, "__file__", str(tmp_path / "x" / "__init__.py"))
    assert words in examine_credentials(plain).text


def test_without_the_library_that_is_said(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c2pa.importlib.util, "find_spec", lambda name: None)
    assert "c2pa-python is not installed" in examine_credentials(plain).text


def test_the_process_can_open_nothing_once_it_reads(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replace the reading by attempts to open a file and a socket, and report their errors."""
    probe = tmp_path / "probe.py"
    probe.write_text(
        "import json, socket, sys\n"
        "from webapp.bundle import c2pa_child as child\n"
        "def attempt(what):\n"
        "    try:\n        what()\n"
        "    except OSError as error:\n        return type(error).__name__\n"
        "    return 'open'\n"
        "def read(file, kind, context):\n"
        "    found = [attempt(lambda: open('/etc/hostname')), attempt(lambda: socket.socket())]\n"
        "    return {'state': 'none', 'signer': ' '.join(found), 'generator': str(len(file.read(8)))}\n"
        "child.read_credentials = read\n"
        "child.main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))\n"
    )
    monkeypatch.setattr(c2pa, "MODULE", "probe")
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    own = Path(c2pa.engine.__file__).parents[1]
    real = c2pa._run

    start = f"import sys; sys.path[:0] = [{str(own)!r}]; exec(open({str(probe)!r}).read())"

    def run(command: list[str], media: int) -> object:
        return real([sys.executable, "-c", start, *command[-3:]], media)

    monkeypatch.setattr(c2pa, "_run", run)
    found = examine_credentials(plain)
    assert found.generator == "8" and found.signer and "open" not in found.signer.split(), found


def test_every_state_has_its_words_and_none_claims_the_truth() -> None:
    assert set(TEXTS) == set(CredentialState)
    for state in CredentialState:
        fields = Credentials(state, signer="x", generator="y").describe()
        assert json.dumps(fields) and fields["words"].endswith("Signed by: x. Made with: y.")
        assert "authentic" not in fields["words"]
