"""An contents with everything in it, made without an engine."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from engine.reports.json import to_json, write_json
from tests.fakes import make_analysis, make_report, make_second
from webapp.bundle.contents import BundleContents

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef"
    "0000000049454e44ae426082"
)


def make_contents(folder: Path, name: str = "drawn.mp4") -> BundleContents:
    """Make contents with two faces, a second model score, a search, a calibration, a card and a source link."""
    analysis = make_analysis(replace(make_report(0.61, 2), second=make_second()), make_report(0.2, -3), name=name)
    thumbnail = folder / "0.png"
    thumbnail.write_bytes(PNG)
    return BundleContents(
        name=name,
        size_bytes=123_456,
        sha256="ab" * 32,
        analysis=analysis,
        result=write_json(to_json(analysis)),
        finished_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        speakers='{"faces": [{"search": {}}]}\n',
        speaker_lines=(f"None supported, of 3 enrolled speakers, in {name}",),
        thumbnails={0: thumbnail},
        calibrations={"c" * 64: '{"id": "cc"}\n'},
        origin={"final_url": f"https://example.org/{name}", "extractor": "generic"},
        cards={"compact-model.md": "# The compact model\n"},
        environment={"wayspeak": "0.1.0", "python": "3.11", "weights": {"compact.safetensors": "ef" * 32}},
    )
