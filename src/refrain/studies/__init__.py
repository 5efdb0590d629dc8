"""Studies of finished runs: compress them, probe them, and report how sparse they are."""

from .compress import compress as compress
from .compress_tagger import compress_tagger as compress_tagger
from .probing import probe as probe
