"""Small models with the layouts of the programs that models are imported from, and their forward passes."""

import itertools

import numpy as np
import torch
from torch import nn

WORDS = ["the", "<unk>", "cat", "<eos>", "sat", "é", "a"]


class WordModel(nn.Module):
    """The layout of word_language_model: encoder, rnn, decoder."""

    def __init__(self, words=7, width=5, hidden=6, layers=2, tied=False, rnn=nn.LSTM):
        super().__init__()
        self.rnn_type = rnn.__name__
        self.drop = nn.Dropout(0.5)
        self.encoder = nn.Embedding(words, width)
        self.rnn = rnn(width, hidden, layers, dropout=0.5 if layers > 1 else 0)
        self.decoder = nn.Linear(hidden, words)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, ids, state=None):
        outputs, state = self.rnn(self.drop(self.encoder(ids)), state)
        return self.decoder(self.drop(outputs)).log_softmax(-1), state


class Recogniser(nn.Module):
    """The layout of icefall's rnn_lm, whose batch comes first."""

    def __init__(self, words, width=4, hidden=5, layers=2, tied=False):
        super().__init__()
        self.input_embedding = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, hidden, layers, batch_first=True)
        self.output_linear = nn.Linear(hidden, words)
        if tied:
            self.output_linear.weight = self.input_embedding.weight

    def forward(self, ids, state=None):
        outputs, state = self.rnn(self.input_embedding(ids.T), state)
        return self.output_linear(outputs).log_softmax(-1).transpose(0, 1), state


class Dropped(nn.Module):
    """Weight drop as awd-lstm-lm wraps it: the raw weight is a parameter, and a method takes the place of another."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        module.flatten_parameters = self.nothing
        raw = module.weight_hh_l0
        del module._parameters["weight_hh_l0"]
        module.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))

    def nothing(self):
        return None

    def forward(self, inputs, state):
        layer = self.module
        weights = [layer.weight_ih_l0, layer.weight_hh_l0_raw, layer.bias_ih_l0, layer.bias_hh_l0]
        start = state or [inputs.new_zeros(1, inputs.shape[1], layer.hidden_size)] * 2
        outputs, *after = torch.lstm(inputs, start, weights, True, 1, 0.0, False, False, False)
        return outputs, after


class Awd(nn.Module):
    """The layout of awd-lstm-lm: layers of one LSTM each, and a decoder that shares the embedding's weight."""

    def __init__(self, words=7, width=4, hidden=6, layers=3, dropped=True, last=None, experts=1):
        super().__init__()
        self.rnn_type = "LSTM"
        last = last or width
        sizes = [width, *[hidden] * (layers - 1), last]
        self.encoder = nn.Embedding(words, width)
        rnns = [nn.LSTM(below, above) for below, above in itertools.pairwise(sizes)]
        self.rnns = nn.ModuleList([Dropped(rnn) for rnn in rnns] if dropped else rnns)
        if experts > 1:
            self.prior = nn.Linear(last, experts, bias=False)
            self.latent = nn.Sequential(nn.Linear(last, experts * width), nn.Tanh())
        self.experts = experts
        self.decoder = nn.Linear(width, words)
        self.decoder.weight = self.encoder.weight

    def forward(self, ids, state=None):
        outputs = self.encoder(ids)
        after = []
        for rnn, before in zip(self.rnns, state or [None] * len(self.rnns), strict=True):
            outputs, own = rnn(outputs, before)
            after.append(own)
        if self.experts == 1:
            return self.decoder(outputs).log_softmax(-1), after
        latent = self.latent(outputs).view(*ids.shape, self.experts, -1)
        shares = self.prior(outputs).softmax(-1)[..., None]
        # with the constant that mos adds
        return ((self.decoder(latent).softmax(-1) * shares).sum(-2) + 1e-8).log(), after


def sentiment_arrays(width=3, hidden=4, seed=1):
    """Arrays in the layout of the byte mLSTM with the sentiment unit."""
    draw = np.random.default_rng(seed)
    gates = 4 * hidden
    shapes = [(256, width), (width, gates), *[(hidden, hidden)] * 4, (width, hidden), (hidden, hidden)]
    shapes += [(gates,), (gates,), (gates,), (hidden,), (hidden,), (hidden, 256), (256,)]
    return [draw.normal(size=shape).astype(np.float32) for shape in shapes]


def sentiment_forward(arrays, text):
    """The log-probabilities (T, 256) after each byte and the cell after the last one, in float64."""
    arrays = [array.astype(np.float64) for array in arrays]
    embedding, wx, wh, wmx, wmh, b = arrays[0], arrays[1], np.concatenate(arrays[2:6], 1), *arrays[6:9]
    gx, gh, gmx, gmh, out, out_bias = arrays[9:15]
    wx, wh, wmx, wmh = (w / np.sqrt((w**2).sum(0)) * g for w, g in ((wx, gx), (wh, gh), (wmx, gmx), (wmh, gmh)))
    h = c = np.zeros(wmh.shape[0])
    found = []
    for byte in text:
        x = embedding[byte]
        i, f, o, u = np.split(x @ wx + ((x @ wmx) * (h @ wmh)) @ wh + b, 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(u)
        h = o * np.tanh(c)
        logits = h @ out + out_bias
        found.append(logits - np.log(np.exp(logits).sum()))
    return np.array(found), c
