"""Mix the channels of an audio track, and find tracks for which the mean of the channels is the wrong mix."""

import math
from dataclasses import dataclass, field

import numpy as np

# ITU-R BS.775: front channels weigh more than surround ones; low-frequency effects are dropped.
SIDE_WEIGHT, SURROUND_WEIGHT = math.sqrt(0.5), 0.5
CHANNEL_WEIGHTS = {"FC": 1.0, "FL": SIDE_WEIGHT, "FR": SIDE_WEIGHT, "LFE": 0.0, "LFE2": 0.0}
MIX = "mix"  # the name of the downmix among the channels of a track

BLOCKS_PER_S = 50
SILENT_SHARE = 1e-3  # of the power of the loudest channel
ACTIVE_SHARE = 0.01  # of the power of a loud second
CANCELLED = 0.3  # power of the mix over that of uncorrelated channels
CANCELLED_S_SHARE = 0.2  # of the active seconds
EQUAL_SHARE = 0.8  # of the power of the loudest channel
DIFFERENT = 0.5  # correlation of the envelopes of two channels below which they hold different sound


def weigh_channels(names: tuple[str, ...]) -> np.ndarray:
    """Return the weight of each channel in the downmix, (C,) float32 with sum 1.

    `names` are those of FFmpeg: FL, FR, FC, LFE, BL, BR, SL, SR ... A single or unnamed channel counts as a front one.
    """
    weights = np.array([CHANNEL_WEIGHTS.get(name, SURROUND_WEIGHT) for name in names], np.float32)
    if len(names) == 1 or weights.sum() == 0:
        weights = np.ones(len(names), np.float32)
    normalised: np.ndarray = weights / weights.sum()
    return normalised


def downmix(channels: np.ndarray, names: tuple[str, ...], channel: str = MIX) -> np.ndarray:
    """Mix (C, n) float32 to (n,): the weighted mean, which never exceeds full scale, or one channel by its name."""
    if channel in names:
        one: np.ndarray = channels[names.index(channel)]
        return one
    mono: np.ndarray = weigh_channels(names) @ channels
    return mono


@dataclass(slots=True, eq=False)
class ChannelMeter:
    """Power of each channel and of their mix in blocks of 20 ms, over a whole track."""

    names: tuple[str, ...] = ()
    _channels: list[np.ndarray] = field(default_factory=list)
    _mix: list[np.ndarray] = field(default_factory=list)

    def add(self, channels: np.ndarray, names: tuple[str, ...], rate_hz: int) -> None:
        """Add samples (C, n) of a track; only those of its first channel layout count."""
        self.names = self.names or names
        size = rate_hz // BLOCKS_PER_S
        n_blocks = channels.shape[1] // size
        if names != self.names or len(names) < 2 or not n_blocks:
            return
        blocks = channels[:, : n_blocks * size].reshape(len(names), n_blocks, size)
        self._channels.append(np.square(blocks).mean(2))
        self._mix.append(np.square(np.tensordot(weigh_channels(names), blocks, 1)).mean(1))

    def cancels(self) -> bool:
        """Return True where the channels cancel each other in their mix: one of them has the wrong polarity."""
        if not self._channels:
            return False
        power, mix = np.concatenate(self._channels, axis=1), np.concatenate(self._mix)
        n_seconds = len(mix) // BLOCKS_PER_S
        if not n_seconds or len(self._find_live(power)) < 2:
            return False
        seconds = power[:, : n_seconds * BLOCKS_PER_S].reshape(len(power), n_seconds, -1).mean(2)
        expected = np.square(weigh_channels(self.names)) @ seconds
        mixed = mix[: n_seconds * BLOCKS_PER_S].reshape(n_seconds, -1).mean(1)
        active = expected > ACTIVE_SHARE * np.quantile(expected, 0.95)
        return bool(active.any() and (mixed < CANCELLED * expected)[active].mean() > CANCELLED_S_SHARE)

    def find_differing(self) -> tuple[str, ...]:
        """Return the channels that hold sound of their own: two microphones, two languages; empty for one signal.

        A layout with a centre channel holds speech there, and effects around it.
        """
        if not self._channels or "FC" in self.names:
            return ()
        power = np.concatenate(self._channels, axis=1)
        live = self._find_live(power)
        if len(live) < 2:
            return ()
        envelopes = np.sqrt(power[live])
        loud = envelopes.max(0) > math.sqrt(ACTIVE_SHARE) * np.quantile(envelopes, 0.95)
        if loud.sum() < BLOCKS_PER_S:
            return ()
        alike = np.corrcoef(envelopes[:, loud])
        return tuple(self.names[i] for i in live) if np.nan_to_num(alike, nan=1.0).min() < DIFFERENT else ()

    def find_loudest(self) -> str:
        """Return the channel with the most power, the first of nearly equal ones."""
        power = np.concatenate(self._channels, axis=1).mean(1)
        return self.names[int(np.argmax(power >= EQUAL_SHARE * power.max()))]

    def _find_live(self, power: np.ndarray) -> list[int]:
        mean = power.mean(1)
        weights = weigh_channels(self.names)
        return [i for i in range(len(mean)) if weights[i] > 0 and mean[i] > max(SILENT_SHARE * mean.max(), 1e-12)]
