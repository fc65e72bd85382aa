"""Process that reads Content Credentials: `python -m webapp.bundle.c2pa_child FD KIND PARENT`.

It loads the library, then drops everything but memory, threads and the open files, then reads the file.
"""

import io
import json
import sys
from typing import Any

import c2pa

from engine.media.sandbox.confine import confine_worker, die_with_parent, leave_network
from engine.settings import MediaLimits

NO_NETWORK = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
STATES = {"valid", "invalid", "trusted"}


def main(media: int, kind: str, parent: int) -> None:
    """Read limits from standard input and write the result to standard output."""
    limits = MediaLimits(**json.load(sys.stdin))
    with c2pa.Settings.from_dict(NO_NETWORK) as settings, c2pa.Context(settings) as context:
        die_with_parent(parent)
        leave_network()
        confine_worker(limits)
        with io.FileIO(media) as file:
            fields = read_credentials(file, kind, context)
    sys.stdout.write(json.dumps(fields))


def read_credentials(file: io.FileIO, kind: str, context: Any) -> dict[str, str]:
    """Return state, signer and generator of the active manifest of an open file."""
    try:
        with c2pa.Reader(kind, file, context=context) as reader:
            state = str(reader.get_validation_state() or "").lower()
            report = json.loads(reader.json())
    except c2pa.C2paError as error:
        is_absent = "ManifestNotFound" in type(error).__name__ or str(error).startswith("ManifestNotFound")
        return {"state": "none" if is_absent else "invalid", "signer": "", "generator": ""}
    active = report.get("manifests", {}).get(report.get("active_manifest"), {})
    signature = active.get("signature_info") or {}
    makers = [str(one.get("name", "")) for one in active.get("claim_generator_info") or []]
    signer = str(signature.get("common_name") or signature.get("issuer") or "")
    return {"state": state if state in STATES else "invalid", "signer": signer, "generator": ", ".join(makers)}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
