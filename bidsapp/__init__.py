"""User interface: command line, settings, dataset selection, execution, reports and hand-off."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("brainseg-bids")
except PackageNotFoundError:
    __version__ = "0+unknown"
