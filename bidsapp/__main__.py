"""``python -m brainseg.bidsapp``: the same as ``brainseg-bids``."""

from .cli.bids import main

if __name__ == "__main__":
    raise SystemExit(main())
