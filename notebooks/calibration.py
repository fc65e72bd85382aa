# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From labelled clips to a calibration
#
# What a score means depends on whose clips it was learnt from. This notebook looks at the scores of a manifest, fits
# a record to its real clips, shows what the record is worth on clips that were held out, and keeps it for the app to
# use. `wayspeak calibrate` does the same without pictures and gives the same parameters.
#
# Set the parameters, then run all cells. Nothing is kept unless `keep` is true; the approver is never the author.

# %% tags=["parameters"]
manifest = "clips.csv"  # path, label, speaker, source; method and language where they are known
task = "consistency"  # or verification, identification
scores = ""  # a file of kept scores in place of the manifest
author = ""
approver = ""  # empty: the record stays a draft
population = ""  # in words: who and what the clips stand for
note = ""  # what whoever approves it should know
out = "calibration"  # folder of the records
keep = False  # true: into the gallery, where the app finds it
cache = ""  # folder of what was seen in each clip; empty: in the data folder
workers = 1  # processes that decode
false_support = 0.05  # wished share of the second hypothesis's trials that are called supported
false_against = 0.05
windows_s = [1.0, 2.0, 3.0, 5.0]  # into which clips are cut for the curve over window length
resamples = 1000  # behind each interval
seed = 0
created = ""  # empty: now
source = "calibration.py"  # this notebook's text, whose hash the record names

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
from webapp.notebook.calibration import Sources, gather, keep_records, look_over, tabulate_metrics, tabulate_partings

settings = Settings.from_env()
sources = Sources(manifest, scores, Task(task), cache, workers, tuple(windows_s), seed)

# %% [markdown]
# ## The scores as they are
#
# Real clips against each kind of other: forged ones by their method where the manifest has any, and real faces with
# the voices of other people. Where the histograms lie over each other nobody can tell them apart.

# %%
overview = look_over(sources, settings)
display(figures.plot_scores(overview.scores))
display(figures.plot_roc(overview.trace_errors()))
display(figures.plot_det(overview.trace_errors()))

# %% [markdown]
# ## How long a clip has to be
#
# First by the length of whole clips (or the kind of trial), then by the length of windows that each clip is cut into.

# %%
display(figures.plot_lengths(overview.lengths, "AUC against length", "up to so many seconds, or kind of trial"))
display(figures.plot_lengths(overview.windows, "AUC against window length", "seconds of a window"))

# %% [markdown]
# ## By language
#
# A face with its own voice against those of others. Few clips make wide intervals; a language that is not in the table
# was not looked at.

# %%
display(tabulate_partings(overview.languages, "language"))
display(tabulate_partings(overview.lengths, "length"))

# %% [markdown]
# ## The record
#
# Fitted to all trials of real clips; every figure is of trials whose sources (for people: whose people) had no part in
# fitting. Forged clips are left out of it: what one is evidence for depends on how it was made.

# %%
trials, remark = gather(sources, settings)
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
# ## A line for a wished rate of false alarms
#
# At most so large a share of the second hypothesis's held-out trials lies above the line; beside it, how many of the
# first's do. An infinite line says that there are too few trials for so small a rate.

# %%
for line in list_thresholds(held):
    print(asdict(line))

# %% [markdown]
# ## Can the ratios be believed?
#
# Tippett: how often either hypothesis's trials reach a ratio. Reliability: what was said against what was so.

# %%
display(figures.plot_tippett(held.llrs, held.trials.same))
display(figures.plot_reliability(held.llrs, held.trials.same))

# %% [markdown]
# ## Approve and keep
#
# The draft is written in any case. With an approver it is approved; with `keep` the gallery takes both, and the app
# judges by the newest approved record of its recipe from the next clip on.

# %%
written = keep_records(record, approver, Path(out), settings if keep else None)
for path, kept in written.items():
    print(path, kept.status, kept.id)
