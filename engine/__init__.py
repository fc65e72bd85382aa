"""Wayspeak's engine: media -> faces -> crops and speech -> encoders -> scores -> report."""

from engine.errors import EngineError
from engine.types import Analysis, Reason, Status

__all__ = ["Analysis", "EngineError", "Reason", "Status"]
