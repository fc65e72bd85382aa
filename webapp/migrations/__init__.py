"""Schema versions of the app's database; `gallery_db.migrations` applies them."""

from pathlib import Path

HERE = Path(__file__).parent
