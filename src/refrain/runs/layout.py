"""The layout of predefined sparseness: the plans of sparse layers and the bands of a sparse embedding."""

from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from refrain.data import Corpus, TaggedCorpus
from refrain.nn import SparseEmbedding, SparseLSTM, SparsePlan
from refrain.pictures.layout import layout_picture


def sparse_plans(model: nn.Module) -> dict[str, SparsePlan]:
    """The plan of each sparse layer of a model, by the name of the layer."""
    return {name: part.plan for name, part in model.named_modules() if isinstance(part, SparseLSTM)}


def frequency_bands(model: nn.Module, corpus: Corpus | TaggedCorpus) -> list[dict[str, Any]]:
    """Count the words with embedding vectors of each width, from the narrowest to the widest.

    Args:
        model: a language model or a tagger.
        corpus: the corpus, whose training text is counted.

    Returns:
        For each width `start`, the first id; `words`, the number of words; `width`, the number of entries of their
        vectors; and `share`, their share of the training text. The list is empty if the embedding is dense.
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
    """Draw the layout of a model as PNG.

    Args:
        name: the name of the recipe.
        model: a language model or a tagger.
        corpus: the corpus, whose training text is counted.

    Raises:
        UserError: when nothing is sparse, or matplotlib is not installed.
    """
    return layout_picture(frequency_bands(model, corpus), sparse_plans(model), f"{name} on {corpus.name}")
