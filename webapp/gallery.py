"""The gallery as the app opens it: whoever is forgotten there also goes from what the app keeps."""

from pathlib import Path

from engine.settings import Settings
from gallery_db.erasure import Cleaner, Forgotten
from gallery_db.gallery import Gallery
from webapp.database import FILE
from webapp.jobs.cleanup import forget_people
from webapp.jobs.store import JobStore

CACHE = "cache"  # of observations, in the data folder
JOBS = "what jobs found"


def open_gallery(settings: Settings) -> Gallery:
    """Open the gallery of the settings; a GalleryError or FolderUnwritable says why that cannot be."""
    gallery = Gallery.open(settings)
    gallery.register_cleaner("kept observations", lambda gone: clean_cache(settings.data_dir / CACHE, gone))
    gallery.register_cleaner(JOBS, make_cleaner(settings))
    return gallery


def clean_cache(folder: Path, gone: Forgotten) -> int:
    """Delete what an `ObservationCache` keeps of clips that are nobody's now; gives how many files that were."""
    files = [file for digest in gone.source_hashes for file in folder.glob(f"*/{digest}*.npz")]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files)


def make_cleaner(settings: Settings) -> Cleaner:
    """Give what cleans the jobs, where there are any; the table is opened when somebody is forgotten."""

    def clean(gone: Forgotten) -> int:
        if not (settings.data_dir / FILE).exists():
            return 0
        store = JobStore.open(settings)
        try:
            return forget_people(store, gone)
        finally:
            store.close()

    return clean
