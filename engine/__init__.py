"""Engine of Wayspeak: media -> faces and speech -> features -> scores -> calibration -> report."""

from engine.errors import EngineError
from engine.types import Analysis, Reason, Status

__all__ = ["Analysis", "EngineError", "Reason", "Status"]
