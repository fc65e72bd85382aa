"""Translations: English is in the code, other languages are in JSON files of this folder.

`say` translates on the server, `label` in the browser.
"""

from webapp.i18n.catalog import LANGUAGES, say, speak

__all__ = ["LANGUAGES", "say", "speak"]
