"""Which method judges a clip: a model, a mode, and whether another model is heard beside it. Imports no torch."""

from dataclasses import dataclass
from pathlib import Path

from engine.consistency.model_specs import SPECS
from engine.errors import EngineError, LicenceNotAccepted, WeightsMissing
from engine.types import Mode, Model
from engine.weights import registry

TITLES = {model: spec.title for model, spec in SPECS.items()}


@dataclass(frozen=True, slots=True)
class Method:
    """What a person chooses; EngineError where a model would be its own second."""

    model: Model = Model.COMPACT
    mode: Mode = Mode.STRICT
    second: Model | None = None

    def __post_init__(self) -> None:
        if self.second == self.model:
            raise EngineError(
                f"The second opinion on {self.model} would be its own.", "Name another model, or none, as the second."
            )

    @property
    def models(self) -> tuple[Model, ...]:
        """Both, or the one."""
        return (self.model, self.second) if self.second else (self.model,)

    @property
    def title(self) -> str:
        """What a list of choices calls it."""
        mode = "as in the paper" if self.mode == Mode.PAPER else "by time"
        beside = f"; second: {TITLES[self.second]}" if self.second else ""
        return f"{TITLES[self.model]}, {mode}{beside}"


def choose_method(model: Model | None, mode: Mode, second: Model | None, data_dir: Path) -> Method:
    """Fill in the model that is not named: compact, and in paper mode the largest of its models that is there.

    Where paper mode finds none: WeightsMissing or LicenceNotAccepted, each with what to do.
    """
    if model is None:
        model = _find_paper_model(data_dir) if mode == Mode.PAPER else Model.COMPACT
    return Method(model, mode, second)


def list_methods(data_dir: Path) -> tuple[Method, ...]:
    """The methods whose weights are there and whose licence is accepted, the default first; nothing is hashed."""
    return (Method(), *(method for model in _find_optional(data_dir) for method in _methods_of(model)))


def list_lacking(data_dir: Path) -> dict[Model, EngineError]:
    """The models that are not there (WeightsMissing) or whose licence is not accepted (LicenceNotAccepted)."""
    lacking: dict[Model, EngineError] = {}
    there = _find_optional(data_dir)
    for model, spec in SPECS.items():
        if not spec.weight.is_optional or model in there:
            continue
        try:
            registry.locate_accepted(spec.weight, data_dir)
        except (WeightsMissing, LicenceNotAccepted) as error:
            lacking[model] = error
    return lacking


def _methods_of(model: Model) -> tuple[Method, ...]:
    paper = (Method(model, Mode.PAPER),) if SPECS[model].in_paper_mode else ()
    return (Method(second=model), Method(model), *paper)


def _find_optional(data_dir: Path) -> tuple[Model, ...]:
    """The models beyond the default that are there and whose licence is accepted."""
    return tuple(
        model
        for model, spec in SPECS.items()
        if spec.weight.is_optional and registry.is_accepted(spec.weight, data_dir)
    )


def _find_paper_model(data_dir: Path) -> Model:
    """Take the largest that is there and accepted; else say what is lacking: a licence rather than a file."""
    there = [model for model in _find_optional(data_dir) if SPECS[model].in_paper_mode]
    if there:
        return there[0]
    lacking = [error for model, error in list_lacking(data_dir).items() if SPECS[model].in_paper_mode]
    raise next((error for error in lacking if isinstance(error, LicenceNotAccepted)), lacking[0])
