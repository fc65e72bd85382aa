"""Validate DVP on held-out speakers: real clips, temporal augmentations, identity swaps and forged clips.

Held-out networks also score speaker trials, for a calibration of the final network.
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
from engine.evaluation.speakers.calibration_trials import collect_speaker_trials
from engine.evaluation.speakers.comparisons import SamplePairs, Search, pair_samples, search
from engine.evaluation.speakers.embeddings import EmbeddedRow, EmbeddedRows
from engine.evaluation.speakers.metrics import measure_following, measure_recognition
from engine.evaluation.speakers.samples import Sample, find_comparable, pool_rows
from engine.models.dvp import DVP, fill_window
from engine.style.embedder import Dynamics, Nature, join_windows
from engine.training.style.augmentation import AUGMENT, Augmentation, swap_identity
from engine.training.style.speakers import SpokenClip
from engine.training.style.train import DynamicsOptions, measure_natural, save_dvp, train_dvp

UNTOUCHED, FACE_SWAP, REENACTMENT = "", "face swap", "reenactment"
N_FOLDS = 4
FEWER = (6, 12)  # numbers of speakers of the learning curve
SAMPLE_S = 9.9  # eight clips of 1.24 s
Figures = dict[str, object]


@dataclass(frozen=True, slots=True, eq=False)
class ValidationEmbeddings:
    """Embedding of the first window of a clip."""

    row: Row
    sha256: str
    vector: np.ndarray  # (D,) float32, unit length
    evidence: float
    seconds: float


EmbeddingsByMethod = dict[str, list[ValidationEmbeddings]]
"""By method; the empty one is real."""
Held = tuple[DVP, EmbeddingsByMethod]  # a network and its embeddings of held-out speakers
OnProgress = Callable[[str, int, int], None]
"""`on_step(training name, member, finished steps)`."""


def train_final(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    out: Path,
    on_step: OnProgress,
) -> None:
    """Train on all speakers; the statistics of natural motion are measured by a network without one fold."""
    held_out = [clip for clip in clips if clip.is_own_face and clip.speaker in folds[0]]
    scout = train_dvp(
        [clip for clip in clips if not clip.people & folds[0]], options, on_step=partial(on_step, "scout")
    )
    model = train_dvp(clips, options, on_step=partial(on_step, "final"))
    model.natural = measure_natural(group_evidence(embed_first_windows(scout, held_out)))
    save_dvp(model, out / "dynamics.safetensors", options, clips)


def train_in_turn(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    measured: int,
    variants: dict[str, DynamicsOptions],
    workers: int,
    curve: bool,
    on_done: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, list[EmbeddingsByMethod]], list[DVP]]:
    """Train each variant without each fold; return the embeddings of held-out folds, and the networks of `model`."""
    jobs = [
        (name, partial(_train_and_embed, clips, folds, own, fold))
        for name, own in variants.items()
        for fold in range(measured)
    ]
    if curve:
        jobs += [
            (f"{n} speakers", partial(_train_and_embed, clips, folds, variants["model"], fold, n))
            for n in FEWER
            for fold in range(measured)
        ]
    on_done(0, len(jobs))
    parts: dict[str, list[EmbeddingsByMethod]] = {}
    models: list[DVP] = []
    trained = zip(jobs, _call_all([call for _, call in jobs], workers), strict=True)
    for done, ((name, _), (model, embeddings)) in enumerate(trained, start=1):
        parts.setdefault(name, []).append(embeddings)
        models += [model] if name == "model" else []
        on_done(done, len(jobs))
    return parts, models


def save_folds(
    models: Sequence[DVP],
    embeddings: Sequence[EmbeddingsByMethod],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    out: Path,
) -> None:
    """Write the weights of the network of each fold, which never saw its speakers."""
    for fold, (model, natural) in enumerate(zip(models, fit_natures(embeddings), strict=True)):
        model.natural = natural
        path = out / f"fold-{fold}" / "weights" / "dynamics.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_dvp(model, path, options, [clip for clip in clips if not clip.people & folds[fold]])


def list_ablations(options: DynamicsOptions) -> dict[str, DynamicsOptions]:
    """Return the ablations by name: each of the three parts off, all off, and further variants."""
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


def embed_first_windows(
    model: DVP, clips: Sequence[SpokenClip], windows: np.ndarray | None = None
) -> list[ValidationEmbeddings]:
    """Embed the first window of each clip, or windows (n, L, R) made from them."""
    windows = cut_windows(model, clips) if windows is None else windows
    vectors, evidence = model.embed_windows(windows)
    seconds = [min(clip.seconds, model.options.window / 25) for clip in clips]
    return [
        ValidationEmbeddings(clip.row, clip.sha256, vector, float(score), length)
        for clip, vector, score, length in zip(clips, vectors, evidence, seconds, strict=True)
    ]


def embed_all_methods(model: DVP, clips: Sequence[SpokenClip], seed: int) -> EmbeddingsByMethod:
    """Embed real clips, all their augmentations and identity swaps, and forged clips."""
    rng = np.random.default_rng(seed)
    forged = [clip for clip in clips if not clip.is_own_face]
    clips = [clip for clip in clips if clip.is_own_face]
    windows = cut_windows(model, clips)
    embeddings = {UNTOUCHED: embed_first_windows(model, clips, windows)}
    for kind in Augmentation:
        embeddings[kind] = _label(embed_first_windows(model, clips, AUGMENT[kind](windows, rng)), kind)
    for method, keep_shape in ((FACE_SWAP, False), (REENACTMENT, True)):
        faces = _choose_donors(clips, rng)
        made = np.stack([_swap_identity(model, *pair, keep_shape) for pair in zip(clips, faces, strict=True)])
        embeddings[method] = [
            replace(
                one, row=replace(one.row, face_owner=face.speaker, motion_owner=clip.speaker, donor_path=face.row.path)
            )
            for one, clip, face in zip(
                _label(embed_first_windows(model, clips, made), method), clips, faces, strict=True
            )
        ]
    for method in sorted({clip.row.method for clip in forged}):
        embeddings[f"forged: {method}"] = embed_first_windows(
            model, [clip for clip in forged if clip.row.method == method]
        )
    return embeddings


def cut_windows(model: DVP, clips: Sequence[SpokenClip]) -> np.ndarray:
    """Return (n, L, R): features of the first window of each clip."""
    length = model.options.window
    rows = [model.describe(clip.motion[:length], clip.faces[:length]) for clip in clips]
    return np.stack([fill_window(own, length) for own in rows])


def group_evidence(embeddings: Sequence[ValidationEmbeddings]) -> list[np.ndarray]:
    """Group the evidence of windows by session and speaker."""
    groups: dict[tuple[str, str | None], list[float]] = {}
    for embedding in embeddings:
        groups.setdefault((embedding.row.speaker, embedding.row.session), []).append(embedding.evidence)
    return [np.array(own) for own in groups.values()]


def fit_natures(folds: Sequence[EmbeddingsByMethod]) -> list[torch.Tensor]:
    """Return (3,) for each fold: statistics of natural motion in the other folds, as in `DVP.natural`."""
    others = [[other for other in folds if other is not own] or [own] for own in folds]
    return [
        measure_natural(group_evidence([embedding for fold in group for embedding in fold[UNTOUCHED]]))
        for group in others
    ]


def measure_folds(folds: Sequence[EmbeddingsByMethod], seed: int) -> Figures:
    """Compute all results over the folds, by the embedding alone and with unnatural motion refused.

    The statistics of natural motion of each fold come from the other folds.
    """
    natures = fit_natures(folds)
    figures: Figures = {"speakers": len({embedding.row.speaker for own in folds for embedding in own[UNTOUCHED]})}
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
    """Samples of one fold."""

    samples: dict[str, tuple[Sample, ...]]  # by method

    @classmethod
    def of(cls, embeddings: EmbeddingsByMethod, nature: Nature, gated: bool, seed: int) -> "FoldBenchmark":
        used = nature if gated else replace(nature, lowest=-np.inf)
        manifest = [embedding.row for embedding in embeddings[UNTOUCHED]]
        return cls({method: _pool(own, manifest, used, seed) for method, own in embeddings.items()})

    def search(self, method: str) -> tuple[Search, SamplePairs]:
        probes, gallery = self.samples[method], self.samples[UNTOUCHED]
        allowed = find_comparable(probes, gallery, has_sessions=True)
        return search(probes, gallery, allowed), pair_samples(probes, gallery, allowed, once=method == UNTOUCHED)


def _measure_method(benches: Sequence[FoldBenchmark], method: str, seed: int) -> Figures:
    found, pairs = zip(*(bench.search(method) for bench in benches), strict=True)
    results = asdict(measure_recognition(_join_pairs(pairs), _join_searches(found), seed))
    samples = [sample for bench in benches for sample in bench.samples[method]]
    results["refused"] = float(np.mean([not sample.is_natural for sample in samples])) if samples else None
    if any(sample.face_owner != sample.speaker for sample in samples):
        untouched = _join_searches([bench.search(UNTOUCHED)[0] for bench in benches])
        results["following"] = asdict(measure_following(_join_searches(found), untouched, seed))
    return results


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
    """Join searches of separate galleries; speakers are never compared across folds."""
    names = tuple(sorted({name for part in parts for name in part.speakers}))
    blocks = []
    for part in parts:
        block = np.full((len(part.probes), len(names)), np.nan)
        block[:, [names.index(name) for name in part.speakers]] = part.scores
        blocks.append(block)
    return Search(tuple(probe for part in parts for probe in part.probes), names, np.concatenate(blocks))


def _pool(
    embeddings: Sequence[ValidationEmbeddings], manifest: Sequence[Row], nature: Nature, seed: int
) -> tuple[Sample, ...]:
    rows = []
    for embedding in embeddings:
        found = join_windows(
            embedding.vector[None], np.array([embedding.evidence]), embedding.seconds, "validation", nature
        )
        if found is not None:
            rows.append(EmbeddedRow(embedding.row, embedding.sha256, found))
    return pool_rows(rows, manifest, nature, SAMPLE_S, seed).samples


def _label(embeddings: Sequence[ValidationEmbeddings], method: str) -> list[ValidationEmbeddings]:
    return [replace(one, row=replace(one.row, label="distorted", method=str(method))) for one in embeddings]


def _choose_donors(clips: Sequence[SpokenClip], rng: np.random.Generator) -> list[SpokenClip]:
    """Choose for each speaker one other speaker of the fold as face donor of all clips."""
    speakers = sorted({clip.speaker for clip in clips})
    shift = int(rng.integers(1, len(speakers)))
    other = {name: speakers[(number + shift) % len(speakers)] for number, name in enumerate(speakers)}
    chosen = {name: [clip for clip in clips if clip.speaker == name] for name in speakers}
    donors = {name: own[int(rng.integers(len(own)))] for name, own in chosen.items()}
    return [donors[other[clip.speaker]] for clip in clips]


def _swap_identity(model: DVP, clip: SpokenClip, face: SpokenClip, keep_shape: bool) -> np.ndarray:
    length = model.options.window
    made = swap_identity(face.still(len(face.faces) // 2), clip.faces.points[:length], keep_shape)
    return fill_window(model.describe(clip.motion[:length], made), length)


def _train_and_embed(
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    options: DynamicsOptions,
    fold: int,
    n: int | None = None,
) -> Held:
    """Train without a fold, or on `n` speakers of the other folds only, and embed the fold."""
    torch.set_num_threads(1)
    others = sorted(name for number, own in enumerate(folds) if number != fold for name in own)
    chosen = {clip.speaker for clip in clips} - folds[fold] if n is None else set(others[:n])
    model = train_dvp([clip for clip in clips if clip.people <= chosen], options)
    return model, embed_all_methods(model, [clip for clip in clips if clip.people <= folds[fold]], options.seed)


def _call_all(calls: Sequence[Callable[[], Held]], workers: int) -> Iterator[Held]:
    """Yield the results of the calls in order, computed by `workers` processes."""
    if workers == 1:
        for call in calls:
            yield call()
        return
    # spawn: a fork would copy locks held by threads of the feature extractor
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


EMBEDDED_BY = "networks of the same training, each of which never saw the people whom it embedded"


def embed_held_out(model: DVP, nature: Nature, clips: Sequence[SpokenClip]) -> EmbeddedRows:
    """Embed all windows of the real `clips` of held-out speakers, as inference does."""
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


def score_held_out(
    folds: Sequence[EmbeddedRows], task: Task, manifest_sha256: str, gather: TrialOptions | None = None
) -> ScoredTrials:
    """Collect the speaker trials of the folds; speakers are never compared across folds.

    The trials have no recipe: a calibration from them is for the network trained on all speakers. The gallery size is
    that of the smallest fold.
    """
    origin, options = Origin("", manifest_sha256, EMBEDDED_BY), gather or TrialOptions()
    return join_trials(
        [collect_speaker_trials(own, [one.row for one in own.rows], task, origin, options) for own in folds]
    )


def write_held_out(
    models: Sequence[DVP],
    embeddings: Sequence[EmbeddingsByMethod],
    clips: Sequence[SpokenClip],
    folds: Sequence[frozenset[str]],
    manifest_sha256: str,
    folder: Path,
) -> None:
    """Score the speakers of each fold with each other by the network that never saw them, and write the trials."""
    rows = [
        embed_held_out(model, Nature(*natural.tolist()), [clip for clip in clips if clip.people <= own])
        for model, natural, own in zip(
            models, fit_natures(embeddings), folds, strict=False
        )  # not every fold may be measured
    ]
    for task in (Task.VERIFICATION, Task.IDENTIFICATION):
        write_trials(score_held_out(rows, task, manifest_sha256), folder / f"{task}.json")
