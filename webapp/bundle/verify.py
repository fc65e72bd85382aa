"""Check an evidence bundle of Wayspeak with nothing but Python 3.10 or newer: `python verify.py BUNDLE.zip`.

The check compares each file with its SHA-256 in `manifest.sha256`, verifies the Ed25519 signature of the manifest, and
compares the archive, byte for byte, with the only valid way to pack these files. An unpacked bundle can be checked too:
`python verify.py FOLDER`.

A signature shows that the holder of the key wrote the bundle and that nothing was changed since. It does not show who
that is, nor that the contents are right: compare the fingerprint with one from another source, with `--fingerprint`. A
bundle must not vouch for itself: take this file from Wayspeak rather than from the bundle.
"""

import hashlib
import struct
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

MANIFEST, SIGNATURE, PUBLIC_KEY = "manifest.sha256", "signature.ed25519", "public-key.ed25519"
UNLISTED = (MANIFEST, SIGNATURE)  # a manifest cannot contain its own hash, nor the signature of itself

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
LOCAL_FIELDS = struct.Struct("<4sHHHHHIIIHH")
CENTRAL_FIELDS = struct.Struct("<4sHHHHHHIIIHHHHHII")
END_FIELDS = struct.Struct("<4sHHHHIIH")
VERSION, UTF8, STORED = 20, 0x800, 0
TIME, DATE = 0, 0x21  # 1980-01-01 00:00, the earliest in ZIP: the same files give the same archive
MAX_BYTES = 2**32 - 1

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # of -1
Point = tuple[int, int, int, int]  # X, Y, Z, T of extended coordinates: x = X/Z, y = Y/Z, x*y = T/Z


def verify_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether an Ed25519 signature is valid (RFC 8032, section 5.1.7); malformed input is invalid."""
    if len(public_key) != 32 or len(signature) != 64:
        return False
    key, commitment = _unpack(public_key), _unpack(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or commitment is None or scalar >= ORDER:  # a larger one would be a second encoding of the same
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % ORDER
    return _equal(_multiply(scalar, BASE), _add(commitment, _multiply(challenge, key)))


def _recover_x(y: int, sign: int) -> int | None:
    """Recover x from y (RFC 8032, section 5.1.3)."""
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def _unpack(data: bytes) -> Point | None:
    number = int.from_bytes(data, "little")
    y = number & (2**255 - 1)
    x = _recover_x(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def _add(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % P
    b = (one[1] + one[0]) * (other[1] + other[0]) % P
    c, d = 2 * one[3] * other[3] * D % P, 2 * one[2] * other[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _add(found, point)
        point, scalar = _add(point, point), scalar >> 1
    return found


def _equal(one: Point, other: Point) -> bool:
    return (one[0] * other[2] - other[0] * one[2]) % P == 0 and (one[1] * other[2] - other[1] * one[2]) % P == 0


_BASE_Y = 4 * pow(5, P - 2, P) % P
_BASE_X = _recover_x(_BASE_Y, 0) or 0
BASE: Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % P)


def pack(members: Mapping[str, bytes]) -> bytes:
    """Write an uncompressed ZIP, sorted by name, without free bits: the same members give the same bytes."""
    parts, central, offset = [], [], 0
    for name, data in sorted(members.items()):
        path, crc, size = name.encode(), zlib.crc32(data), len(data)
        shared = (VERSION, UTF8, STORED, TIME, DATE, crc, size, size, len(path), 0)
        parts += [LOCAL_FIELDS.pack(LOCAL, *shared), path, data]
        central += [CENTRAL_FIELDS.pack(CENTRAL, VERSION, *shared, 0, 0, 0, 0, offset), path]
        offset += LOCAL_FIELDS.size + len(path) + size
    listing = b"".join(central)
    if offset + len(listing) > MAX_BYTES:
        raise ValueError(f"{offset} bytes are too many for one archive")
    end = END_FIELDS.pack(END, 0, 0, len(members), len(members), len(listing), offset, 0)
    return b"".join([*parts, listing, end])


def unpack(archive: bytes) -> dict[str, bytes]:
    """Read an archive of `pack`; raise ValueError if it differs in any byte from what `pack` would write."""
    members: dict[str, bytes] = {}
    at = 0
    while archive[at : at + 4] == LOCAL:
        if at + LOCAL_FIELDS.size > len(archive):
            raise ValueError("the archive ends early")
        *_, size, name_size, _ = LOCAL_FIELDS.unpack_from(archive, at)
        begin = at + LOCAL_FIELDS.size + name_size
        name = archive[at + LOCAL_FIELDS.size : begin].decode("utf-8")
        members[name] = archive[begin : begin + size]
        at = begin + size
    if not members or pack(members) != archive:
        raise ValueError("the archive was changed, or is not Wayspeak's")
    return members


def read_folder(folder: Path) -> dict[str, bytes]:
    """Read an unpacked bundle."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def write_manifest(members: Mapping[str, bytes]) -> bytes:
    """List the SHA-256 of every member, by name, as `sha256sum` does."""
    listed = sorted((name, data) for name, data in members.items() if name not in UNLISTED)
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in listed).encode()


def write_hex(data: bytes) -> bytes:
    """Encode bytes in the only accepted spelling of a key or a signature."""
    return f"{data.hex()}\n".encode()


def find_problems(members: Mapping[str, bytes], fingerprint: str | None = None) -> list[str]:
    """Return the problems of a bundle; an empty list means that it is valid.

    `fingerprint`: SHA-256 of the public key that must have signed the bundle, from another source.
    """
    lacking = [name for name in (*UNLISTED, PUBLIC_KEY) if name not in members]
    if lacking:
        return [f"{name} is missing" for name in lacking]
    problems = _compare_manifest(members)
    key, signature = _read_hex(members[PUBLIC_KEY]), _read_hex(members[SIGNATURE])
    if not verify_signature(key, members[MANIFEST], signature):
        problems.append("the signature of the manifest is not valid")
    if fingerprint is not None and fingerprint.strip().lower() != find_fingerprint(members):
        problems.append("the bundle was signed with another key than the one asked for")
    return problems


def find_fingerprint(members: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of the public key in a bundle."""
    return hashlib.sha256(_read_hex(members[PUBLIC_KEY])).hexdigest()


def _read_hex(text: bytes) -> bytes:
    try:
        data = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        return b""
    return data if write_hex(data) == text else b""  # no second spelling is valid


def _compare_manifest(members: Mapping[str, bytes]) -> list[str]:
    wanted = write_manifest(members)
    if wanted == members[MANIFEST]:
        return []
    listed = set(members[MANIFEST].splitlines())
    changed = [line for line in wanted.splitlines() if line not in listed]
    names = [line[66:].decode("utf-8", "replace") for line in changed]
    return [f"{name} is not as the manifest lists it" for name in names] or ["the manifest lists missing files"]


def check(path: Path, fingerprint: str | None = None) -> list[str]:
    """Check a packed or unpacked bundle as `find_problems` does; an unreadable one has a problem too."""
    try:
        members = read_folder(path) if path.is_dir() else unpack(path.read_bytes())
    except (OSError, ValueError) as error:
        return [f"it cannot be read: {error}"]
    return find_problems(members, fingerprint)


def main(arguments: list[str]) -> int:
    """Print the result; return 0 if the bundle is valid, 1 if not, 2 for wrong usage."""
    fingerprint = None
    if "--fingerprint" in arguments:
        at = arguments.index("--fingerprint")
        fingerprint = "".join(arguments[at + 1 : at + 2])
        arguments = arguments[:at] + arguments[at + 2 :]
    if len(arguments) != 1:
        print("usage: python verify.py BUNDLE.zip|FOLDER [--fingerprint SHA256]", file=sys.stderr)
        return 2
    path = Path(arguments[0])
    problems = check(path, fingerprint)
    for problem in problems:
        print(f"PROBLEM: {problem}")
    if problems:
        print("The bundle is NOT valid.")
        return 1
    members = read_folder(path) if path.is_dir() else unpack(path.read_bytes())
    print(f"All {len(members)} files are as they were signed.")
    print(f"Fingerprint of the signing key: {find_fingerprint(members)}")
    if fingerprint is None:
        print("The owner of that key is unknown here: compare the fingerprint with one from another source.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
