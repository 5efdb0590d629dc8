"""What predefined sparseness makes of a model: its plans, and how the words of a corpus fall into its bands."""

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from refrain.data import Corpus, TaggedCorpus
from refrain.nn import SparseEmbedding, SparseLSTM, SparsePlan
from refrain.pictures.layout import layout_picture


def sparse_plans(model: nn.Module) -> dict[str, SparsePlan]:
    """The plans of a model's sparse layers, by the names of the layers."""
    return {name: part.plan for name, part in model.named_modules() if isinstance(part, SparseLSTM)}


def frequency_bands(model: nn.Module, corpus: Corpus | TaggedCorpus) -> list[dict[str, Any]]:
    """The words that have vectors of each length, shortest first; none where the embedding is dense.

    Args:
        model: a language model or a tagger.
        corpus: whose training text is counted.

    Returns:
        `start`, the first id; `words`, how many; `width`, the entries that they have; `share` of the training text.
    """
    embedding = model.embedding
    if not isinstance(embedding, SparseEmbedding):
        return []
    ids: NDArray[Any]
    if isinstance(corpus, TaggedCorpus):
        ids = corpus.vocabulary.encode(corpus.splits["train"].tokens)[:, 0]
    else:
        tokens = corpus.splits["train"].tokens
        ids = tokens.read(0, len(tokens))
    counts = np.bincount(ids, minlength=embedding.vocabulary_size)
    edges = [start for start, _ in embedding.bands] + [embedding.vocabulary_size]
    lengths = accumulate(width for _, width in embedding.bands)
    bands = [
        {"start": start, "words": end - start, "width": width, "share": float(counts[start:end].sum() / counts.sum())}
        for (start, end), width in zip(pairwise(edges), lengths, strict=True)
    ]
    return [band for band in bands if band["words"]]


def draw_layout(name: str, model: nn.Module, corpus: Corpus | TaggedCorpus) -> bytes:
    """The picture of a model's layout as PNG.

    Args:
        name: of the recipe.
        model: a language model or a tagger.
        corpus: whose training text is counted.

    Raises:
        UserError: when nothing is sparse, or matplotlib is not installed.
    """
    return layout_picture(frequency_bands(model, corpus), sparse_plans(model), f"{name} on {corpus.name}")
