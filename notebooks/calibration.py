# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From labelled clips to a calibration
#
# The meaning of a score depends on the clips that it is calibrated on. This notebook shows the scores of a manifest,
# fits a calibration record to its real clips, validates it on held-out clips, and stores it for the app. `wayspeak
# calibrate` does the same without plots, with the same parameters.
#
# Set the parameters, then run all cells. Nothing is stored in the gallery unless `keep` is true; the approver must not
# be the author.

# %% tags=["parameters"]
manifest = "clips.csv"  # path, label, speaker, source; optionally method and language
task = "consistency"  # or verification, identification
scores = ""  # file of stored scores, replaces the manifest
author = ""
approver = ""  # empty: the record stays a draft
population = ""  # description of the population and material
note = ""  # note to the approver
out = "calibration"  # folder for the records
keep = False  # true: store in the gallery of the app
cache = ""  # folder of the feature cache; empty: in the data folder
workers = 1  # decoding processes
false_support = 0.05  # target rate of false support
false_against = 0.02  # target rate of false exclusion
windows_s = [1.0, 2.0, 3.0, 5.0]  # window lengths in seconds
resamples = 1000  # per interval
seed = 0
created = ""  # empty: now
source = "calibration.py"  # text of this notebook; the record contains its hash

# %%
from dataclasses import asdict
from pathlib import Path

from IPython.display import display

from engine.calibration.builder import DraftOptions, draft
from engine.calibration.records import Task
from engine.calibration.verbal_scale import HYPOTHESES
from engine.evaluation.score_overview import list_thresholds
from engine.settings import Settings
from engine.weights.registry import hash_file
from webapp.notebook import calibration as figures
from webapp.notebook.calibration import (
    Sources,
    keep_records,
    load_overview,
    load_trials,
    tabulate_discrimination,
    tabulate_metrics,
)

settings = Settings.from_env()
sources = Sources(manifest, scores, Task(task), cache, workers, tuple(windows_s), seed)

# %% [markdown]
# ## Scores
#
# Real clips against forged ones by method, if the manifest has any, and against real faces with swapped voices. Where
# the histograms overlap, the classes cannot be discriminated.

# %%
overview = load_overview(sources, settings)
display(figures.plot_scores(overview.scores))
display(figures.plot_roc(overview.trace_errors()))
display(figures.plot_det(overview.trace_errors()))

# %% [markdown]
# ## Clip length
#
# AUC by the length of whole clips (or the kind of trial), then by window length.

# %%
display(figures.plot_lengths(overview.lengths, "AUC against length", "up to this many seconds, or kind of trial"))
display(figures.plot_lengths(overview.windows, "AUC against window length", "seconds of a window"))

# %% [markdown]
# ## By language
#
# Faces with their own voices against swapped voices. Few clips make wide intervals; languages without clips are not
# listed.

# %%
display(tabulate_discrimination(overview.languages, "language"))
display(tabulate_discrimination(overview.lengths, "length"))

# %% [markdown]
# ## The record
#
# Fitted to all trials of real clips; all metrics are cross-validated over held-out sources (for speaker tasks: held-out
# speakers). Forged clips are excluded: their evidence depends on how they were made.

# %%
trials, remark = load_trials(sources, settings)
drafted = draft(
    trials,
    DraftOptions(
        author=author,
        false_support=false_support,
        false_against=false_against,
        seed=seed,
        resamples=resamples,
        population=population,
        notebook_sha256=hash_file(Path(source)),
        note=" ".join(filter(None, (note, remark))),
        created=created,
    ),
)
record, held = drafted.record, drafted.held
print(HYPOTHESES[record.task].first, "/", HYPOTHESES[record.task].second)
print(record.bounds, record.policy, record.counts, sep="\n")
display(tabulate_metrics(record))

# %% [markdown]
# ## Thresholds for target false alarm rates
#
# At most this share of the held-out trials of the second hypothesis is above the threshold; the table also has the
# share of the first. An infinite threshold: too few trials for such a low rate.

# %%
for line in list_thresholds(held):
    print(asdict(line))

# %% [markdown]
# ## Calibration of the ratios
#
# Tippett: share of trials of each hypothesis that reach a ratio. Reliability: predicted against observed shares.

# %%
display(figures.plot_tippett(held.llrs, held.trials.same))
display(figures.plot_reliability(held.llrs, held.trials.same))

# %% [markdown]
# ## Approve and store
#
# The draft is always written. With an approver it is approved; with `keep` both are stored in the gallery, and the app
# uses the newest approved record of its recipe.

# %%
written = keep_records(record, approver, Path(out), settings if keep else None)
for path, kept in written.items():
    print(path, kept.status, kept.id)
