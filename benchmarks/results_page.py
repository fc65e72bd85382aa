"""The page of results, written from what was measured: weaknesses first, every figure with its 95 % interval."""

from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go

from benchmarks.results_records import Measured, Subset
from benchmarks.results_tables import (
    lay_hits,
    lay_methods,
    lay_outcomes,
    lay_partings,
    lay_table,
    name_auc,
    name_done,
    name_methods,
    name_share,
    number,
)
from engine.evaluation.drawings import draw_consistency, plot_robustness, write_pictures
from engine.evaluation.figures import Against, ConsistencyFigures, OffsetFigures, Trimmed
from engine.evaluation.robustness import RobustnessReport

CHANCE, WELL = 0.5, 0.9  # AUC: forgeries below the one fit better than real clips, above the other they are told
SILENCE_S = 0.05  # at the beginning of clips, worth naming
WORST = 6  # of what makes clips worse, that are named first
HEAD = (
    "Written by `python -m benchmarks.results MANIFEST RUN`: change the program, not this page. RUN is what `wayspeak "
    "train consistency MANIFEST --validate --out RUN` leaves. The figures behind this page are in "
    "[results.json](results.json). `wayspeak evaluate MANIFEST --figures FOLDER` and `wayspeak robustness MANIFEST "
    "--figures FOLDER` measure and draw the same on clips of yours."
)
NOT_KEPT_BACK = (
    "**No test set was kept back.** How a score is made of the network's features was chosen on these very clips "
    "([compact-model.md](compact-model.md)), and the calibration behind the false alarms was fitted to scores of them. "
    "Clips that nobody has looked at may be judged worse."
)
STAND_INS = (
    "**The shipped network is not what is measured.** It was trained on all of these clips. In its place stand "
    "networks of the same training, each without the corpora that it judges."
)
HELD_OUT = (
    "Corpora are split into folds; a clip is judged by the network that was trained without its corpus, and so is a "
    "forged clip of a source whose real clips were trained on. Forged clips of other sources are dealt out to the "
    "networks in turn. A fold whose clips are all too short has no network, and its clips are left out. Voices are "
    "swapped among the clips of one network. Intervals (95 %) resample people."
)
DUBBED = (
    "Each real face with its own voice and with up to ten other people's, at the best of 31 offsets (0.6 s either way) "
    "as in the product, or at none. Beginnings are of the clips that are so long: longer ones are of fewer people."
)
FORGED = (
    "Real clips against those of each method, none of which was ever trained on; clips of 3 s or more. Below 0.5 the "
    "forged clips fit their sound better than real ones do. Methods of few clips come last, and a single clip has no "
    "interval. *Over clips* stands where the forged clips are of one person, or nobody is named: such intervals are "
    "too narrow."
)
ABLATED = (
    "The same clips with a part taken away, judged by networks that were trained with all of it. In the first four "
    "rows own and other voices should not be told apart: what lies above 0.5 there was given away by something else "
    "than the time of movements, what lies below by the shorter trials of swapped voices."
)
WORSE = (
    "seen and heard anew after something was done to it. *False alarms*: real clips in the zone `against` of the "
    "calibration in force, among those of which the product says something. Of *silent* ones it says nothing, for want "
    "of speech in so short a clip, or since picture or sound is too poor. *Gates aside*: the same of all real clips "
    "that have a score. *Unscored*: no face is found any more. Levels of the picture are those of DeeperForensics, "
    "levels of the sound our own."
)
PEOPLE = (
    "Verification, identification, and forgeries in which one person's motion moves another's face, are in "
    "[dynamics-model.md](dynamics-model.md#what-it-is-worth); what scores of either kind mean, with error rates, in "
    "[calibration.md](calibration.md#the-records-that-come-with-the-program); the same networks at their training, and "
    "each loss alone, in [compact-model.md](compact-model.md#what-it-is-worth)."
)


def write_page(measured: Measured, path: Path) -> None:
    """Write the page; parts that were not measured are missing in it."""
    lines = ["# Results", "", HEAD, "", *list_weaknesses(measured), *tell_held_out(measured)]
    if measured.dubbed:
        lines += tell_dubbed(measured.dubbed, measured.offsets)
    if measured.forged and measured.forged_short:
        lines += tell_forged(measured.forged, measured.forged_short)
    for name, report in (("picture", measured.picture), ("sound", measured.sound)):
        if report:
            lines += tell_worse(name, report)
    if measured.longer:
        lines += tell_longer(measured.longer)
    lines += ["## People, calibration, training", "", PEOPLE, ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def draw_results(measured: Measured, folder: Path) -> None:
    """Draw what the page shows."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, go.Figure] = {}
    if measured.dubbed:
        drawn = draw_consistency(measured.dubbed)
        figures |= {name: drawn[name] for name in ("windows", "lengths", "ablations")}
    if measured.forged:
        drawn = draw_consistency(measured.forged)
        figures |= {name: drawn[name] for name in ("scores", "methods")}
    for name, report in (("picture", measured.picture), ("sound", measured.sound)):
        if report:
            figures[name] = plot_robustness(report)
    write_pictures(figures, folder)


def list_weaknesses(measured: Measured) -> list[str]:
    """Say first what cannot be relied on."""
    told = []
    if measured.forged:
        told.append(_blame_methods(measured.forged.per_method))
    if measured.dubbed:
        told += _blame_lengths(measured.dubbed, measured.dubbed_of)
    for name, report in (("A bad picture", measured.picture), ("Bad sound", measured.sound)):
        if report:
            told.append(_blame_perturbations(name, report))
    return ["## Weaknesses first", "", *(f"- {text}" for text in (*told, NOT_KEPT_BACK, STAND_INS)), ""]


def tell_held_out(measured: Measured) -> list[str]:
    """Say which clips are judged, and by whom."""
    named = {
        "own voices against swapped ones": measured.dubbed_of,
        "real clips against forged ones": measured.forged_of,
        "the same, first 2 s": measured.forged_short_of,
    }
    rows = [(name, of.n_clips, of.n_people, len(of.sources)) for name, of in named.items() if of.n_clips]
    sources = ", ".join(sorted({source for of in named.values() for source in of.sources}))
    made_of = f"manifest SHA-256 `{measured.manifest_sha256[:12]}`, recipe `{measured.recipe}`"
    return [
        "## What was held out",
        "",
        HELD_OUT,
        "",
        *lay_table(("what", "real clips", "people", "sources"), rows),
        f"Sources of the real clips: {sources}; {made_of}.",
        "",
    ]


def tell_dubbed(figures: ConsistencyFigures, offsets: OffsetFigures | None) -> list[str]:
    """Tell of real faces with own and with other voices."""
    named = {"whole clips": figures.parting}
    named |= {f"windows of {length} s": one for length, one in figures.by_seconds.items()}
    if figures.depth:
        at_none = figures.depth.at_no_offset.items()
        named |= {f"windows of {length} s, no offset tried": one for length, one in at_none}
        named |= {f"first {length} s": one for length, one in figures.depth.by_first_s.items() if one.n_real}
    return [
        "## Own voice against another's",
        "",
        DUBBED,
        "",
        *lay_partings(named),
        "![AUC against window length, at the best and at no offset](figures/windows.png)",
        "",
        "![AUC of the beginnings of clips](figures/lengths.png)",
        "",
        "### By language",
        "",
        "Faces of a language with their own and with other voices, whatever these speak.",
        "",
        *lay_partings(figures.per_language),
        *_tell_ablations(figures),
        *(_tell_offsets(offsets) if offsets else []),
    ]


def tell_forged(figures: ConsistencyFigures, short: ConsistencyFigures) -> list[str]:
    """Tell of forged clips, method by method."""
    return [
        "## Forged clips",
        "",
        FORGED,
        "",
        *lay_methods(figures.per_method),
        "![AUC of each method](figures/methods.png)",
        "",
        "![Scores of real clips and of each method](figures/scores.png)",
        "",
        "The first 2 s of all clips that are so long, which lets in more of the short ones:",
        "",
        *lay_methods(short.per_method),
        *(_tell_trimmed(figures.trimmed, figures.per_method) if figures.trimmed else []),
    ]


def tell_worse(name: str, report: RobustnessReport) -> list[str]:
    """Tell what is left when clips get worse."""
    return [
        f"## Worse {name}",
        "",
        f"The first {report.seconds:g} s of one clip of each of {report.n_clips} people, {WORSE}",
        "",
        *lay_outcomes(report.outcomes),
        f"![AUC and real clips called against, over the levels](figures/{name}.png)",
        "",
    ]


def tell_longer(report: RobustnessReport) -> list[str]:
    """Tell of clips with speech enough for the product to judge them."""
    lowest = min(report.outcomes, key=lambda one: 1.0 if one.parting.auc is None else one.parting.auc)
    most = max(report.outcomes, key=lambda one: one.false_alarms.share if one.false_alarms else 0.0)
    silent = max(report.outcomes, key=lambda one: one.n_silent_on)
    return [
        f"### Worse sound in {report.seconds:g} s",
        "",
        f"Of the first {report.seconds:g} s of one clip of each of {report.n_clips} people the product says something "
        f"of all but {report.outcomes[0].n_silent_on}, and of all but {silent.n_silent_on} after {name_done(silent)}. "
        f"False alarms under {len(report.outcomes) - 1} things done to the sound: at most "
        f"{name_share(most.false_alarms)}. The lowest AUC is {name_auc(lowest.parting)}, after {name_done(lowest)}. So "
        "few people leave out some of the clips "
        "that are hard: compare the beginnings of all of them above.",
        "",
    ]


def _blame_methods(methods: Mapping[str, Against]) -> str:
    told = {name: one.auc for name, one in methods.items() if one.auc is not None}
    worse = name_methods(methods, sorted((name for name in told if told[name] < CHANCE), key=lambda name: told[name]))
    well = name_methods(methods, sorted((name for name in told if told[name] >= WELL), key=lambda name: -told[name]))
    return (
        f"**A face that was made to fit the voice is taken for real.** Of {len(told)} methods these fit *better* than "
        f"real clips (AUC, number of clips): {worse or 'none'}. Told with {WELL} or more: {well or 'none'}."
    )


def _blame_lengths(figures: ConsistencyFigures, of: Subset) -> list[str]:
    shortest = min(figures.by_seconds, key=float)
    spoken = {name: one.n_real for name, one in figures.per_language.items()}
    known, english = sum(spoken.values()), spoken.get("en", 0)
    return [
        f"**Little speech says little.** AUC of own against another's voice: {name_auc(figures.by_seconds[shortest])} "
        f"in windows of {shortest} s, {name_auc(figures.parting)} in whole clips.",
        f"**Few people.** {of.n_clips} clips of {of.n_people} people, published by {len(of.sources)} projects; "
        f"{known - english} of them are labelled with another language than English, {of.n_clips - known} with none.",
    ]


def _blame_perturbations(name: str, report: RobustnessReport) -> str:
    plain, *rest = report.outcomes
    worst = sorted((one for one in rest if one.parting.auc is not None), key=lambda one: one.parting.auc or 0)
    lowest = "; ".join(f"{name_done(one)} {name_auc(one.parting)}" for one in worst[:WORST])
    most = max(rest, key=lambda one: one.doubted.share if one.doubted else 0.0)
    alarms = f"untouched {name_share(plain.doubted)}; at most {name_share(most.doubted)}, after {name_done(most)}"
    return (
        f"**{name} costs.** AUC untouched {name_auc(plain.parting)}; worst: {lowest}. Real clips called against, "
        f"gates aside: {alarms}."
    )


def _tell_ablations(figures: ConsistencyFigures) -> list[str]:
    if not figures.depth:
        return []
    return [
        "### What a score rests on",
        "",
        ABLATED,
        "",
        *lay_partings(figures.depth.ablations | {"nothing taken away": figures.parting}),
        "![AUC without a part](figures/ablations.png)",
        "",
    ]


def _tell_offsets(offsets: OffsetFigures) -> list[str]:
    named = {"of the planted shift": offsets.hits}
    if offsets.within_1_frame_own:
        named["of it and the offset found in the clip as it is"] = offsets.within_1_frame_own
    return [
        "### Offsets",
        "",
        f"The sound of {offsets.n_clips} clips was moved by every shift from -12 to +12 frames. Published clips are "
        "themselves off by some frames, and nobody knows by how many.",
        "",
        *lay_hits(named),
    ]


def _tell_trimmed(trimmed: Trimmed, plain: Mapping[str, Against]) -> list[str]:
    silent = "; ".join(f"{name} {length:.2f} s" for name, length in trimmed.silence_s.items() if length >= SILENCE_S)
    pairs = [(one.auc, trimmed.per_method[name].auc) for name, one in plain.items() if name in trimmed.per_method]
    moved = max((abs(after - before) for before, after in pairs if before is not None and after is not None), default=0)
    alone, short = trimmed.by_silence_alone, trimmed.n_too_short
    return [
        "### Without leading and trailing silence",
        "",
        "In some collections a silence at the beginning gives forged clips away (`--trim-silence`). Here its length "
        f"alone has an AUC of {number(alone, 2)} (mean of {SILENCE_S} s or more: {silent or 'none'}). "
        f"With silence cut away at both ends, real against all forged clips: {name_auc(trimmed.parting)}, and no "
        f"method's AUC moves by more than {moved:.2f}{f'; {short} clips are too short then' if short else ''}.",
        "",
    ]
