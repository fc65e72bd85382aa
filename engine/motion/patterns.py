"""Pattern of the regions that follow a recording: the kind of connection between two faces, never a verdict.

A face swap keeps the head of its driver, and its face shape is as near to the driver's as that of another copy of the
recording. An unlike shape shows another face; a like one does not show the same face.
"""

from collections.abc import Sequence
from enum import StrEnum

from engine.motion.channels import MotionRegion
from engine.motion.matches import RegionMatch


class Pattern(StrEnum):
    """Connection of a stretch with a recording."""

    OTHER_FACE = "other face"  # driven
    SAME_MOTION = "same motion"  # a copy, or a face that was swapped in or driven; the shapes are alike or not compared
    OTHER_MOUTH = "other mouth"  # a lip-sync or a dub over the picture
    MOUTH_ONLY = "mouth only"
    PARTLY = "partly"


SENTENCES = {
    Pattern.OTHER_FACE: "Head, eyes and mouth follow it under another face, as in a reenactment or a face swap.",
    Pattern.SAME_MOTION: "Head, eyes and mouth follow it: the same recording, or a face swapped in or driven by it.",
    Pattern.OTHER_MOUTH: "Head or eyes follow it, the mouth does not, as in a lip-sync or a dub over the picture.",
    Pattern.MOUTH_ONLY: "The mouth alone follows it, as in a mouth laid over another picture.",
    Pattern.PARTLY: "Some of its regions follow, and others do not or are too still to be judged.",
}


def find_pattern(regions: Sequence[RegionMatch], is_other_face: bool) -> Pattern:
    """Return the pattern of a stretch; `is_other_face` only where the shapes of the faces are unlike."""
    follows = {one.region for one in regions if one.follows}
    differs = {one.region for one in regions if one.moves and not one.follows}
    if MotionRegion.MOUTH in differs and follows:
        return Pattern.OTHER_MOUTH
    if follows == {MotionRegion.MOUTH} and differs:
        return Pattern.MOUTH_ONLY
    if differs or MotionRegion.MOUTH not in follows or len(follows) < 2:
        return Pattern.PARTLY
    return Pattern.OTHER_FACE if is_other_face else Pattern.SAME_MOTION
