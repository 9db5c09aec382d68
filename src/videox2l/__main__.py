"""`python -m videox2l` is the command line."""

from videox2l.cli import main

if __name__ == "__main__":
    main()
