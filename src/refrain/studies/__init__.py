"""What is done to finished runs: compress them, probe them, report how sparse they are."""

from .compress import compress as compress
from .probing import probe as probe
