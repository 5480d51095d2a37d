"""`python -m dkpvid` is the same as `dkpvid`."""

from dkpvid.cli import main

if __name__ == "__main__":
    main()
