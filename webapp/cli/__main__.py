"""Run the command line as `python -m webapp.cli`, for a worker process and for `torchrun`."""

from webapp.cli.main import main

if __name__ == "__main__":
    main()
