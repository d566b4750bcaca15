"""`python -m berty_core` is `berty`."""

from .cli.main import main

if __name__ == "__main__":
    main()
