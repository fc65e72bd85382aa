"""What the scores are worth: measured on clips with known truth."""
