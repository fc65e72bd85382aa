"""Method of an analysis: model, mode and optional second model, without importing torch."""

from dataclasses import dataclass
from pathlib import Path

from engine.consistency.model_specs import SPECS
from engine.errors import EngineError, LicenceNotAccepted, WeightsMissing
from engine.types import Mode, Model
from engine.weights import registry

TITLES = {model: spec.title for model, spec in SPECS.items()}


@dataclass(frozen=True, slots=True)
class Method:
    """Model, mode and second model; EngineError where the second is the first."""

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
        """The model, then the second one if any."""
        return (self.model, self.second) if self.second else (self.model,)

    @property
    def title(self) -> str:
        """Name in a list of methods."""
        mode = "as in the paper" if self.mode == Mode.PAPER else "by time"
        second = f"; second: {TITLES[self.second]}" if self.second else ""
        return f"{TITLES[self.model]}, {mode}{second}"


def choose_method(model: Model | None, mode: Mode, second: Model | None, data_dir: Path) -> Method:
    """Fill in a missing model: compact, or in paper mode the largest SpeechForensics model with accepted weights.

    WeightsMissing or LicenceNotAccepted, with the next step, where paper mode has no model.
    """
    if model is None:
        model = _find_paper_model(data_dir) if mode == Mode.PAPER else Model.COMPACT
    return Method(model, mode, second)


def list_methods(data_dir: Path) -> tuple[Method, ...]:
    """List the methods with weights present and licence accepted, the default first, without hashing the weights."""
    return (Method(), *(method for model in _find_optional(data_dir) for method in _methods_of(model)))


def list_lacking(data_dir: Path) -> dict[Model, EngineError]:
    """Map each unavailable model to its cause: WeightsMissing or LicenceNotAccepted."""
    lacking: dict[Model, EngineError] = {}
    available = _find_optional(data_dir)
    for model, spec in SPECS.items():
        if not spec.weight.is_optional or model in available:
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
    """List the optional models with weights present and licence accepted."""
    return tuple(
        model
        for model, spec in SPECS.items()
        if spec.weight.is_optional and registry.is_accepted(spec.weight, data_dir)
    )


def _find_paper_model(data_dir: Path) -> Model:
    """Return the largest available model of paper mode; else raise its cause, a licence before a file."""
    available = [model for model in _find_optional(data_dir) if SPECS[model].in_paper_mode]
    if available:
        return available[0]
    lacking = [error for model, error in list_lacking(data_dir).items() if SPECS[model].in_paper_mode]
    raise next((error for error in lacking if isinstance(error, LicenceNotAccepted)), lacking[0])
