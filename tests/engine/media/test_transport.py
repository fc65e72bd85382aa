"""Programmes of a transport stream, from tables made by hand."""

import io
from pathlib import Path

import pytest

from engine.media.transport import read_programmes


def make_packet(pid: int, payload: bytes, begins: bool = True) -> bytes:
    head = bytes([0x47, (0x40 if begins else 0) | pid >> 8, pid & 0xFF, 0x10])
    return (head + payload).ljust(188, b"\xff")


def make_list(programmes: dict[int, int]) -> bytes:
    entries = b"".join(
        number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for number, pid in programmes.items()
    )
    body = b"\0\1\xc1\0\0" + entries + b"CRC4"
    return b"\0" + (0xB000 | len(body)).to_bytes(2, "big") + body


def make_table(number: int, pids: list[int], described: bytes = b"") -> bytes:
    streams = b"".join(
        b"\x1b" + (0xE000 | pid).to_bytes(2, "big") + (0xF000 | len(described)).to_bytes(2, "big") + described
        for pid in pids
    )
    body = number.to_bytes(2, "big") + b"\xc1\0\0" + b"\xe1\0\xf0\0" + streams + b"CRC4"
    return b"\2" + (0xB000 | len(body)).to_bytes(2, "big") + body


def split(pid: int, section: bytes) -> list[bytes]:
    first, rest = (b"\0" + section)[:184], (b"\0" + section)[184:]
    others = [make_packet(pid, rest[at : at + 184], begins=False) for at in range(0, len(rest), 184)]
    return [make_packet(pid, first), *others]


def read(tmp_path: Path, data: bytes) -> dict[int, int]:
    path = tmp_path / "stream.ts"
    path.write_bytes(data)
    with io.FileIO(path) as file:
        found = read_programmes(file)
        assert file.tell() == 0
    return dict(found)


PACKETS = [
    make_packet(0, b"\0" + make_list({0: 16, 1: 4096, 7: 4097})),
    make_packet(4096, b"\0" + make_table(1, [256])),
    make_packet(300, b"picture"),
    make_packet(4097, b"\0" + make_table(7, [257, 258])),
]


@pytest.mark.parametrize("prefix", [b"", b"time"])
def test_each_stream_has_its_programme(tmp_path: Path, prefix: bytes) -> None:
    data = b"".join(prefix + packet for packet in PACKETS * 3)
    assert read(tmp_path, data) == {256: 1, 257: 7, 258: 7}


def test_a_table_may_take_several_packets(tmp_path: Path) -> None:
    table = make_table(7, list(range(500, 540)), b"\x0a\x04eng\0")
    packets = [PACKETS[0], *split(4097, table)[:1], PACKETS[2], *split(4097, table)[1:], PACKETS[2]]
    assert len(table) > 200
    assert read(tmp_path, b"".join(packets)) == dict.fromkeys(range(500, 540), 7)


@pytest.mark.parametrize("cut", [0, 1, 187, 189, 400])
def test_a_short_or_damaged_stream_has_none(tmp_path: Path, cut: int) -> None:
    found = read(tmp_path, b"".join(PACKETS)[:cut])
    assert found == ({256: 1} if cut == 400 else {})


def test_noise_is_read_to_the_end(tmp_path: Path) -> None:
    import random

    noise = random.Random(0)
    for _ in range(50):
        packets = [
            bytes([0x47, noise.choice([0x40, 0x50, 0]), noise.randrange(4)]) + noise.randbytes(185) for _ in range(40)
        ]
        assert read(tmp_path, b"".join(packets)).keys() <= set(range(8192))


def test_a_stream_with_parity_that_begins_within_a_packet_has_its_programmes(tmp_path: Path) -> None:
    data = b"".join(packet + b"\0" * 16 for packet in PACKETS * 3)
    assert read(tmp_path, data[100:]) == {256: 1, 257: 7, 258: 7}
