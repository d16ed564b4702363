"""`python -m streamsr_trainer`."""

from streamsr_trainer.cli import main

if __name__ == "__main__":
    main()
