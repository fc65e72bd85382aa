"""Every row is embedded from its longest face, or skipped with the reason; other recipes never mix."""

from pathlib import Path

import numpy as np
import pytest

from engine.datasets.manifest import Row
from engine.evaluation.speakers.embeddings import embed_rows
from engine.features.cache import FeatureCache
from engine.features.records import ClipFeatures, FaceFeatures
from engine.settings import Settings
from engine.style import embedder
from engine.style.embedder import EmbedderName, StaticFace, load_embedder
from engine.types import DynamicEmbedding
from tests.engine.evaluation.films import RECIPE, DrawnExtractor, draw_film
from tests.engine.evaluation.speakers.people import NATURE


class LengthEmbedder:
    """Points along the length of the track it is given; knows Ada from its training."""

    recipe = "length"
    nature = NATURE
    trained_on = frozenset({"Ada"})

    def embed(self, observation: ClipFeatures, track: FaceFeatures) -> DynamicEmbedding | None:
        if len(track.seen) < 50:
            return None
        vector = np.eye(1, 400, len(track.seen), dtype=np.float32)[0]
        return DynamicEmbedding(vector, len(track.seen) / 25, 0, "length", 1, 0.0, True)


def make_rows(folder: Path, *films: str) -> list[Row]:
    return [Row(number, folder / name, "real", written=name) for number, name in enumerate(films, 1)]


def test_each_row_is_embedded_or_named_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    rows = make_rows(
        tmp_path,
        draw_film(tmp_path, "mute.mp4", 1, -1),
        draw_film(tmp_path, "brief.mp4", 1, seconds=1.6),
        draw_film(tmp_path, "short.mp4", 1, seconds=1.0),
        draw_film(tmp_path, "faceless.mp4", -1, 1),
        "gone.mp4",
        "text.mp4",
    )
    steps: list[tuple[str, int, int]] = []
    cache = FeatureCache(tmp_path / "cache", RECIPE)
    found = embed_rows(rows, LengthEmbedder(), DrawnExtractor(), cache, 1.5, lambda *step: steps.append(step))
    assert [(one.row.written, one.embedding.seconds) for one in found.rows] == [("mute.mp4", 6.0)]
    assert {one.path: one.reason for one in found.skipped} == {
        "brief.mp4": "its longest face track is too short",
        "short.mp4": "it is shorter than 1.5 s",
        "faceless.mp4": "no face is seen",
        "gone.mp4": "There is no file 'gone.mp4'.",
        "text.mp4": "The file is no video.",
    }
    assert (found.recipe, found.observer_recipe, found.trained_on) == ("length", RECIPE, {"Ada"})
    assert found.nature is NATURE
    assert steps[0] == ("embed", 0, 6) and steps[-1] == ("embed", 6, 6)


def test_the_longest_track_speaks_for_the_clip(tmp_path: Path) -> None:
    class Crowd(DrawnExtractor):
        """Sees the face in three tracks."""

        def extract(self, path: Path, *arguments: object) -> ClipFeatures:
            seen = super().extract(path)
            [track] = seen.tracks
            parts = [
                FaceFeatures(
                    first, track.lips[:n], track.seen[:n], track.gap[:n], 100.0, track.thumbnail, track.motion[:n]
                )
                for first, n in ((0, 60), (60, 75), (140, 10))
            ]
            object.__setattr__(seen, "tracks", tuple(parts))
            return seen

    rows = make_rows(tmp_path, draw_film(tmp_path, "a.mp4", 1))
    [found] = embed_rows(rows, LengthEmbedder(), Crowd(), FeatureCache(tmp_path, RECIPE)).rows
    assert found.embedding.seconds == 3.0


def test_an_embedding_of_another_recipe_is_a_mistake(tmp_path: Path) -> None:
    class Mixed(LengthEmbedder):
        recipe = "other"

    rows = make_rows(tmp_path, draw_film(tmp_path, "a.mp4", 1))
    with pytest.raises(ValueError, match="recipe length from an embedder of recipe other"):
        embed_rows(rows, Mixed(), DrawnExtractor(), FeatureCache(tmp_path, RECIPE))


def test_embedders_are_loaded_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Settings] = []
    monkeypatch.setattr(embedder, "load_dynamics", lambda settings: asked.append(settings) or "the motion")
    settings = Settings(tmp_path)
    assert isinstance(load_embedder(EmbedderName.STATIC, settings), StaticFace)
    assert not asked
    assert load_embedder(EmbedderName.DYNAMICS, settings) == "the motion"
    assert asked == [settings]
