"""The figures of an evaluation, for people and for programs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.datasets.manifest import Skipped
from engine.evaluation.results import (
    Against,
    ConsistencyFigures,
    Depth,
    Discrimination,
    Hits,
    Identified,
    IdentityReport,
    OffsetFigures,
    Report,
    Trimmed,
)

MAX_NAMED = 20  # files on the terminal, of those skipped for one reason; the JSON names all

Interval = tuple[float, float] | None


def to_json(report: Report | IdentityReport) -> dict[str, Any]:
    """Lay the figures out as the JSON of `wayspeak evaluate`; null where a figure cannot be told."""
    if isinstance(report, IdentityReport):
        return _lay_identity(report)
    figures = report.figures
    own = _lay_consistency(figures) if isinstance(figures, ConsistencyFigures) else _lay_offset(figures)
    rest = asdict(report)
    del rest["figures"]
    return own | rest


def print_report(report: Report | IdentityReport, console: Console) -> None:
    """Print the tables."""
    if isinstance(report, IdentityReport):
        _print_identity(report, console)
        return
    if isinstance(report.figures, ConsistencyFigures):
        _print_consistency(report.figures, console)
    else:
        _print_offset(report.figures, console)
    console.print(f"{report.n_rows} clips measured; the gates would refuse {report.n_refused_by_gates} of them.")
    if report.n_from_trained_sources:
        console.print(
            f"{report.n_from_trained_sources} of them are of sources that the model was trained on: these flatter it."
        )
    _print_skipped(report.skipped, console)
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def _print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """Name the files by what they were skipped for, so that many of one kind do not hide the others."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.path)
    if skipped:
        console.print(f"{len(skipped)} clips skipped:")
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - MAX_NAMED} more, named in the JSON" if len(paths) > MAX_NAMED else ""
        line = f"  {reason} ({len(paths)}): {', '.join(paths[:MAX_NAMED])}{more}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _lay_consistency(figures: ConsistencyFigures) -> dict[str, Any]:
    laid = asdict(figures)
    return {"task": "consistency", "others": laid.pop("others")} | laid.pop("parting") | laid


def _lay_offset(figures: OffsetFigures) -> dict[str, Any]:
    laid = asdict(figures)
    own = laid.pop("within_1_frame_own") or {}
    return (
        {"task": "offset", "truth": laid.pop("truth")}
        | laid.pop("hits")
        | {
            "within_1_frame_own": own.get("within_1_frame"),
            "ci_own": own.get("ci"),
            "median_error_frames_own": own.get("median_error_frames"),
        }
        | laid
    )


def _lay_identity(report: IdentityReport) -> dict[str, Any]:
    rest = {field.name: getattr(report, field.name) for field in fields(report)}
    figures = rest.pop("figures")
    told = {name: rest.pop(name) for name in ("task", "embedder", "recipe")}
    methods = {name: _lay_identified(one) for name, one in figures.per_method.items()}
    skipped = [asdict(one) for one in rest.pop("skipped")]
    return told | _lay_identified(figures.whole) | {"per_method": methods} | rest | {"skipped": skipped}


def _lay_identified(one: Identified) -> dict[str, Any]:
    """Lay all figures of one set of probes side by side, their intervals in one place."""
    laid = asdict(one.recognition) | {"refused": one.n_refused, "n_tried": one.n_tried}
    intervals = laid.pop("ci")
    if one.open_set is not None:
        more = asdict(one.open_set)
        intervals |= {f"dir_{name}": ci for name, ci in more.pop("ci").items()}
        laid |= more
    if one.following is not None:
        more = asdict(one.following)
        intervals |= more.pop("ci")
        laid |= more
    return laid | {"ci": intervals}


def _print_identity(report: IdentityReport, console: Console) -> None:
    whole = "all forged" if report.task == "ios" else "untouched"
    probes = {whole: report.figures.whole, **report.figures.per_method}
    _print_recognition(probes, console, f"{report.task}: untouched samples enrolled, embedder {report.embedder}")
    if report.figures.whole.open_set:
        _print_open_set(probes, console)
    if report.figures.whole.following:
        _print_following(probes, console)
    chance = _name(report.figures.whole.recognition.chance_rank1)
    length = "" if report.seconds is None else f" of {report.seconds:.1f} s (median)"
    console.print(
        f"{report.n_rows} clips; {report.n_samples} untouched samples{length} of {report.n_speakers} speakers, "
        f"{report.n_made_samples} of other clips. Rank-1 by chance: {chance}."
    )
    if report.n_trained_speakers:
        console.print(f"{report.n_trained_speakers} of the speakers were in the embedder's training: they flatter it.")
    if report.gated:
        _print_refused(probes, report.not_enrolled, console)
    for remark in report.remarks:
        console.print(remark, style="bold", highlight=False)
    _print_skipped(report.skipped, console)
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def _print_recognition(probes: Mapping[str, Identified], console: Console, title: str) -> None:
    names = ("probes", "EER", "95 %", "minDCF 5 %", "1 %", "AUC", "rank-1", "95 %", "rank-5", "pairs", "n")
    table = Table(*names, title=title)
    for name, one in probes.items():
        told = one.recognition
        table.add_row(
            escape(name),
            _name(told.eer),
            _name_interval(told.ci["eer"]),
            _name(told.min_dcf),
            _name(told.min_dcf_p01),
            _name(told.auc),
            _name(told.rank1),
            _name_interval(told.ci["rank1"]),
            _name(told.rank5),
            f"{told.n_genuine}+{told.n_impostor}",
            str(told.n_probes),
        )
    console.print(table)


def _print_open_set(probes: Mapping[str, Identified], console: Console) -> None:
    table = Table("probes", "FPIR", "DIR", "95 %", "enrolled", "strangers", title="Named, with strangers about")
    for name, one in probes.items():
        told = one.open_set
        for fpir, rate in (told.dir if told else {}).items():
            if told is not None:
                mark = "" if told.supported[fpir] else " (too few strangers)"
                numbers = (str(told.n_mated), f"{told.n_nonmated}{mark}")
                table.add_row(escape(name), f"{float(fpir):.0%}", _name(rate), _name_interval(told.ci[fpir]), *numbers)
    console.print(table)


def _print_following(probes: Mapping[str, Identified], console: Console) -> None:
    names = ("probes", "motion first", "face first", "decided", "for the motion", "95 %", "kept", "95 %", "owners")
    table = Table(*names, title="Who a forged face is taken for")
    for name, one in probes.items():
        told = one.following
        if told is not None:
            table.add_row(
                escape(name),
                _name(one.recognition.rank1),
                _name(told.rank1_face),
                _name(told.decided),
                _name(told.follows_motion),
                _name_interval(told.ci["follows_motion"]),
                _name(told.kept),
                _name_interval(told.ci["kept"]),
                str(told.n_owners),
            )
    console.print(table)


def _print_refused(probes: Mapping[str, Identified], not_enrolled: Sequence[str], console: Console) -> None:
    """Say who names nobody, method by method, and whom of the untouched this leaves out."""
    told = "; ".join(f"{name} {one.n_refused} of {one.n_tried}" for name, one in probes.items())
    lines = [f"Refused, since their motion is not natural: {told}."]
    if not_enrolled:
        more = f" and {len(not_enrolled) - MAX_NAMED} more, named in the JSON" if len(not_enrolled) > MAX_NAMED else ""
        lines.append(f"Not enrolled for that ({len(not_enrolled)}): {', '.join(not_enrolled[:MAX_NAMED])}{more}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_consistency(figures: ConsistencyFigures, console: Console) -> None:
    swapped = figures.others != "labelled"
    against = "the voice of another real clip" if swapped else "all clips labelled otherwise"
    table = Table("", "AUC", "95 %", "EER", "real", "other", title=f"Real clips against {against}")
    table.add_row("whole clips", *_name_parting(figures.parting))
    for length, parting in figures.by_seconds.items():
        table.add_row(f"windows of {length} s", *_name_parting(parting))
    table.add_row("control: faces shuffled in time", *_name_parting(figures.control))
    console.print(table)
    if swapped:
        console.print("No row has another label: the others are real faces with swapped voices.")
    console.print(_draw_methods(figures.per_method, "All real clips against each method"))
    if figures.per_language:
        languages = Table("language", "AUC", "95 %", "EER", "real", "other", title="Real clips against others of it")
        for name, parting in figures.per_language.items():
            languages.add_row(escape(name), *_name_parting(parting))
        console.print(languages)
    if figures.trimmed:
        _print_trimmed(figures.trimmed, console)
    if figures.depth:
        _print_depth(figures.depth, console)


def _print_depth(depth: Depth, console: Console) -> None:
    """Print what is left of other lengths, at no offset, and without a part."""
    table = Table("", "AUC", "95 %", "EER", "real", "other", title="What the figures rest on")
    named = (
        {f"first {length} s": one for length, one in depth.by_first_s.items()}
        | {f"{length} s, no offset tried": one for length, one in depth.at_no_offset.items()}
        | depth.ablations
    )
    for name, one in named.items():
        table.add_row(name, *_name_parting(one))
    console.print(table)


def _draw_methods(per_method: Mapping[str, Against], title: str) -> Table:
    table = Table("method", "AUC", "95 %", "EER", "AP of real", "n", title=title)
    for name, one in per_method.items():
        numbers = (_name(one.eer), _name(one.average_precision), str(one.n))
        table.add_row(escape(name), _name(one.auc), _name_interval(one.ci), *numbers)
    return table


def _print_trimmed(trimmed: Trimmed, console: Console) -> None:
    """Print what is left without silence, and what the silence alone would tell."""
    console.print(_draw_methods(trimmed.per_method, "The same, leading and trailing silence cut away"))
    lengths = "; ".join(f"{name} {length:.2f} s" for name, length in trimmed.silence_s.items())
    alone = "" if trimmed.by_silence_alone is None else f" By that alone: AUC {trimmed.by_silence_alone:.3f}."
    auc, ci = _name(trimmed.parting.auc), _name_interval(trimmed.parting.ci)
    console.print(f"Without silence: AUC {auc} ({ci}). Leading silence, mean: {lengths}.{alone}", markup=False)
    if trimmed.n_too_short:
        console.print(f"{trimmed.n_too_short} clips are too short without their silence.")


def _print_offset(figures: OffsetFigures, console: Console) -> None:
    planted = figures.truth == "planted"
    title = f"Offsets {'planted into' if planted else 'known of'} {figures.n_clips} clips"
    table = Table("", "within 1 frame", "95 %", "median error", "n", title=title)
    table.add_row("from the true offset", *_name_hits(figures.hits))
    if figures.within_1_frame_own is not None:
        table.add_row("from it and the clip's own", *_name_hits(figures.within_1_frame_own))
    for shift, hits in figures.by_shift.items():
        table.add_row(f"planted {int(shift):+d}", *_name_hits(hits))
    console.print(table)


def _name_parting(parting: Discrimination) -> Iterable[str]:
    counts = (str(parting.n_real), str(parting.n_other))
    return (_name(parting.auc), _name_interval(parting.ci), _name(parting.eer), *counts)


def _name_hits(hits: Hits) -> Iterable[str]:
    return _name(hits.within_1_frame), _name_interval(hits.ci), _name(hits.median_error_frames, 1), str(hits.n)


def _name(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _name_interval(ci: Interval) -> str:
    return "-" if ci is None else f"{ci[0]:.3f} to {ci[1]:.3f}"
