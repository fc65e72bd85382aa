"""Results of an evaluation as tables on the terminal and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.datasets.manifest import Skipped
from engine.evaluation.groups import FEW, Grouping, order_groups
from engine.evaluation.results import (
    ConsistencyResults,
    Depth,
    Discrimination,
    GroupResult,
    Hits,
    MethodResult,
    OffsetResults,
    Report,
    Trimmed,
)
from engine.evaluation.speakers.results import IdentityReport, ProbeResults

MAX_NAMED = 20  # files per reason on the terminal; the JSON has all

Interval = tuple[float, float] | None


def to_json(report: Report | IdentityReport) -> dict[str, Any]:
    """Build the JSON of `wayspeak evaluate`; values that cannot be computed are null."""
    if isinstance(report, IdentityReport):
        return _build_identity(report)
    figures = report.figures
    own = _build_consistency(figures) if isinstance(figures, ConsistencyResults) else _build_offset(figures)
    rest = asdict(report)
    del rest["figures"]
    return own | rest


def print_report(report: Report | IdentityReport, console: Console) -> None:
    """Print the report as tables."""
    if isinstance(report, IdentityReport):
        _print_identity(report, console)
        return
    if isinstance(report.figures, ConsistencyResults):
        _print_consistency(report.figures, console)
    else:
        _print_offset(report.figures, console)
    console.print(f"{report.n_rows} clips measured; the gates would refuse {report.n_refused_by_gates} of them.")
    if report.n_from_trained_sources:
        console.print(
            f"{report.n_from_trained_sources} of them are of sources that the model was trained on: these flatter it."
        )
    print_skipped(report.skipped, console)
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def print_skipped(skipped: Sequence[Skipped], console: Console) -> None:
    """Print skipped files grouped by reason, so that frequent reasons do not hide the others."""
    by_reason: dict[str, list[str]] = {}
    for one in skipped:
        by_reason.setdefault(one.reason, []).append(one.path)
    if skipped:
        console.print(f"{len(skipped)} clips skipped:")
    for reason, paths in by_reason.items():
        more = f" and {len(paths) - MAX_NAMED} more, named in the JSON" if len(paths) > MAX_NAMED else ""
        line = f"  {reason} ({len(paths)}): {', '.join(paths[:MAX_NAMED])}{more}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _build_consistency(figures: ConsistencyResults) -> dict[str, Any]:
    built = asdict(figures)
    languages = {name: one["parting"] for name, one in built["groups"].get(Grouping.LANGUAGE, {}).items()}
    whole = {"task": "consistency", "others": built.pop("others")} | built.pop("parting")
    return whole | built | {"per_language": languages}


def _build_offset(figures: OffsetResults) -> dict[str, Any]:
    built = asdict(figures)
    own = built.pop("within_1_frame_own") or {}
    return (
        {"task": "offset", "truth": built.pop("truth")}
        | built.pop("hits")
        | {
            "within_1_frame_own": own.get("within_1_frame"),
            "ci_own": own.get("ci"),
            "median_error_frames_own": own.get("median_error_frames"),
        }
        | built
    )


def _build_identity(report: IdentityReport) -> dict[str, Any]:
    rest = {field.name: getattr(report, field.name) for field in fields(report)}
    figures = rest.pop("figures")
    found = {name: rest.pop(name) for name in ("task", "embedder", "recipe")}
    methods = {name: _build_identified(one) for name, one in figures.per_method.items()}
    skipped = [asdict(one) for one in rest.pop("skipped")]
    return found | _build_identified(figures.whole) | {"per_method": methods} | rest | {"skipped": skipped}


def _build_identified(one: ProbeResults) -> dict[str, Any]:
    """Merge all results of one set of probes, with their intervals under `ci`."""
    built = asdict(one.recognition) | {"refused": one.n_refused, "n_tried": one.n_tried}
    intervals = built.pop("ci")
    if one.open_set is not None:
        more = asdict(one.open_set)
        intervals |= {f"dir_{name}": ci for name, ci in more.pop("ci").items()}
        built |= more
    if one.following is not None:
        more = asdict(one.following)
        intervals |= more.pop("ci")
        built |= more
    return built | {"ci": intervals}


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
    print_skipped(report.skipped, console)
    console.print(f"recipe {report.recipe}", highlight=False, soft_wrap=True)


def _print_recognition(probes: Mapping[str, ProbeResults], console: Console, title: str) -> None:
    names = ("probes", "EER", "95 %", "minDCF 5 %", "1 %", "AUC", "rank-1", "95 %", "rank-5", "pairs", "n")
    table = Table(*names, title=title)
    for name, one in probes.items():
        found = one.recognition
        table.add_row(
            escape(name),
            _name(found.eer),
            _name_interval(found.ci["eer"]),
            _name(found.min_dcf),
            _name(found.min_dcf_p01),
            _name(found.auc),
            _name(found.rank1),
            _name_interval(found.ci["rank1"]),
            _name(found.rank5),
            f"{found.n_genuine}+{found.n_impostor}",
            str(found.n_probes),
        )
    console.print(table)


def _print_open_set(probes: Mapping[str, ProbeResults], console: Console) -> None:
    table = Table("probes", "FPIR", "DIR", "95 %", "mated", "non-mated", title="Open-set identification")
    for name, one in probes.items():
        found = one.open_set
        for fpir, rate in (found.dir if found else {}).items():
            if found is not None:
                mark = "" if found.supported[fpir] else " (too few)"
                numbers = (str(found.n_mated), f"{found.n_nonmated}{mark}")
                table.add_row(escape(name), f"{float(fpir):.0%}", _name(rate), _name_interval(found.ci[fpir]), *numbers)
    console.print(table)


def _print_following(probes: Mapping[str, ProbeResults], console: Console) -> None:
    names = ("probes", "motion first", "face first", "decided", "for the motion", "95 %", "kept", "95 %", "owners")
    table = Table(*names, title="Who a forged face is taken for")
    for name, one in probes.items():
        found = one.following
        if found is not None:
            table.add_row(
                escape(name),
                _name(one.recognition.rank1),
                _name(found.rank1_face),
                _name(found.decided),
                _name(found.follows_motion),
                _name_interval(found.ci["follows_motion"]),
                _name(found.kept),
                _name_interval(found.ci["kept"]),
                str(found.n_owners),
            )
    console.print(table)


def _print_refused(probes: Mapping[str, ProbeResults], not_enrolled: Sequence[str], console: Console) -> None:
    """Print how many probes are refused for unnatural motion, by method, and the clips that are not enrolled for it."""
    found = "; ".join(f"{name} {one.n_refused} of {one.n_tried}" for name, one in probes.items())
    lines = [f"Refused, since their motion is not natural: {found}."]
    if not_enrolled:
        more = f" and {len(not_enrolled) - MAX_NAMED} more, named in the JSON" if len(not_enrolled) > MAX_NAMED else ""
        lines.append(f"Not enrolled for that ({len(not_enrolled)}): {', '.join(not_enrolled[:MAX_NAMED])}{more}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _print_consistency(figures: ConsistencyResults, console: Console) -> None:
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
    _print_groups(figures.groups, console)
    if figures.trimmed:
        _print_trimmed(figures.trimmed, console)
    if figures.depth:
        _print_depth(figures.depth, console)


def _print_groups(groups: Mapping[str, Mapping[str, GroupResult]], console: Console) -> None:
    """Print each grouping with its worst group first."""
    names = ("group", "AUC", "95 %", "EER", "real", "other", "real called against", "95 %", "of")
    table = Table(*names, title="By group, the worst first", caption=f"*: fewer than {FEW} real clips")
    for grouping, own in groups.items():
        table.add_section()
        for name, one in order_groups(own):
            mark = "*" if one.parting.n_real < FEW else ""
            alarms = one.false_alarms
            share = (_name(alarms.share), _name_interval(alarms.ci), str(alarms.n)) if alarms else ("-", "-", "0")
            table.add_row(f"{grouping}: {escape(name)}{mark}", *_name_parting(one.parting), *share)
    console.print(table)


def _print_depth(depth: Depth, console: Console) -> None:
    """Print the results for prefixes, at offset 0 and for each ablation."""
    table = Table("", "AUC", "95 %", "EER", "real", "other", title="What the figures rest on")
    named = (
        {f"first {length} s": one for length, one in depth.by_first_s.items()}
        | {f"{length} s, no offset tried": one for length, one in depth.at_no_offset.items()}
        | depth.ablations
    )
    for name, one in named.items():
        table.add_row(name, *_name_parting(one))
    console.print(table)


def _draw_methods(per_method: Mapping[str, MethodResult], title: str) -> Table:
    table = Table("method", "AUC", "95 %", "EER", "AP of real", "n", title=title)
    for name, one in per_method.items():
        numbers = (_name(one.eer), _name(one.average_precision), str(one.n))
        table.add_row(escape(name), _name(one.auc), _name_interval(one.ci), *numbers)
    return table


def _print_trimmed(trimmed: Trimmed, console: Console) -> None:
    """Print the results without silence, and by the leading silence alone."""
    console.print(_draw_methods(trimmed.per_method, "The same, leading and trailing silence cut away"))
    lengths = "; ".join(f"{name} {length:.2f} s" for name, length in trimmed.silence_s.items())
    alone = "" if trimmed.by_silence_alone is None else f" By that alone: AUC {trimmed.by_silence_alone:.3f}."
    auc, ci = _name(trimmed.parting.auc), _name_interval(trimmed.parting.ci)
    console.print(f"Without silence: AUC {auc} ({ci}). Leading silence, mean: {lengths}.{alone}", markup=False)
    if trimmed.n_too_short:
        console.print(f"{trimmed.n_too_short} clips are too short without their silence.")


def _print_offset(figures: OffsetResults, console: Console) -> None:
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
