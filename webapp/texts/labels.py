"""Labels of components: laid out before anybody asks, and put into the browser's language by Gradio's own i18n."""

import gradio as gr
from gradio.i18n import I18nData

from webapp.texts.languages import read_catalogues

_MARK = gr.I18n()


def label(text: str) -> I18nData:
    """Mark a label for the browser to put into its language."""
    return _MARK(text)


def translations() -> gr.I18n:
    """Give Gradio all words in all languages."""
    words = read_catalogues()
    keys = {text for catalogue in words.values() for text in catalogue}
    return gr.I18n(en={text: text for text in keys}, **words)
