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
# # From clips of people to an enrolled gallery
#
# A way of speaking is kept of people who agreed to it, for a purpose and a time. This notebook looks at clips of
# several people, shows which of them are of use and who moves like whom, tries the enrolment without writing anything,
# then enrols, and at last looks every clip up again. It uses the gallery of the running app.
#
# Set the parameters, then run all cells. Nothing is written to the gallery unless `commit` is true.

# %% tags=["parameters"]
clips = "clips"  # a folder with one folder a person, or a CSV with path, label, speaker and session
basis = "consent"  # consent, legal_claim, journalism, public_interest or research
purpose = ""  # what for, in a sentence
term_days = 365  # for how long, up to 1095 days
notice = ""  # version of the text that the people were shown; empty: the one that comes with the program
collector = ""  # who asked
kept = "seen.wayspeak"  # what was seen in the clips, so that none is looked at twice; delete it afterwards
commit = False  # true: enrol

# %%
from pathlib import Path

from IPython.display import display

from engine.settings import Settings
from engine.style.clip_embeddings import ClipEmbedder
from gallery_db.gallery import Gallery
from gallery_db.records import VERSION, Basis, Consent
from webapp.notebook.enrolment import (
    compare_clips,
    describe_enrolments,
    enrol_people,
    list_clips,
    look_at_clips,
    plot_similarities,
    search_selves,
    tabulate_admissions,
    tabulate_quality,
    try_people,
)
from webapp.views.plots import plot_speakers

settings = Settings.from_env()
consent = Consent(Basis(basis), purpose, term_days, notice or VERSION, collector)
print(consent)

# %% [markdown]
# ## What is seen in the clips
#
# The speaker of each clip, and what there is of them: 20 s of speech over two clips are asked for. A low likeness to
# the person's own other clips, or motion that is not natural, is a reason to look at a clip again.

# %%
seen = look_at_clips(list_clips(Path(clips)), lambda: ClipEmbedder.load(settings), consent, Path(kept))
for left in seen.left_out:
    print(f"left out: {left.speaker}, {left.clip}: {left.why}")
display(tabulate_quality(seen.people))

# %% [markdown]
# ## Who clusters with whom
#
# Each point is a clip. The plane shows only part of the differences; the matrix below shows every similarity.

# %%
display(plot_speakers([(person.name, person.samples) for person in seen.people]))
display(plot_similarities(*compare_clips(seen.people)))

# %% [markdown]
# ## A dry run
#
# What the gallery would accept, what it takes for an outlier, a copy or somebody enrolled under another name.

# %%
with Gallery.open(settings) as gallery:
    display(tabulate_admissions(try_people(gallery, seen.people)))

# %% [markdown]
# ## Enrol, and look everybody up again
#
# Only with `commit`. Each person is enrolled whole or not at all. Whoever does not come first when one of their own
# clips is looked up cannot be found: look at those clips again.

# %%
with Gallery.open(settings) as gallery:
    done = enrol_people(gallery, seen.people, consent) if commit else {}
    print("\n".join(describe_enrolments(done)) or "Nothing was enrolled.")
    searches = search_selves(gallery, seen.people, done)
    missed = [one for one in searches if not one.is_found]
    print(f"{len(searches) - len(missed)} of {len(searches)} clips lead to their own speaker")
    for one in missed:
        print(f"{one.speaker}, {one.clip}: taken for {one.first or 'nobody'}")
