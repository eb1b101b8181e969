"""``python -m monosemy``: the command line."""

from monosemy.cli import main

if __name__ == "__main__":
    main()
