"""Start the app: `python -m webapp`, configured by WAYSPEAK_HOST, WAYSPEAK_PORT and WAYSPEAK_WORKERS."""

from webapp.cli.main import load_command

if __name__ == "__main__":
    load_command("serve")(args=[], prog_name="python -m webapp")
