"""Start the app: `python -m webapp`. WAYSPEAK_HOST and WAYSPEAK_PORT say where it listens."""

import os
import signal
import sys
import tempfile

from engine.errors import EngineError
from engine.settings import Settings

HOST = "127.0.0.1"
PORT = 7860


def main() -> None:
    """Load the engine, build the page, serve it until interrupted; uploads go when the app ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that a stopped app, too, leaves no upload behind
    with tempfile.TemporaryDirectory(prefix="wayspeak-uploads-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)  # readable by this user alone
        serve(Settings.from_env())


def serve(settings: Settings) -> None:
    """Serve until interrupted; where the engine cannot load, end with what is missing and what to do."""
    from engine.pipeline import Engine
    from webapp.app import build_app, launch_settings
    from webapp.engines import Engines

    try:
        engines = Engines(Engine.load(settings), lambda method: Engine.load(settings, method))
    except EngineError as error:
        sys.exit(f"Wayspeak cannot start: {error.message}. {error.hint}")
    host, port = os.environ.get("WAYSPEAK_HOST", HOST), int(os.environ.get("WAYSPEAK_PORT", PORT))
    print(f"Wayspeak is at http://{host}:{port}/ (Ctrl-C ends it)", flush=True)
    try:
        build_app(engines, settings).launch(**launch_settings(settings, host, port))
    except OSError:
        sys.exit(f"Wayspeak cannot listen on {host}, port {port}. Choose another port: WAYSPEAK_PORT=7861 make run")


if __name__ == "__main__":
    main()
