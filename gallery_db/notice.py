"""What somebody is told before they consent to being enrolled; its version is kept with the consent."""

VERSION = "1"
TEXT = """\
Notice 1 to whoever is enrolled. From the clips that show you speaking Wayspeak computes numbers that tell how your face
moves, and keeps them with your name, a small picture of your face, the names and checksums of the files, and this
consent. They are used for the stated purpose alone: to compare them with other clips. They may count as biometric data.
They stay on this machine, are not sold or passed on, and are erased when the purpose is met or the term ends, three
years at most. You may see them, take them with you, and withdraw your consent at any time, without giving a reason:
they are erased then (`wayspeak forget`)."""
