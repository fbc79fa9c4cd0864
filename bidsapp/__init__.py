"""What the user types and what the study gets: command line, run, group and report."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("brainseg-bids")
except PackageNotFoundError:
    __version__ = "0+unknown"
