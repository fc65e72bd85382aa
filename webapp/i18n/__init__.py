"""The words of the page in more than one language: English stands in the code, the rest in catalogues beside this file.

`say` gives what the server writes, `labels.label` what the browser translates.
"""

from webapp.i18n.catalog import LANGUAGES, say, speak

__all__ = ["LANGUAGES", "say", "speak"]
