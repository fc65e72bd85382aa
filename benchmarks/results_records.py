"""What `benchmarks.results` keeps of a measurement."""

from dataclasses import dataclass

from engine.evaluation.results import ConsistencyResults, OffsetResults
from engine.evaluation.robustness import RobustnessReport


@dataclass(frozen=True, slots=True)
class Subset:
    """The real clips that a part is about."""

    n_clips: int = 0
    n_people: int = 0
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was measured; None and nothing where it was not."""

    manifest_sha256: str = ""
    recipe: str = ""  # of the network that the judging ones stand in for
    dubbed: ConsistencyResults | None = None  # against swapped voices
    dubbed_of: Subset = Subset()
    offsets: OffsetResults | None = None  # planted
    forged: ConsistencyResults | None = None  # against forged clips of 3 s or more
    forged_of: Subset = Subset()
    forged_short: ConsistencyResults | None = None  # the first 2 s of all
    forged_short_of: Subset = Subset()
    picture: RobustnessReport | None = None  # made worse
    sound: RobustnessReport | None = None
    longer: RobustnessReport | None = None  # sound made worse in clips with speech enough to be judged
