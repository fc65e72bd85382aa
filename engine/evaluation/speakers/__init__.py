"""Evaluate speaker embeddings: verification, identification, IOS."""
