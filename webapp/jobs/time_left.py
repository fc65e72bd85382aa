"""Estimate of the time until a job ends, from its progress so far."""

MIN_S = 5.0  # of progress, before there is an estimate
MIN_SHARE = 0.02
SMOOTHING_S = 20.0  # time constant: the estimated end follows a change of pace within about a minute


class TimeLeft:
    """Estimate the end of a job from its mean pace; single steps that are faster or slower move it little."""

    def __init__(self) -> None:
        self._began: tuple[float, float] | None = None  # time and share of the first progress
        self._last_s = 0.0
        self._end_s: float | None = None  # smoothed

    def update(self, now_s: float, share: float) -> float | None:
        """Return the estimated seconds left at a time on a steady clock; None while too little is known."""
        if self._began is None:
            self._began = (now_s, share)
        elapsed_s, done = now_s - self._began[0], share - self._began[1]
        if elapsed_s < MIN_S or done < MIN_SHARE:
            return None
        end_s = now_s + elapsed_s * max(1.0 - share, 0.0) / done
        if self._end_s is not None:
            step_s = now_s - self._last_s
            end_s = self._end_s + (end_s - self._end_s) * step_s / (SMOOTHING_S + step_s)
        self._last_s, self._end_s = now_s, end_s
        return max(end_s - now_s, 0.0)
