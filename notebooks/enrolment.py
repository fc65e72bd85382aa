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
# # Enrol speakers from clips
#
# Speaking styles are stored with consent, for a purpose and a term. This notebook extracts samples from clips of
# several people, shows their quality and similarities, checks the enrolment without writing anything, then enrols, and
# finally searches every clip in the gallery. It uses the gallery of the running app.
#
# Set the parameters, then run all cells. Nothing is written to the gallery unless `commit` is true.

# %% tags=["parameters"]
clips = "clips"  # folder with one folder per speaker, or CSV with path, label, speaker and session
basis = "consent"  # consent, legal_claim, journalism, public_interest or research
purpose = ""  # in one sentence
term_days = 365  # at most 1095
notice = ""  # version of the consent notice; empty: the shipped one
collector = ""  # person who obtained the consent
kept = "seen.wayspeak"  # cache of the samples; delete it afterwards
commit = False  # true: enrol

# %%
from pathlib import Path

from IPython.display import display

from engine.settings import Settings
from engine.style.clip_embeddings import ClipEmbedder
from gallery_db.gallery import Gallery
from gallery_db.records import VERSION, Basis, Consent
from webapp.notebook.enrolment import (
    check_people,
    compare_clips,
    describe_enrolments,
    enrol_people,
    extract_samples,
    list_clips,
    plot_similarities,
    search_enrolled,
    tabulate_checks,
    tabulate_quality,
)
from webapp.views.plots import plot_speakers

settings = Settings.from_env()
consent = Consent(Basis(basis), purpose, term_days, notice or VERSION, collector)
print(consent)

# %% [markdown]
# ## Samples
#
# The sample of each clip: an enrolment needs 20 s of speech in two clips. Review clips with a low similarity to the
# speaker's other clips, or with motion that is not natural.

# %%
extracted = extract_samples(list_clips(Path(clips)), lambda: ClipEmbedder.load(settings), consent, Path(kept))
for one in extracted.skipped:
    print(f"left out: {one.speaker}, {one.clip}: {one.reason}")
display(tabulate_quality(extracted.people))

# %% [markdown]
# ## Clusters
#
# Each point is a clip. The projection shows only part of the differences; the matrix shows all similarities.

# %%
display(plot_speakers([(person.name, person.samples) for person in extracted.people]))
display(plot_similarities(*compare_clips(extracted.people)))

# %% [markdown]
# ## Dry run
#
# Accepted clips, outliers, copies, and matches with other enrolled speakers.

# %%
with Gallery.open(settings) as gallery:
    display(tabulate_checks(check_people(gallery, extracted.people)))

# %% [markdown]
# ## Enrol and search
#
# Only with `commit`. Each speaker is enrolled completely or not at all. If a clip does not find its own speaker first,
# review that clip.

# %%
with Gallery.open(settings) as gallery:
    done = enrol_people(gallery, extracted.people, consent) if commit else {}
    print("\n".join(describe_enrolments(done)) or "Nothing was enrolled.")
    searches = search_enrolled(gallery, extracted.people, done)
    missed = [one for one in searches if not one.is_found]
    print(f"{len(searches) - len(missed)} of {len(searches)} clips find their own speaker")
    for one in missed:
        print(f"{one.speaker}, {one.clip}: found {one.first or 'no candidate'}")
