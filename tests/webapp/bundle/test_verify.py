"""The check in plain Python: RFC 8032 test vectors, and detection of every changed byte."""

import random
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from webapp.bundle import verify
from webapp.bundle.bundle import sign_members
from webapp.bundle.signing_key import SigningKey, open_key

# RFC 8032, section 7.1: public key, message, signature of TEST 1, 2, 3 and SHA(abc)
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aee"
        "b00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28d"
        "c027beceea1ec40a",
    ),
    (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e"
        "2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17a"
        "d9bef1177331a704",
    ),
)


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_examples_of_the_rfc_hold_and_nothing_near_them(key: str, message: str, signature: str) -> None:
    public, text, signed = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert verify.verify_signature(public, text, signed)
    assert not verify.verify_signature(public, text + b"\0", signed)
    for at in (0, 31, 32, 63):
        changed = bytearray(signed)
        changed[at] ^= 1
        assert not verify.verify_signature(public, text, bytes(changed))


def test_a_second_spelling_of_a_signature_is_refused() -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[1])
    scalar = int.from_bytes(signature[32:], "little") + verify.ORDER
    assert not verify.verify_signature(key, message, signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize("key", [b"", b"\x01", b"\xff" * 32, bytes([2]) + bytes(31)])
def test_what_is_no_key_signs_nothing(key: bytes) -> None:
    assert not verify.verify_signature(key, b"", bytes.fromhex(VECTORS[0][2]))


def test_it_agrees_with_the_library_over_random_messages() -> None:
    chance = random.Random(3)
    for length in (0, 1, 63, 64, 65, 4096):
        key, message = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32)), chance.randbytes(length)
        assert verify.verify_signature(key.public_key().public_bytes_raw(), message, key.sign(message))


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    return open_key(tmp_path / "data")


@pytest.fixture
def members(key: SigningKey) -> dict[str, bytes]:
    chance = random.Random(5)
    plain = {"a.txt": b"one\n", "faces/0.png": chance.randbytes(300), "empty": b"", "ü.md": "Grüße".encode()}
    return sign_members(plain, key)


def test_unchanged_bundle_verifies(members: dict[str, bytes], key: SigningKey) -> None:
    archive = verify.pack(members)
    assert verify.unpack(archive) == members
    assert verify.find_problems(verify.unpack(archive), key.fingerprint) == []


def test_other_programs_read_the_archive(members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(BytesIO(verify.pack(members))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == members


def test_every_bit_of_every_byte_counts(members: dict[str, bytes], tmp_path: Path) -> None:
    archive, chance = verify.pack(members), random.Random(7)
    file = tmp_path / "bundle.zip"
    for at in range(len(archive)):
        changed = bytearray(archive)
        changed[at] ^= 1 << chance.randrange(8)
        file.write_bytes(changed)
        assert verify.check(file), f"byte {at} may change"


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: b"", lambda d: d[:30]]
)
def test_a_shorter_or_longer_archive_is_none(change: object, members: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "bundle.zip"
    file.write_bytes(change(verify.pack(members)))  # type: ignore[operator]
    assert verify.check(file)


def test_every_byte_of_every_file_counts_even_in_an_archive_packed_anew(members: dict[str, bytes]) -> None:
    chance = random.Random(11)
    for name, data in members.items():
        for at in range(0, len(data), 1 if name in verify.UNLISTED[1:] else 5):
            changed = bytearray(data)
            changed[at] ^= 1 << chance.randrange(8)
            problems = verify.find_problems({**members, name: bytes(changed)})
            assert problems, f"byte {at} of {name} may change"


@pytest.mark.parametrize("name", ["a.txt", verify.MANIFEST, verify.SIGNATURE, verify.PUBLIC_KEY])
def test_a_missing_file_is_missed(name: str, members: dict[str, bytes]) -> None:
    assert any(name in problem or "manifest" in problem for problem in verify.find_problems(_without(members, name)))


def test_extra_file_is_named(members: dict[str, bytes]) -> None:
    assert verify.find_problems({**members, "more.txt": b""}) == ["more.txt is not as the manifest lists it"]


def test_resigned_bundle_is_detected_by_fingerprint(members: dict[str, bytes], key: SigningKey, tmp_path: Path) -> None:
    other = open_key(tmp_path / "other")
    forged = sign_members({**_unsigned(members), "a.txt": b"two\n"}, other)
    assert verify.find_problems(forged) == [] and verify.find_fingerprint(forged) == other.fingerprint
    assert verify.find_problems(forged, key.fingerprint) == [
        "the bundle was signed with another key than the one asked for"
    ]


def test_the_program_in_the_bundle_runs_alone(members: dict[str, bytes], key: SigningKey, tmp_path: Path) -> None:
    program, bundle, folder = tmp_path / "verify.py", tmp_path / "bundle.zip", tmp_path / "unpacked"
    program.write_bytes(Path(verify.__file__).read_bytes())
    bundle.write_bytes(verify.pack(members))
    zipfile.ZipFile(bundle).extractall(folder)
    for place in (bundle, folder):
        done = _run(program, place, "--fingerprint", key.fingerprint)
        assert done.returncode == 0 and f"All {len(members)} files" in done.stdout
    (folder / "a.txt").write_bytes(b"two\n")
    done = _run(program, folder)
    assert done.returncode == 1 and "a.txt is not as the manifest lists it" in done.stdout
    assert _run(program).returncode == 2 and _run(program, tmp_path / "nowhere.zip").returncode == 1


def _run(program: Path, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _without(members: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {one: data for one, data in members.items() if one != name}


def _unsigned(members: dict[str, bytes]) -> dict[str, bytes]:
    kept = {verify.MANIFEST, verify.SIGNATURE, verify.PUBLIC_KEY}
    return {name: data for name, data in members.items() if name not in kept}
