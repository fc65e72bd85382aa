"""Pattern of the regions that follow a recording: the kind of connection between two faces, never a verdict."""

from collections.abc import Sequence
from enum import StrEnum

from engine.motion.channels import MotionRegion
from engine.motion.matches import RegionMatch


class Pattern(StrEnum):
    """Connection of a stretch with a recording."""

    SAME_RECORDING = "same recording"
    OTHER_FACE = "other face"  # a swapped or driven face
    SAME_MOTION = "same motion"  # the faces were not compared, or are between alike and unlike
    OTHER_MOUTH = "other mouth"  # a lip-sync or a dub over the picture
    MOUTH_ONLY = "mouth only"
    PARTLY = "partly"


SENTENCES = {
    Pattern.SAME_RECORDING: "Head, eyes and mouth follow it, and the face is the same: the same recording.",
    Pattern.OTHER_FACE: "Head, eyes and mouth follow it under another face, as in a face swap or a reenactment.",
    Pattern.SAME_MOTION: "Head, eyes and mouth follow it: the same recording, or a face driven by it.",
    Pattern.OTHER_MOUTH: "Head or eyes follow it, the mouth does not, as in a lip-sync or a dub over the picture.",
    Pattern.MOUTH_ONLY: "The mouth alone follows it, as in a mouth laid over another picture.",
    Pattern.PARTLY: "Some of its regions follow, and others do not or are too still to be judged.",
}


def find_pattern(regions: Sequence[RegionMatch], same_face: bool | None) -> Pattern:
    """Return the pattern of a stretch; `same_face` is None where the faces were not compared or are neither."""
    follows = {one.region for one in regions if one.follows}
    differs = {one.region for one in regions if one.moves and not one.follows}
    if MotionRegion.MOUTH in differs and follows:
        return Pattern.OTHER_MOUTH
    if follows == {MotionRegion.MOUTH} and differs:
        return Pattern.MOUTH_ONLY
    if differs or MotionRegion.MOUTH not in follows or len(follows) < 2:
        return Pattern.PARTLY
    if same_face is None:
        return Pattern.SAME_MOTION
    return Pattern.SAME_RECORDING if same_face else Pattern.OTHER_FACE
