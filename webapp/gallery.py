"""Open the gallery so that erasing a speaker also erases cached features and job results."""

from pathlib import Path

from engine.settings import Settings
from gallery_db.erasure import Cleaner, Forgotten
from gallery_db.gallery import Gallery
from webapp.database import FILE
from webapp.jobs.cleanup import erase_from_jobs
from webapp.jobs.store import JobStore

CACHE = "cache"  # cached features, in the data folder
JOBS = "what jobs found"


def open_gallery(settings: Settings) -> Gallery:
    """Open the gallery of the settings; raise GalleryError or FolderUnwritable on failure."""
    gallery = Gallery.open(settings)
    gallery.register_cleaner("kept observations", lambda gone: clean_cache(settings.data_dir / CACHE, gone))
    gallery.register_cleaner(JOBS, make_cleaner(settings))
    return gallery


def clean_cache(folder: Path, gone: Forgotten) -> int:
    """Delete the cached features of erased clips and return the number of files."""
    files = [file for digest in gone.source_hashes for file in folder.glob(f"*/{digest}*.npz")]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def make_cleaner(settings: Settings) -> Cleaner:
    """Return a cleaner of the jobs; it opens their table only when a speaker is erased."""

    def clean(gone: Forgotten) -> int:
        if not (settings.data_dir / FILE).exists():
            return 0
        store = JobStore.open(settings)
        try:
            return erase_from_jobs(store, gone)
        finally:
            store.close()

    return clean
