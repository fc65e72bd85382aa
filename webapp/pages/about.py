"""The About tab: installed models with cards and licences, health, and limits."""

import gradio as gr

from engine.errors import EngineError
from engine.weights.registry import WEIGHTS, WeightState, inspect_weight
from webapp.bundle.environment import read_cards
from webapp.context import AppContext
from webapp.i18n import say
from webapp.i18n.catalog import label
from webapp.pages.events import QUIET, guard
from webapp.templates import fill

MARKS = {"ok": "✔", "optional": "○", "warning": "△", "missing": "✕"}
LIMITS = (
    "Mismatch is not proof of a deepfake: dubbing, voice-over, editing and sound out of time also cause it.",
    "Match does not prove authenticity: forgeries made to keep lips and sound together are mostly not seen.",
    "The way of speaking tells people apart weakly: it is evidence to be weighed beside other evidence.",
    "Nothing is said of clips with less than 1.5 s of speech, faces below 48 pixels, or clips without sound.",
    "Everything runs on this machine; only a link that you give is fetched from the web.",
)


def build(app: gr.Blocks, context: AppContext) -> None:
    """Build the tab; the installation is inspected when the page is opened."""
    limits = gr.HTML(_list_limits())
    app.load(_list_limits, None, [limits], queue=False, **QUIET)
    models = gr.HTML("", elem_id="ws-models")
    with gr.Accordion(label("Model cards"), open=False, elem_id="ws-cards"):
        for name, text in read_cards().items():
            with gr.Accordion(name.removesuffix(".md"), open=False):
                gr.Markdown(text, sanitize_html=True)
    health = gr.HTML("", elem_id="ws-health")
    app.load(
        guard(lambda: (list_models(context), list_findings(context))),
        None,
        [models, health],
        **QUIET,
    )


def list_models(context: AppContext) -> str:
    """List every model, its state and its licence."""
    rows = []
    for weight in WEIGHTS:
        check = inspect_weight(weight, context.settings.data_dir)
        sign = "✔" if check.state == WeightState.VERIFIED else "–"
        rows.append((weight, sign, say(check.state.value), say(weight.purpose)))
    return fill("pages.html", "models", rows=rows, index=_name_index(context))


def list_findings(context: AppContext) -> str:
    """Show the findings of `wayspeak doctor`."""
    from engine.doctor import examine  # it imports torch

    return fill("pages.html", "findings", rows=examine(context.settings), marks=MARKS)


def _name_index(context: AppContext) -> str:
    """Show by which index and device the gallery is searched."""
    try:
        stats = context.gallery.stats()
    except EngineError as error:
        return error.message
    backends = sorted({one.backend for one in stats.recipes}) or [say("nobody is enrolled yet")]
    return say("The gallery is searched by: {names}.", names=", ".join(backends))


def _list_limits() -> str:
    return fill("pages.html", "limits", texts=[say(text) for text in LIMITS])
