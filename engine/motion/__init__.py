"""Motion signatures of face tracks, and which recording the motion of a face follows; pure numpy."""
