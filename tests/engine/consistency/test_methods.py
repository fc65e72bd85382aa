"""Lists of methods, and the defaults for missing choices."""

from pathlib import Path

import pytest

from engine.consistency.methods import Method, choose_method, list_lacking, list_methods
from engine.errors import EngineError, LicenceNotAccepted, WeightsMissing
from engine.types import Mode, Model
from engine.weights import registry
from engine.weights.licences import AV_HUBERT, accept_licence


def put(data_dir: Path, *sizes: str, accepted: bool = True) -> Path:
    """Write files of that name, which no test reads."""
    folder = data_dir / registry.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for size in sizes:
        (folder / f"avhubert_{size}.safetensors").write_bytes(b"weights")
    if accepted:
        accept_licence(AV_HUBERT, data_dir)
    return data_dir


def test_strict_and_compact_unless_said_otherwise(tmp_path: Path) -> None:
    put(tmp_path, "base", "large")
    assert choose_method(None, Mode.STRICT, None, tmp_path) == Method() == Method(Model.COMPACT, Mode.STRICT, None)
    assert choose_method(None, Mode.STRICT, Model.AVHUBERT_BASE, tmp_path).second == Model.AVHUBERT_BASE


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [(("base", "large"), Model.AVHUBERT_LARGE), (("base",), Model.AVHUBERT_BASE), (("large",), Model.AVHUBERT_LARGE)],
)
def test_paper_mode_takes_the_largest_that_is_there(tmp_path: Path, sizes: tuple[str, ...], taken: Model) -> None:
    assert choose_method(None, Mode.PAPER, None, put(tmp_path, *sizes)).model == taken


def test_paper_mode_without_weights_says_which_where_under_what_and_how(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing) as result:
        choose_method(None, Mode.PAPER, None, tmp_path)
    assert "avhubert_large.safetensors" in result.value.message
    for word in ("facebookresearch", "licence", "non-commercial", "wayspeak weights import"):
        assert word in result.value.hint


def test_paper_mode_asks_for_the_licence_of_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="has not been accepted"):
        choose_method(None, Mode.PAPER, None, put(tmp_path, "base", accepted=False))


def test_compact_in_paper_mode_is_selected_by_name(tmp_path: Path) -> None:
    assert choose_method(Model.COMPACT, Mode.PAPER, None, tmp_path) == Method(Model.COMPACT, Mode.PAPER)


def test_second_model_differs_from_first() -> None:
    with pytest.raises(EngineError, match="would be its own"):
        Method(Model.COMPACT, second=Model.COMPACT)


def test_only_what_is_there_and_accepted_is_offered(tmp_path: Path) -> None:
    assert list_methods(tmp_path) == (Method(),)
    assert [*list_lacking(tmp_path)] == [Model.AVHUBERT_LARGE, Model.AVHUBERT_BASE]
    put(tmp_path, "base", accepted=False)
    assert list_methods(tmp_path) == (Method(),)
    assert [error.code for error in list_lacking(tmp_path).values()] == ["WEIGHTS_MISSING", "LICENCE_NOT_ACCEPTED"]
    put(tmp_path, "base")
    assert list_methods(tmp_path) == (
        Method(),
        Method(second=Model.AVHUBERT_BASE),
        Method(Model.AVHUBERT_BASE),
        Method(Model.AVHUBERT_BASE, Mode.PAPER),
    )
    assert [*list_lacking(tmp_path)] == [Model.AVHUBERT_LARGE]


def test_every_method_has_a_title_of_its_own(tmp_path: Path) -> None:
    offered = list_methods(put(tmp_path, "base", "large"))
    assert len({method.title for method in offered}) == len(offered) == 7
    assert Method(second=Model.AVHUBERT_LARGE).title == "Compact, by time; second: AV-HuBERT LARGE"
