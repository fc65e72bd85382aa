"""The shipped engine and the drawn example, for tests of whole recordings."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from engine.pipeline import Engine
from engine.settings import Settings
from tests.examples import draw_examples
from tests.recordings import Source, read_source

SIDE_PX = 320


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine.load(Settings(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The example of own sound, its pictures 320 pixels wide."""
    drawn = read_source(draw_examples(tmp_path_factory.mktemp("example"))[0])
    small = [cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for picture in drawn.pictures]
    return replace(drawn, pictures=np.stack(small))
