"""Pieces of a face in another picture: its colours, no seam, nothing carried in from outside."""

import cv2
import numpy as np

from engine.forging.face_swap import box_around, clone, match_colours, outline_mask
from engine.synthesis.portrait import OVAL
from tests.engine.forging.actors import draw_astronaut, draw_stranger


def fill(outline: np.ndarray) -> np.ndarray:
    """(256, 256) uint8: 1 within an outline."""
    return cv2.fillPoly(np.zeros((256, 256), np.uint8), [np.round(outline).astype(np.int32)], 1)


def test_the_replaced_part_lies_within_the_oval_from_brows_to_chin() -> None:
    landmarks = draw_astronaut().landmarks
    part, whole = fill(outline_mask(landmarks)), fill(landmarks[OVAL, :2])
    assert not (part & ~whole & 1).any() and 0.5 < part.sum() / whole.sum() < 0.9
    for point in (33, 263, 4, 61, 291, 105, 334):  # eyes, nose, corners of the mouth, brows
        x, y = landmarks[point, :2].round().astype(int)
        assert part[y, x] == 1


def test_colours_of_a_face_become_anothers() -> None:
    own, donor = draw_astronaut(), draw_stranger()
    pictures = ((own, own.image), (donor, donor.image), (donor, match_colours(donor, own).turn(donor.image)))
    lab = [
        cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[fill(outline_mask(portrait.landmarks)) > 0].astype(float)
        for portrait, image in pictures
    ]
    before, after = (np.abs(one.mean(0) - lab[0].mean(0)).max() for one in lab[1:])
    assert before > 8 and after < 2


def test_cloning_a_picture_into_itself_changes_nothing() -> None:
    image, outline = draw_astronaut().image, outline_mask(draw_astronaut().landmarks)
    cloned = clone(image[20:200, 60:220].copy(), image, outline, (60, 20, 220, 200))
    assert np.abs(cloned.astype(int) - image).max() <= 1


def test_a_brighter_patch_is_blended_in_without_a_seam() -> None:
    image, outline = draw_astronaut().image, outline_mask(draw_astronaut().landmarks)
    box = (60, 20, 220, 200)
    brighter = np.clip(image[20:200, 60:220].astype(int) + 15, 0, 255).astype(np.uint8)
    assert np.abs(clone(brighter, image, outline, box).astype(int) - image).mean() < 1


def test_hair_on_the_rim_of_a_patch_is_not_smeared_into_the_face() -> None:
    image, outline = draw_astronaut().image, outline_mask(draw_astronaut().landmarks)
    box = (60, 20, 220, 200)
    hairy = image.copy()
    rim = cv2.dilate(fill(outline), np.ones((9, 9), np.uint8)) - cv2.erode(fill(outline), np.ones((5, 5), np.uint8))
    left = np.arange(256) < outline[:, 0].mean() - 15
    hairy[(rim > 0) & left] = 10
    blended = clone(hairy[20:200, 60:220], image, outline, box).astype(int)
    inside = cv2.erode(fill(outline), np.ones((25, 25), np.uint8)) > 0
    assert np.abs(blended - image)[inside].mean() < 4


def test_a_box_stays_within_the_picture() -> None:
    frame = np.zeros((50, 60, 3), np.uint8)
    assert box_around(np.array([(-20, 10.5), (30, 90)]), frame, margin=4) == (0, 6, 35, 50)


def test_a_patch_beyond_the_edge_of_the_picture_is_blended_as_far_as_it_goes() -> None:
    image, outline = draw_astronaut().image, outline_mask(draw_astronaut().landmarks)
    cut = image[:, 100:]
    shifted = outline - [100, 0]
    x0, y0, x1, y1 = box = box_around(shifted, cut)
    brighter = np.clip(cut[y0:y1, x0:x1].astype(int) + 15, 0, 255).astype(np.uint8)
    blended = clone(brighter, cut, shifted, box)
    assert blended.shape == cut.shape and np.abs(blended.astype(int) - cut).mean() < 2
