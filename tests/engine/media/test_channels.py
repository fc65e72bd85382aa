"""Downmixing, and tracks that it would spoil: cancelling channels, and channels with sound of their own."""

import numpy as np
import pytest

from engine.media.channels import ChannelMeter, downmix

RATE = 16_000


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (("FC",), (1.0,)),
        (("LFE",), (1.0,)),  # the only channel there is
        (("FL", "FR"), (0.5, 0.5)),
        (("FL", "FR", "FC", "LFE", "BL", "BR"), (0.2071, 0.2071, 0.2929, 0.0, 0.1464, 0.1464)),
    ],
)
def test_channels_are_averaged_by_their_weights(names: tuple[str, ...], weights: tuple[float, ...]) -> None:
    assert downmix(np.eye(len(names), dtype=np.float32), names) == pytest.approx(np.array(weights), abs=1e-4)


def test_one_channel_is_taken_by_its_name() -> None:
    channels = np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    assert np.array_equal(downmix(channels, ("FL", "FR"), "FR"), channels[1])


def speak(seed: int, seconds: float = 6.0) -> np.ndarray:
    """Noise with the envelope of syllables and pauses."""
    rng = np.random.default_rng(seed)
    envelope = np.repeat(rng.uniform(0, 1, int(seconds * 5)) ** 3, RATE // 5)
    return (0.2 * envelope * rng.normal(size=len(envelope))).astype(np.float32)


def measure(*channels: np.ndarray, names: tuple[str, ...] = ("FL", "FR")) -> ChannelMeter:
    meter = ChannelMeter()
    for piece in np.array_split(np.stack(channels), 7, axis=1):
        meter.add(piece, names, RATE)
    return meter


def test_a_track_of_one_signal_is_mixed() -> None:
    left, echo = speak(1), np.roll(speak(1), 160) * 0.7
    for other in (left, 0.2 * left, echo, np.zeros_like(left), 1e-5 * speak(2)):
        meter = measure(left, other)
        assert not meter.cancels()
        assert meter.find_differing() == ()


@pytest.mark.parametrize("share", [1.0, 0.7])
def test_channels_of_opposite_polarity_cancel(share: float) -> None:
    meter = measure(share * speak(1), -speak(1))
    assert meter.cancels()
    assert meter.find_loudest() == ("FL" if share == 1.0 else "FR")


def test_channels_that_cancel_in_a_part_of_the_track_cancel() -> None:
    left = speak(1)
    assert measure(left, left * np.where(np.arange(len(left)) > len(left) / 2, -1, 1)).cancels()


def test_two_voices_on_two_channels_differ() -> None:
    assert measure(speak(1), speak(2)).find_differing() == ("FL", "FR")
    assert measure(speak(1), 0.2 * speak(2) + 0.02 * speak(1)).find_differing() == ("FL", "FR")
    assert not measure(speak(1), speak(2)).cancels()


def test_effects_around_a_centre_channel_do_not_count() -> None:
    assert measure(speak(1), speak(2), speak(3), names=("FL", "FR", "FC")).find_differing() == ()


def test_an_empty_track_has_one_signal() -> None:
    assert (ChannelMeter().cancels(), ChannelMeter().find_differing()) == (False, ())
