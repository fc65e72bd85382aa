"""What a training of DVP is worth on speakers it left out: untouched, distorted in time, or with another's face.

Scores of people by networks that never saw them, for a calibration of the network that was trained on all.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from engine.calibration.records import Task
from engine.calibration.trials import Origin, ScoredTrials, TrialOptions, join_trials, write_trials
from engine.datasets.manifest import Row, Skipped
from engine.evaluation.speakers.calibration_trials import gather_people
from engine.evaluation.speakers.comparisons import SamplePairs, Search, pair_samples, search
from engine.evaluation.speakers.embeddings import EmbeddedRow, EmbeddedRows
from engine.evaluation.speakers.metrics import tell_following, tell_recognition
from engine.evaluation.speakers.samples import Sample, may_meet, pool_rows
from engine.models.dvp import DVP, fill_window
from engine.style.embedder import Dynamics, Nature, join_windows
from engine.training.style.augmentation import DISTORT, Distortion, recast
from engine.training.style.speakers import SpokenClip
from engine.training.style.train import DynamicsOptions, measure_natural, save_dvp, train_dvp

UNTOUCHED, FACE_SWAP, REENACTMENT = "", "face swap", "reenactment"
N_FOLDS = 4
FEWER = (6, 12)  # speakers of the learning curve
SAMPLE_S = 9.9  # eight clips of 1.24 s
Figures = dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class ValidationEmbeddings:
    """The first window of a clip, as a network sees it."""

    row: Row
    sha256: str
    vector: np.ndarray  # (D,) float32, unit length
    evidence: float
    seconds: float


Looks = dict[str, list[ValidationEmbeddings]]
"""By method; the empty one is untouched."""
Held = tuple[DVP, Looks]  # a network and what it makes of the people it never saw
OnProgress = Callable[[str, int, int], None]
"""`on_step(training, member, steps done)`."""


def train_final(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    out: Path,
    on_step: OnProgress,
) -> None:
    """Train on everybody; how natural untouched motion looks is measured by a training that left one fold out."""
    held_out = [clip for clip in clips if clip.is_own_face and clip.speaker in folds[0]]
    scout = train_dvp(
        [clip for clip in clips if not clip.people & folds[0]], options, on_step=partial(on_step, "scout")
    )
    model = train_dvp(clips, options, on_step=partial(on_step, "final"))
    model.natural = measure_natural(group_evidence(look_at(scout, held_out)))
    save_dvp(model, out / "dynamics.safetensors", options, clips)


def train_in_turn(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    measured: int,
    variants: dict[str, DynamicsOptions],
    workers: int,
    curve: bool,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, list[Looks]], list[DVP]]:
    """Train each variant without each fold; give what all make of theirs, and the networks of `model`."""
    jobs = [
        (name, partial(_train_and_look, clips, folds, own, fold))
        for name, own in variants.items()
        for fold in range(measured)
    ]
    if curve:
        jobs += [
            (f"{n} speakers", partial(_train_and_look, clips, folds, variants["model"], fold, n))
            for n in FEWER
            for fold in range(measured)
        ]
    on_done(0, len(jobs))
    parts: dict[str, list[Looks]] = {}
    models: list[DVP] = []
    trained = zip(jobs, _call_all([call for _, call in jobs], workers), strict=True)
    for done, ((name, _), (model, looks)) in enumerate(trained, start=1):
        parts.setdefault(name, []).append(looks)
        models += [model] if name == "model" else []
        on_done(done, len(jobs))
    return parts, models


def keep_folds(
    models: Sequence[DVP],
    looks: Sequence[Looks],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    out: Path,
) -> None:
    """Write the weights of each fold, which never saw its speakers."""
    for fold, (model, natural) in enumerate(zip(models, tell_natures(looks), strict=True)):
        model.natural = natural
        path = out / f"fold-{fold}" / "weights" / "dynamics.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_dvp(model, path, options, [clip for clip in clips if not clip.people & folds[fold]])


def ablations(options: DynamicsOptions) -> dict[str, DynamicsOptions]:
    """Each of the three parts off, all off, and what else is worth knowing."""
    spatial = replace(options.model, frequency=False, centred=False)
    return {
        "no negatives": replace(options, negatives=()),
        "no frequency": replace(options, model=spatial),
        "temporal spectrum": replace(options, model=replace(options.model, spectrum=True)),
        "no adversary": replace(options, adversary=0.0),
        "no pairs": replace(options, pairs=0),
        "all off": replace(options, negatives=(), adversary=0.0, pairs=0, model=spatial),
        "no pictures": replace(options, model=replace(options.model, n_bands=0)),
        "fine pictures and blendshapes": replace(options, model=replace(options.model, n_bands=32, n_shapes=16)),
    }


def look_at(model: DVP, clips: Sequence[SpokenClip], windows: np.ndarray | None = None) -> list[ValidationEmbeddings]:
    """Embed the first window of each clip, or the windows of rows (n, L, R) that were made from these."""
    windows = cut_windows(model, clips) if windows is None else windows
    vectors, evidence = model.embed_windows(windows)
    seconds = [min(clip.seconds, model.options.window / 25) for clip in clips]
    return [
        ValidationEmbeddings(clip.row, clip.sha256, vector, float(told), length)
        for clip, vector, told, length in zip(clips, vectors, evidence, seconds, strict=True)
    ]


def look_at_all(model: DVP, clips: Sequence[SpokenClip], seed: int) -> Looks:
    """Look at clips untouched, in every distortion, and with the faces of others; and at those forged before."""
    rng = np.random.default_rng(seed)
    forged = [clip for clip in clips if not clip.is_own_face]
    clips = [clip for clip in clips if clip.is_own_face]
    windows = cut_windows(model, clips)
    looks = {UNTOUCHED: look_at(model, clips, windows)}
    for kind in Distortion:
        looks[kind] = _label(look_at(model, clips, DISTORT[kind](windows, rng)), kind)
    for method, keep_shape in ((FACE_SWAP, False), (REENACTMENT, True)):
        faces = _cast(clips, rng)
        made = np.stack([_recast(model, *pair, keep_shape) for pair in zip(clips, faces, strict=True)])
        looks[method] = [
            replace(
                one, row=replace(one.row, face_owner=face.speaker, motion_owner=clip.speaker, donor_path=face.row.path)
            )
            for one, clip, face in zip(_label(look_at(model, clips, made), method), clips, faces, strict=True)
        ]
    for method in sorted({clip.row.method for clip in forged}):
        looks[f"forged: {method}"] = look_at(model, [clip for clip in forged if clip.row.method == method])
    return looks


def cut_windows(model: DVP, clips: Sequence[SpokenClip]) -> np.ndarray:
    """(n, L, R): rows of the first window of each clip."""
    length = model.options.window
    rows = [model.describe(clip.motion[:length], clip.faces[:length]) for clip in clips]
    return np.stack([fill_window(own, length) for own in rows])


def group_evidence(looks: Sequence[ValidationEmbeddings]) -> list[np.ndarray]:
    """Evidence of the windows of each session of each person."""
    groups: dict[tuple[str, str | None], list[float]] = {}
    for look in looks:
        groups.setdefault((look.row.speaker, look.row.session), []).append(look.evidence)
    return [np.array(own) for own in groups.values()]


def tell_natures(folds: Sequence[Looks]) -> list[torch.Tensor]:
    """Tell each fold (3,) what the evidence of natural motion is like in the others, as `DVP.natural` has it."""
    others = [[other for other in folds if other is not own] or [own] for own in folds]
    return [measure_natural(group_evidence([look for fold in group for look in fold[UNTOUCHED]])) for group in others]


def measure_looks(folds: Sequence[Looks], seed: int) -> Figures:
    """Work out all figures over the folds, by the embedding alone and with unnatural motion naming nobody.

    What natural motion looks like is told to each fold by the others.
    """
    natures = tell_natures(folds)
    figures: Figures = {"speakers": len({look.row.speaker for own in folds for look in own[UNTOUCHED]})}
    for gated in (False, True):
        benches = [
            FoldBenchmark.of(own, Nature(*nature.tolist()), gated, seed)
            for own, nature in zip(folds, natures, strict=True)
        ]
        figures["gated" if gated else "embedding"] = {
            method or "untouched": _measure_method(
                [bench for bench in benches if method in bench.samples], method, seed
            )
            for method in dict.fromkeys(method for own in folds for method in own)
        }
    return figures


@dataclass(frozen=True, slots=True, eq=False)
class FoldBenchmark:
    """The samples of one fold."""

    samples: dict[str, tuple[Sample, ...]]  # by method

    @classmethod
    def of(cls, looks: Looks, nature: Nature, gated: bool, seed: int) -> "FoldBenchmark":
        used = nature if gated else replace(nature, lowest=-np.inf)
        manifest = [look.row for look in looks[UNTOUCHED]]
        return cls({method: _pool(own, manifest, used, seed) for method, own in looks.items()})

    def search(self, method: str) -> tuple[Search, SamplePairs]:
        probes, gallery = self.samples[method], self.samples[UNTOUCHED]
        allowed = may_meet(probes, gallery, has_sessions=True)
        return search(probes, gallery, allowed), pair_samples(probes, gallery, allowed, once=method == UNTOUCHED)


def _measure_method(benches: Sequence[FoldBenchmark], method: str, seed: int) -> Figures:
    found, pairs = zip(*(bench.search(method) for bench in benches), strict=True)
    told = asdict(tell_recognition(_join_pairs(pairs), _join_searches(found), seed))
    samples = [sample for bench in benches for sample in bench.samples[method]]
    told["refused"] = float(np.mean([not sample.is_natural for sample in samples])) if samples else None
    if any(sample.face_owner != sample.speaker for sample in samples):
        untouched = _join_searches([bench.search(UNTOUCHED)[0] for bench in benches])
        told["following"] = asdict(tell_following(_join_searches(found), untouched, seed))
    return told


def _join_pairs(parts: Sequence[SamplePairs]) -> SamplePairs:
    names = tuple(sorted({name for part in parts for name in part.speakers}))
    place = {name: number for number, name in enumerate(names)}
    own = [np.array([place[name] for name in part.speakers], int) for part in parts]
    return SamplePairs(
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.genuine for part in parts]),
        np.concatenate([numbers[part.one] for numbers, part in zip(own, parts, strict=True)]),
        np.concatenate([numbers[part.other] for numbers, part in zip(own, parts, strict=True)]),
        names,
    )


def _join_searches(parts: Sequence[Search]) -> Search:
    """Put searches of separate galleries together: nobody meets those of another fold."""
    names = tuple(sorted({name for part in parts for name in part.speakers}))
    blocks = []
    for part in parts:
        block = np.full((len(part.probes), len(names)), np.nan)
        block[:, [names.index(name) for name in part.speakers]] = part.scores
        blocks.append(block)
    return Search(tuple(probe for part in parts for probe in part.probes), names, np.concatenate(blocks))


def _pool(
    looks: Sequence[ValidationEmbeddings], manifest: Sequence[Row], nature: Nature, seed: int
) -> tuple[Sample, ...]:
    rows = []
    for look in looks:
        found = join_windows(look.vector[None], np.array([look.evidence]), look.seconds, "validation", nature)
        if found is not None:
            rows.append(EmbeddedRow(look.row, look.sha256, found))
    return pool_rows(rows, manifest, nature, SAMPLE_S, seed).samples


def _label(looks: Sequence[ValidationEmbeddings], method: str) -> list[ValidationEmbeddings]:
    return [replace(one, row=replace(one.row, label="distorted", method=str(method))) for one in looks]


def _cast(clips: Sequence[SpokenClip], rng: np.random.Generator) -> list[SpokenClip]:
    """Give each speaker one other person of the fold, whose face all clips of that speaker wear."""
    speakers = sorted({clip.speaker for clip in clips})
    shift = int(rng.integers(1, len(speakers)))
    other = {name: speakers[(number + shift) % len(speakers)] for number, name in enumerate(speakers)}
    chosen = {name: [clip for clip in clips if clip.speaker == name] for name in speakers}
    donors = {name: own[int(rng.integers(len(own)))] for name, own in chosen.items()}
    return [donors[other[clip.speaker]] for clip in clips]


def _recast(model: DVP, clip: SpokenClip, face: SpokenClip, keep_shape: bool) -> np.ndarray:
    length = model.options.window
    made = recast(face.still(len(face.faces) // 2), clip.faces.points[:length], keep_shape)
    return fill_window(model.describe(clip.motion[:length], made), length)


def _train_and_look(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    fold: int,
    n: int | None = None,
) -> Held:
    """Train without a fold, or on `n` of the measured speakers alone where that is given; look at the fold."""
    torch.set_num_threads(1)
    others = sorted(name for number, own in enumerate(folds) if number != fold for name in own)
    chosen = {clip.speaker for clip in clips} - folds[fold] if n is None else set(others[:n])
    model = train_dvp([clip for clip in clips if clip.people <= chosen], options)
    return model, look_at_all(model, [clip for clip in clips if clip.people <= folds[fold]], options.seed)


def _call_all(calls: Sequence[Callable[[], Held]], workers: int) -> Iterator[Held]:
    """Give what each call does in turn, side by side where there are workers for it."""
    if workers == 1:
        for call in calls:
            yield call()
        return
    # spawned, since a fork would take over the locks of the extractor's threads as they happen to be
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


STYLE_STAND_INS = "networks of the same training, each of which never saw the people whom it embedded"


def embed_left_out(model: DVP, nature: Nature, clips: Sequence[SpokenClip]) -> EmbeddedRows:
    """Embed all windows of the untouched `clips` of people whom `model` never saw, as the product does."""
    dynamics, rows, skipped = Dynamics(model, "held-out", nature), [], []
    for clip in clips:
        if not clip.is_own_face:
            continue
        found = dynamics.embed_motion(clip.motion, clip.faces, np.ones(len(clip.motion), bool))
        if found is None:
            skipped.append(Skipped(clip.row.written, "its windows cancel out"))
        else:
            rows.append(EmbeddedRow(clip.row, clip.sha256, found))
    return EmbeddedRows(tuple(rows), tuple(skipped), "held-out", "held-out", nature)


def score_left_out(
    folds: Sequence[EmbeddedRows], task: Task, manifest_sha256: str, gather: TrialOptions | None = None
) -> ScoredTrials:
    """Make the trials of people by the networks trained without them: nobody meets those of another fold.

    They have no recipe: a calibration from them is for the network that they stand for. A search was made among the
    people of the smallest fold at least.
    """
    origin, options = Origin("", manifest_sha256, STYLE_STAND_INS), gather or TrialOptions()
    return join_trials([gather_people(own, [one.row for one in own.rows], task, origin, options) for own in folds])


def write_left_out(
    models: Sequence[DVP],
    looks: Sequence[Looks],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    manifest_sha256: str,
    folder: Path,
) -> None:
    """Hold the people of each fold against each other, by the network that never saw them."""
    rows = [
        embed_left_out(model, Nature(*natural.tolist()), [clip for clip in clips if clip.people <= own])
        for model, natural, own in zip(
            models, tell_natures(looks), folds, strict=False
        )  # not every fold may be measured
    ]
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        write_trials(score_left_out(rows, task, manifest_sha256), folder / f"{task}.json")
