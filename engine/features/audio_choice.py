"""Choose the audio of a clip to judge: the track that holds speech, and its channels one by one where they differ."""

from dataclasses import dataclass, replace

from engine.speech.vad import VoiceDetector
from engine.types import FPS, AudioSignal, AudioTrack, Clip

SPEECH_SHARE = 0.5  # of the speech of the track with most of it: tracks with so much are equal, and preference decides
CHANNEL_SHARE = 0.25  # of the speech of the channel with most of it: channels with less are not judged


@dataclass(frozen=True, slots=True, eq=False)
class ChosenAudio:
    """The clip with the chosen audio, and further channels to judge apart."""

    clip: Clip
    others: tuple[AudioSignal, ...] = ()


def choose_audio(clip: Clip, voice: VoiceDetector) -> ChosenAudio:
    """Replace the audio of the clip by that of the track with speech; the preferred one where several have it.

    Where the channels of that track cancel or hold different sound, the audio is one channel, and `others` are the
    other channels with speech.
    """
    read_channel = clip.read_channel
    if not clip.signals or read_channel is None:
        return ChosenAudio(clip)
    signal = clip.signals[0]
    if len(clip.signals) > 1:
        speech_s = {one.track: _measure_speech(one, voice) for one in clip.signals}
        least_s = SPEECH_SHARE * max(speech_s.values())
        signal = next(one for one in clip.signals if speech_s[one.track] >= least_s)
        clip = replace(clip, media=replace(clip.media, audio_tracks=_note_speech(clip, speech_s)))
    channels = clip.split.get(signal.track, ())
    if channels and signal.channel not in channels:
        return _choose_channels(clip, [read_channel(signal.track, channel) for channel in channels], voice)
    return ChosenAudio(_take(clip, signal))


def _choose_channels(clip: Clip, signals: list[AudioSignal], voice: VoiceDetector) -> ChosenAudio:
    """Keep the channels with speech, the one with most of it first."""
    speech_s = [_measure_speech(signal, voice) for signal in signals]
    ranked = sorted(range(len(signals)), key=lambda i: -speech_s[i])
    kept = [signals[i] for i in ranked if speech_s[i] >= CHANNEL_SHARE * max(speech_s)]
    return ChosenAudio(_take(clip, kept[0]), tuple(kept[1:]))


def _take(clip: Clip, signal: AudioSignal) -> Clip:
    media = replace(clip.media, audio_track=signal.track, channel=signal.channel)
    has_audio = bool(signal.present.any())
    return replace(clip, audio=signal.samples, audio_present=signal.present, media=media, has_audio=has_audio)


def _measure_speech(signal: AudioSignal, voice: VoiceDetector) -> float:
    """Return the seconds of speech."""
    return float((voice.find_speech(signal.samples) & signal.present).sum()) / FPS


def _note_speech(clip: Clip, speech_s: dict[int, float]) -> tuple[AudioTrack, ...]:
    return tuple(replace(track, speech_s=speech_s.get(track.number)) for track in clip.media.audio_tracks)
