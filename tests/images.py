"""What a Dockerfile says, read for the tests: its stages, and their instructions in order."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Stage:
    """One `FROM ... AS name` and what follows it."""

    name: str
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)  # instruction and its arguments on one line

    def list_words(self, instruction: str) -> list[str]:
        return [words for name, words in self.steps if name == instruction]


def read_stages() -> dict[str, Stage]:
    """Stages of the project's Dockerfile by name, in order."""
    lines = [line for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    stages: dict[str, Stage] = {}
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        instruction, _, words = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = words.partition(" AS ")
            stages[name] = Stage(name, base)
        elif instruction:
            list(stages.values())[-1].steps.append((instruction, words))
    return stages


def read_command(instruction: str) -> list[str]:
    """Return the arguments of a list-form instruction of the final image, after its options."""
    (words,) = read_stages()["runtime"].list_words(instruction)
    command: list[str] = json.loads(words[words.index("[") :])
    return command
