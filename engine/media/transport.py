"""Read the programmes of an MPEG transport stream: which streams belong together (ISO/IEC 13818-1, 2.4.4)."""

import io
from collections.abc import Iterator, Mapping

from engine.media.containers import HEAD_BYTES, TS_PACKETS, find_packets

SYNC = 0x47
PACKET = 188  # bytes, without the additions of some forms
READ_BYTES = 4 * 2**20  # the tables repeat every tenth of a second
PAT, PMT = 0x00, 0x02  # table ids
MAX_PROGRAMMES = 64


def read_programmes(file: io.FileIO) -> Mapping[int, int]:
    """Map the PID of each stream to the number of its programme; empty where the tables are missing or damaged.

    Leaves the file at its start.
    """
    file.seek(0)
    head = file.read(READ_BYTES)
    file.seek(0)
    tables: dict[int, int] = {}  # PID of a programme's table: its number
    found: dict[int, int] = {}
    for pid, payload in _read_sections(head):
        if pid == 0 and payload[0] == PAT:
            tables |= _read_list(payload)
        elif pid in tables and payload[0] == PMT:
            found |= dict.fromkeys(_read_streams(payload), tables[pid])
    return found


def _read_sections(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the PID and the bytes of each table section."""
    start, length = find_packets(head[:HEAD_BYTES])
    length = length or PACKET  # too short for the form to be found
    begun: dict[int, bytes] = {}
    for at in range(start + TS_PACKETS[length], len(head) - PACKET + 1, length):
        packet = head[at : at + PACKET]
        pid, begins = (packet[1] & 0x1F) << 8 | packet[2], bool(packet[1] & 0x40)
        if packet[0] != SYNC or not packet[3] & 0x10 or not (begins or pid in begun):
            continue
        content = packet[5 + packet[4] if packet[3] & 0x20 else 4 :]  # behind the adaptation field
        if begins:
            content = content[1 + content[0] :] if content else b""  # behind the pointer field
        section = b"" if begins else begun.pop(pid)
        section += content
        size = 3 + (int.from_bytes(section[1:3], "big") & 0xFFF)
        if len(section) >= max(size, 12):
            yield pid, section[:size]
        elif section and section[0] in (PAT, PMT):
            begun[pid] = section


def _read_list(section: bytes) -> dict[int, int]:
    """Map the PID of each programme's table to the programme's number."""
    entries = section[8:-4]
    pairs = [(entries[at : at + 2], entries[at + 2 : at + 4]) for at in range(0, len(entries) - 3, 4)]
    numbers = {int.from_bytes(pid, "big") & 0x1FFF: int.from_bytes(number, "big") for number, pid in pairs}
    return {pid: number for pid, number in list(numbers.items())[:MAX_PROGRAMMES] if number}


def _read_streams(section: bytes) -> Iterator[int]:
    """Yield the PID of each stream of a programme."""
    at = 12 + (int.from_bytes(section[10:12], "big") & 0xFFF)
    while at + 5 <= len(section) - 4:
        yield int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
        at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0xFFF)
