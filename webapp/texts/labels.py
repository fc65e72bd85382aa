"""Labels of components: laid out before anybody asks, and put into the browser's language by Gradio's own i18n."""

import gradio as gr
from gradio.i18n import I18nData

from webapp.texts.languages import read_catalogues

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
