"""Studies of finished runs: compress them, probe them, and report how sparse they are."""

from .compress import compress as compress
from .probing import probe as probe
