"""`python -m streamsr` is `streamsr`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
