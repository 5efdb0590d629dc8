"""What the two formats for sherpa-onnx have in common: how tokens are read, and the metadata."""

import numpy as np

from .onnx_nodes import Nodes
from .recogniser_tokens import TokenIds


def add_ids(nodes: Nodes, tokens: str, ids: TokenIds) -> str:
    """Add the node that turns tokens of the recogniser, of any shape, into the model's, and return its output."""
    if not ids.renames:
        return tokens
    table = nodes.constant("tokens.table", np.append(ids.read, ids.read_line_end))
    return nodes.add("Gather", [table, tokens])[0]


def sherpa_metadata(ids: TokenIds, comment: str) -> dict[str, str]:
    """The metadata that icefall writes into such files, whole numbers in decimal digits."""
    return {
        "model_type": "rnnlm",
        "version": "1",
        "model_author": "refrain",
        "comment": comment,
        "sos_id": str(ids.line_end),
        "eos_id": str(ids.line_end),
        "vocab_size": str(len(ids.read)),
    }
