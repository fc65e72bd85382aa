"""What a score means: scores of trials whose truth is known become log10 likelihood ratios, bounded and measured.

`records.Calibration` is what is kept, approved and applied; importing it imports neither torch nor scikit-learn.
"""
