"""The one place that imports torchaudio: `from engine._torchaudio import torchaudio`.

The published torchaudio 2.11 wheel links its compiled extension against CUDA. Beside a CPU build of torch that
extension cannot be loaded, and the import fails as a whole although nearly everything in it is plain torch. Here the
extension is then declared absent, as in a torchaudio built without it. What needs it (`forced_align`, `rnnt_loss`, the
CUDA CTC decoder) is lost, the rest works. This leans on a private module name of torchaudio 2.11, the pinned and last
release.
"""

import functools
import sys
import types
from collections.abc import Callable
from typing import Any


def _refuse_alignment(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stands for torchaudio's own decorator of the same purpose, with a message that names the remedy."""

    @functools.wraps(function)
    def refuse(*_args: object, **_options: object) -> None:
        raise RuntimeError(
            f"torchaudio's {function.__name__} needs its compiled extension; install a CUDA build of torch"
        )

    return refuse


def _absent_extension() -> types.ModuleType:
    module = types.ModuleType("torchaudio._extension")
    module.__dict__.update(
        __path__=[],
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=_refuse_alignment,
    )
    return module


def _forget_partial_import() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        del sys.modules[name]


try:
    import torchaudio
except (OSError, RuntimeError):  # libraries of CUDA missing, or of another CUDA than torch's
    _forget_partial_import()
    sys.modules["torchaudio._extension"] = _absent_extension()
    import torchaudio

__all__ = ["torchaudio"]
