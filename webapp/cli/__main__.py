"""Run the command line as `python -m webapp.cli`, for worker processes and `torchrun`."""

from webapp.cli.main import main

if __name__ == "__main__":
    main()
