"""Every part to which the laws of its kind apply. A new part is added here in the change that adds it."""

import torch

from refrain.models import LanguageModel, Tagger
from refrain.nn import (
    GRU,
    LSTM,
    AdaptiveHead,
    Bidirectional,
    BlockLowRankEmbedding,
    BlockLowRankHead,
    CharacterFeatures,
    ConditionalRandomField,
    Embedding,
    LowRankBand,
    LowRankHead,
    LSTMState,
    MixtureHead,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    SparseEmbedding,
    SparseLSTM,
    SparseSoftmaxHead,
    gru_step,
    lstm_step,
    multiplicative_lstm_step,
    plan_bands,
    plan_blocks,
)

T, B, I, H, V = 7, 3, 5, 4, 11  # noqa: E741 - odd and all different, so that a mixed-up axis cannot go unseen

RECURRENT = {
    "LSTM": lambda: LSTM(I, H),
    "GRU": lambda: GRU(I, H),
    "GRU, two biases": lambda: GRU(I, H, recurrent_bias=True),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(I, H, intermediate_size=6),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(I, H, blocks=3, density=0.5)),
}


def lstm_reference(layer):
    """The step of a layer, as a function of one input and a state."""
    return lambda x, state: lstm_step(x, state, layer.weight_ih, layer.weight_hh, layer.bias)


def gru_reference(layer):
    """The step of a layer, as a function of one input and a state."""
    return lambda x, state: gru_step(x, state, layer.weight_ih, layer.weight_hh, layer.bias, layer.bias_hn)


def multiplicative_lstm_reference(layer):
    """The step of a layer, as a function of one input and a state."""
    weights = layer.weight_im, layer.weight_hm, layer.weight_ih, layer.weight_mh, layer.bias
    return lambda x, state: multiplicative_lstm_step(x, state, *weights)


def sparse_lstm_reference(layer):
    """One block after another, each an LSTM on its part of the input."""

    def step(x, state):
        parts, first = [], 0
        for lstm, (begin, end, units) in zip(layer.blocks, layer.plan.blocks, strict=True):
            own = LSTMState(*(part[:, first : first + units] for part in state))
            parts.append(lstm_step(x[:, begin:end], own, lstm.weight_ih, lstm.weight_hh, lstm.bias))
            first += units
        hidden = torch.cat([output for output, _ in parts], dim=-1)
        return hidden, LSTMState(hidden, torch.cat([after.cell for _, after in parts], dim=-1))

    return step


STEPS = {
    "LSTM": lstm_reference,
    "GRU": gru_reference,
    "GRU, two biases": gru_reference,
    "MultiplicativeLSTM": multiplicative_lstm_reference,
    "SparseLSTM": sparse_lstm_reference,
}


def sparse_embedding(vocabulary=V, width=H):
    return SparseEmbedding(vocabulary, plan_bands(vocabulary, width, blocks=2, density=0.7))


BANDS = (LowRankBand(0, None), LowRankBand(3, 2), LowRankBand(7, 1))


def banded(width, bands=BANDS):
    return BlockLowRankEmbedding(V, width, bands)


HEADS = {
    "SparseSoftmaxHead": lambda: SparseSoftmaxHead(sparse_embedding()),
    "SoftmaxHead": lambda: SoftmaxHead(H, V),
    "SoftmaxHead, tied": lambda: SoftmaxHead(H, V, weight=Embedding(V, H).weight),
    "LowRankHead": lambda: LowRankHead(H, 3, V),
    "LowRankHead, tied": lambda: LowRankHead(H, 3, V, weight=Embedding(V, 3).weight),
    "BlockLowRankHead": lambda: BlockLowRankHead(H, V, BANDS),
    "BlockLowRankHead, tied": lambda: BlockLowRankHead(H, V, BANDS, embedding=banded(H)),
    "MixtureHead": lambda: MixtureHead(H, I, V, components=3),
    "MixtureHead, tied": lambda: MixtureHead(H, I, V, components=2, weight=Embedding(V, I).weight),
    "AdaptiveHead": lambda: AdaptiveHead(H, V, cutoffs=[4, 7], division=2.0),
}

# each takes the sizes of its widths, so that a law can build the same model with one unit less


def argument(width):
    """The argument of these functions that holds the size of a width."""
    return width.removesuffix(".hidden").replace(".", "_")


def untied(embedding=I, layer0=H, layer1=6, vocabulary=V):
    return LanguageModel(
        Embedding(vocabulary, embedding),
        RecurrentStack([LSTM(embedding, layer0), LSTM(layer0, layer1)]),
        SoftmaxHead(layer1, vocabulary),
    )


def tied(embedding=I, layer0=H, vocabulary=V):
    words = Embedding(vocabulary, embedding)
    stack = RecurrentStack([LSTM(embedding, layer0), LSTM(layer0, embedding)])
    return LanguageModel(words, stack, SoftmaxHead(embedding, vocabulary, weight=words.weight))


def gru(embedding=I, layer0=H, layer1=6):
    stack = RecurrentStack([GRU(embedding, layer0), GRU(layer0, layer1)])
    return LanguageModel(Embedding(V, embedding), stack, SoftmaxHead(layer1, V))


def gru_two_biases(embedding=I, layer0=H, layer1=6):
    layers = [GRU(embedding, layer0, recurrent_bias=True), GRU(layer0, layer1, recurrent_bias=True)]
    return LanguageModel(Embedding(V, embedding), RecurrentStack(layers), SoftmaxHead(layer1, V))


def multiplicative(embedding=I, layer0=H, layer0_intermediate=6, layer1=6, layer1_intermediate=6):
    layers = [
        MultiplicativeLSTM(embedding, layer0, intermediate_size=layer0_intermediate),
        MultiplicativeLSTM(layer0, layer1, intermediate_size=layer1_intermediate),
    ]
    return LanguageModel(Embedding(V, embedding), RecurrentStack(layers), SoftmaxHead(layer1, V))


def mixture(embedding=I, layer0=H, head_embedding=6, head_components=3):
    stack = RecurrentStack([LSTM(embedding, layer0)])
    head = MixtureHead(layer0, head_embedding, V, components=head_components)
    return LanguageModel(Embedding(V, embedding), stack, head)


def low_rank(embedding=I, layer0=H, head_rank=3):
    head = LowRankHead(layer0, head_rank, V)
    return LanguageModel(Embedding(V, embedding), RecurrentStack([LSTM(embedding, layer0)]), head)


def tied_low_rank(embedding=3, layer0=H):
    words = Embedding(V, embedding)
    head = LowRankHead(layer0, embedding, V, weight=words.weight)
    return LanguageModel(words, RecurrentStack([LSTM(embedding, layer0)]), head)


def tied_mixture(embedding=I, layer0=H, head_components=3):
    words = Embedding(V, embedding)
    head = MixtureHead(layer0, embedding, V, components=head_components, weight=words.weight)
    return LanguageModel(words, RecurrentStack([LSTM(embedding, layer0)]), head)


def tied_multiplicative(embedding=I, layer0=H, layer0_intermediate=6, embedding_intermediate=7):
    words = Embedding(V, embedding)
    layers = [
        MultiplicativeLSTM(embedding, layer0, intermediate_size=layer0_intermediate),
        MultiplicativeLSTM(layer0, embedding, intermediate_size=embedding_intermediate),
    ]
    return LanguageModel(words, RecurrentStack(layers), SoftmaxHead(embedding, V, weight=words.weight))


def adaptive(embedding=I, layer0=8):
    head = AdaptiveHead(layer0, V, cutoffs=[4, 7], division=2.0)
    return LanguageModel(Embedding(V, embedding), RecurrentStack([LSTM(embedding, layer0)]), head)


MODELS = {
    "untied": untied,
    "tied": tied,
    "gru": gru,
    "gru, two biases": gru_two_biases,
    "multiplicative": multiplicative,
    "mixture": mixture,
    "mixture, tied": tied_mixture,
    "low rank": low_rank,
    "low rank, tied": tied_low_rank,
}

UNLIKE = {"multiplicative, tied": tied_multiplicative, "adaptive": adaptive}
"""Models for the laws of widths alone: a width of theirs has an unusual name, or allows no unit to be removed."""


def sparse_tied():
    words = sparse_embedding(V, I)
    layers = [
        SparseLSTM(plan_blocks(I, 6, blocks=2, density=0.7)),
        SparseLSTM(plan_blocks(6, I, blocks=3, density=0.5)),
    ]
    return LanguageModel(words, RecurrentStack(layers), SparseSoftmaxHead(words))


def sparse_untied():
    layers = [SparseLSTM(plan_blocks(I, 6, blocks=2, density=1.0)), LSTM(6, H)]
    return LanguageModel(sparse_embedding(V, I), RecurrentStack(layers), SoftmaxHead(H, V))


def bands_untied():
    head = BlockLowRankHead(6, V, (LowRankBand(0, 4), LowRankBand(5, None)))
    return LanguageModel(banded(I), RecurrentStack([LSTM(I, H), LSTM(H, 6)]), head)


def bands_tied():
    words = banded(I)
    head = BlockLowRankHead(I, V, BANDS, embedding=words)
    return LanguageModel(words, RecurrentStack([LSTM(I, H), LSTM(H, I)]), head)


def bands_tied_of_ranks():
    """Embedding and last layer have different widths, so that only the rows of ranks can be shared."""
    bands = (LowRankBand(0, 4), LowRankBand(3, 2))
    words = banded(I, bands)
    head = BlockLowRankHead(6, V, bands, embedding=words)
    return LanguageModel(words, RecurrentStack([LSTM(I, H), LSTM(H, 6)]), head)


SEGMENTED = {
    "sparse, tied": sparse_tied,
    "sparse, untied": sparse_untied,
    "bands, untied": bands_untied,
    "bands, tied": bands_tied,
    "bands, tied, of ranks": bands_tied_of_ranks,
}
"""Models in which some axes run along a part of a width: a width with another size needs another plan."""


def tagger(embedding=I, layer0=H):
    return Tagger(Embedding(V, embedding), [Bidirectional(LSTM(embedding, layer0), LSTM(embedding, layer0))], 3)


def deep_tagger(embedding=I, layer0=H, layer1=6, projection=3):
    below = ((embedding, layer0), (2 * layer0, layer1))
    return Tagger(
        Embedding(V, embedding),
        [Bidirectional(GRU(*sizes), GRU(*sizes)) for sizes in below],
        7,
        features=CharacterFeatures(V, embedding),
        projection_size=projection,
    )


def sparse_tagger(layer0=H):
    words = sparse_embedding(V, I)
    return Tagger(words, [Bidirectional(LSTM(I, layer0), LSTM(I, layer0))], 3)


def random_field_tagger(embedding=I, layer0=H):
    layers = [Bidirectional(LSTM(embedding, layer0), LSTM(embedding, layer0))]
    return Tagger(Embedding(V, embedding), layers, 3, crf=ConditionalRandomField(3))


def skipping_tagger(embedding=I, layer0=H, projection=6):
    return Tagger(
        Embedding(V, embedding),
        [Bidirectional(LSTM(embedding, layer0), LSTM(embedding, layer0))],
        3,
        features=CharacterFeatures(V, embedding),
        projection_size=projection,
        skip_connection=True,
    )


TAGGERS = {
    "plain": tagger,
    "two layers, features, projection": deep_tagger,
    "sparse embedding": sparse_tagger,
    "conditional random field": random_field_tagger,
    "skip connection": skipping_tagger,
}
