"""Catalogues, the language of a request, and labels that Gradio translates in the browser."""

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
    """Translate a text into the language of the request and fill in its `{names}`; English if it has no translation."""
    found = _read_catalogue(_find_language()).get(text, text)
    return found.format(**values) if values else found


def read_catalogues() -> dict[str, dict[str, str]]:
    """Return the catalogue of every language except English: translations by English text."""
    return {language: _read_catalogue(language) for language in LANGUAGES if language != "en"}


@contextmanager
def speak(language: str) -> Iterator[None]:
    """Translate into this language within the block."""
    token = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(token)


def choose_language(header: str) -> str:
    """Return the first supported language of an Accept-Language header."""
    for wish in header.split(","):
        name = wish.split(";")[0].strip().split("-")[0].lower()
        if name in LANGUAGES:
            return name
    return "en"


def _find_language() -> str:
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    context = sys.modules.get("gradio.context")  # without Gradio there is no request
    request = context.LocalContext.request.get(None) if context else None
    headers = getattr(request, "headers", None)
    return choose_language(headers.get("accept-language", "")) if headers else "en"


@cache
def _read_catalogue(language: str) -> dict[str, str]:
    path = Path(__file__).with_name(f"{language}.json")
    return json.loads(path.read_text("utf-8")) if language != "en" else {}


_MARK = gr.I18n()
_LACKING = {"en": {"common.upload": "Upload"}, "de": {"common.upload": "Hochladen"}}
"""Texts of Gradio's own components that its catalogues lack."""


def label(text: str) -> I18nData:
    """Mark a label for translation in the browser."""
    return _MARK(text)


def translations() -> gr.I18n:
    """Return all catalogues as Gradio's I18n."""
    words = read_catalogues()
    keys = {text for catalogue in words.values() for text in catalogue}
    english = {"en": {text: text for text in keys}}
    return gr.I18n(**{name: own | _LACKING[name] for name, own in (english | words).items()})
