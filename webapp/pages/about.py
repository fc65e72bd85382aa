"""The About tab: what is installed, the models in force with their cards and licences, and the limits."""

from html import escape

import gradio as gr

from engine.errors import EngineError
from engine.weights import WEIGHTS, WeightState, inspect_weight
from webapp.context import AppContext
from webapp.evidence.surroundings import read_cards
from webapp.pages.desk import QUIET, guard
from webapp.texts import say
from webapp.texts.labels import label

MARKS = {"ok": "✔", "optional": "○", "warning": "△", "missing": "✕"}
LIMITS = (
    "Mismatch is not proof of a deepfake: dubbing, voice-over, editing and sound out of time also cause it.",
    "Match does not prove authenticity: forgeries made to keep lips and sound together are mostly not seen.",
    "The way of speaking tells people apart weakly: it is evidence to be weighed beside other evidence.",
    "Nothing is said of clips with less than 4 s of speech, faces below 48 pixels, or clips without sound.",
    "Everything runs on this machine; only a link that you give is fetched from the web.",
)


def lay_out(app: gr.Blocks, context: AppContext) -> None:
    """Lay the tab out; what is installed is looked at when the page is opened."""
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
    """Name every model, whether it is there, and under which licence."""
    rows = ""
    for weight in WEIGHTS:
        check = inspect_weight(weight, context.settings.data_dir)
        sign = "✔" if check.state == WeightState.VERIFIED else "–"
        rows += (
            f'<tr><td>{escape(weight.name)}</td><td>{sign} {escape(say(check.state.value))}</td><td class="ws-wrap">'
            f'{escape(say(weight.purpose))}</td><td class="ws-wrap">{escape(weight.weight_licence)}</td></tr>'
        )
    words = ("Model", "State", "Purpose", "Licence of the weights")
    heads = "".join(f'<th scope="col">{escape(say(text))}</th>' for text in words)
    index = _name_index(context)
    return (
        f'<section class="ws-scroll" tabindex="0"><h3>{escape(say("Models"))}</h3>'
        f'<table class="ws-rows"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        f'<p class="ws-file">{escape(index)}</p></section>'
    )


def list_findings(context: AppContext) -> str:
    """Say what `wayspeak doctor` says."""
    from engine.doctor import examine  # it loads what it looks at

    rows = "".join(
        f'<tr><td><span aria-hidden="true">{MARKS[one.mark]}</span> {escape(one.mark)}</td><td>{escape(one.topic)}</td>'
        f'<td class="ws-wrap">{escape(one.text)}</td></tr>'
        for one in examine(context.settings)
    )
    title = escape(say("What is installed"))
    table = f'<table class="ws-rows"><tbody>{rows}</tbody></table>'
    return f'<details class="ws-table ws-scroll" tabindex="0"><summary>{title}</summary>{table}</details>'


def _name_index(context: AppContext) -> str:
    """Tell how the gallery is searched: by which code, on which device."""
    try:
        stats = context.gallery.stats()
    except EngineError as error:
        return error.message
    backends = sorted({one.backend for one in stats.recipes}) or [say("nobody is enrolled yet")]
    return say("The gallery is searched by: {names}.", names=", ".join(backends))


def _list_limits() -> str:
    items = "".join(f"<li>{escape(say(text))}</li>" for text in LIMITS)
    title = escape(say("What Wayspeak can tell, and cannot"))
    return f'<section class="ws-note"><h2>{title}</h2><ul class="ws-caution">{items}</ul></section>'
