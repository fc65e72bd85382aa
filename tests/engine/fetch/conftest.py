import pytest

from tests import clips
from tests.canary import Canary
from tests.engine.fetch.sites import Site, Web


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture
def canary():
    """A port that must not be reached."""
    with Canary() as canary:
        yield canary
        assert canary.hits() == []


@pytest.fixture
def web(site):
    return Web(site)


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A tiny video with sound, as bytes."""
    path = tmp_path_factory.mktemp("film") / "a.mp4"
    clips.write_clip(path, clips.Film(duration_s=1.2))
    return path.read_bytes()
