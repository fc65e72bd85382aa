"""Versions of the schema of the app's own database; `gallery_db.migrations` brings it up to date by them."""

from pathlib import Path

HERE = Path(__file__).parent
