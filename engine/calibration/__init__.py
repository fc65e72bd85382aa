"""Calibration: scores to bounded log10 likelihood ratios, fitted and validated on labelled trials.

`records.Calibration` is stored, approved and applied; importing it imports neither torch nor scikit-learn.
"""
