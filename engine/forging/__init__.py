"""Make watermarked forgeries with known ground truth."""
