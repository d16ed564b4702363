"""`streamsr` and `python -m streamsr`: passwords leave the command line before anything else is loaded."""

from .live.command_line import hide_all_arguments


def main() -> int:
    """Run the command line and return its exit code."""
    hide_all_arguments()
    from .cli import main as run

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
