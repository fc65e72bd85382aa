"""Where a gallery stands, and what it says of itself."""

from pathlib import Path

import pytest

from engine.settings import Settings
from gallery_db.errors import GalleryError
from gallery_db.gallery import Gallery
from gallery_db.records import SearchReason
from tests.gallery_db.planted import DIM, REASON, RECIPE, draw_person, embed, enrol_people, make_consent, make_samples


def test_gallery_is_in_the_data_folder_of_the_settings(tmp_path: Path) -> None:
    with Gallery.open(Settings(tmp_path)) as gallery:
        enrol_people(gallery, [1])
    assert (tmp_path / "gallery" / "gallery.db").exists()
    with Gallery.open(tmp_path / "gallery" / "gallery.db") as gallery:
        assert [one.name for one in gallery.speakers()] == ["Person 1"]


def test_gallery_is_at_the_url_of_the_settings(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSPEAK_DATA", str(tmp_path))
    monkeypatch.setenv("WAYSPEAK_DATABASE", postgres)
    settings = Settings.from_env()
    with Gallery.open(settings) as gallery:
        enrol_people(gallery, [1])
        assert gallery.stats().database.startswith("postgresql+psycopg://")
    assert list(tmp_path.iterdir()) == []
    assert postgres not in repr(settings)  # it may hold a password
    with pytest.raises(GalleryError, match="server"):
        Gallery.restore(settings, tmp_path / "backup.db")
    monkeypatch.setenv("WAYSPEAK_DATABASE", "")
    assert Settings.from_env().database is None


def test_stats_count_everything_by_recipe_and_say_how_it_is_searched(sqlite_gallery: Gallery) -> None:
    enrol_people(sqlite_gallery, [1, 2])
    sqlite_gallery.enrol("Person 2", make_samples(2, recipe="planted-2"), make_consent())
    stats = sqlite_gallery.stats()
    assert (stats.n_speakers, stats.n_samples, stats.seconds, stats.n_overdue) == (2, 4, 48.0, 0)
    result = [(one.recipe, one.n_speakers, one.n_vectors, one.backend, one.recall) for one in stats.recipes]
    assert result == [(RECIPE, 2, 4, "faiss flat", None), ("planted-2", 1, 2, "faiss flat", None)]
    assert (stats.generation, stats.bytes_on_disk > 10_000) == (3, True)


def test_a_search_names_what_searched(sqlite_gallery: Gallery, postgres: str) -> None:
    enrol_people(sqlite_gallery, [1])
    probe = embed(draw_person(1, DIM), 50)
    assert sqlite_gallery.search(probe, reason=REASON).backend == "faiss flat"
    with Gallery.open(postgres) as other:
        assert other.search(probe, reason=REASON).reasons == (SearchReason.GALLERY_EMPTY,)
        enrol_people(other, [1])
        assert other.search(probe, reason=REASON).backend == "pgvector exact"
