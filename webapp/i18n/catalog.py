"""Labels of components: laid out before anybody asks, and put into the browser's language by Gradio's own i18n.

Which language a page is written in, and how its words are found.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import gradio as gr
from gradio.i18n import I18nData

LANGUAGES = ("en", "de")
_chosen: ContextVar[str | None] = ContextVar("language", default=None)


def say(text: str, **values: object) -> str:
    """Give the text in the language of whoever is asking, its `{names}` filled in; English where it is lacking."""
    found = _read_catalogue(_find_language()).get(text, text)
    return found.format(**values) if values else found


def read_catalogues() -> dict[str, dict[str, str]]:
    """Every language but English, with its words by the English ones."""
    return {language: _read_catalogue(language) for language in LANGUAGES if language != "en"}


@contextmanager
def speak(language: str) -> Iterator[None]:
    """Say everything in this language for a while."""
    token = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(token)


def choose_language(header: str) -> str:
    """Take the first language of an Accept-Language header that is spoken here."""
    for wish in header.split(","):
        name = wish.split(";")[0].strip().split("-")[0].lower()
        if name in LANGUAGES:
            return name
    return "en"


def _find_language() -> str:
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    context = sys.modules.get("gradio.context")  # where Gradio was not loaded, no page asks
    request = context.LocalContext.request.get(None) if context else None
    headers = getattr(request, "headers", None)
    return choose_language(headers.get("accept-language", "")) if headers else "en"


@cache
def _read_catalogue(language: str) -> dict[str, str]:
    path = Path(__file__).with_name(f"{language}.json")
    return json.loads(path.read_text("utf-8")) if language != "en" else {}


_MARK = gr.I18n()
_LACKING = {"en": {"common.upload": "Upload"}, "de": {"common.upload": "Hochladen"}}
"""Words that Gradio's own components ask for and its catalogues lack."""


def label(text: str) -> I18nData:
    """Mark a label for the browser to put into its language."""
    return _MARK(text)


def translations() -> gr.I18n:
    """Give Gradio all words in all languages."""
    words = read_catalogues()
    keys = {text for catalogue in words.values() for text in catalogue}
    english = {"en": {text: text for text in keys}}
    return gr.I18n(**{name: own | _LACKING[name] for name, own in (english | words).items()})
