"""Start the app: `python -m webapp`. WAYSPEAK_HOST, WAYSPEAK_PORT and WAYSPEAK_WORKERS say where and with how many."""

from webapp.serving import main

if __name__ == "__main__":
    main()
