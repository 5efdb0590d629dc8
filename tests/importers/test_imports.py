"""Imported models compute what the programs they come from compute, states carried, and are ordinary runs."""

import hashlib
import json
import sys
import types

import numpy as np
import pytest
import torch
from layouts import WORDS, Awd, Recogniser, WordModel, sentiment_arrays, sentiment_forward
from safetensors.torch import save as to_bytes
from torch import nn
from torch_files import saved

import refrain
from refrain.errors import CheckpointError, UserError
from refrain.importers import FORMATS, import_model, torch_file
from refrain.importers.importing import READERS
from refrain.importers.tensors import tensors_of

TOLERANCE = 1e-5
IDS = torch.randint(len(WORDS), (13, 3), generator=torch.Generator().manual_seed(2))
VOCABULARY = "\n".join(WORDS) + "\n"


def equal(run, original, ids=IDS):
    """Compare log-probabilities over two windows with the state carried, and step by step."""
    lm = refrain.load(run, kind="language-model")
    original.eval()
    state, stepped, theirs = lm.model.initial_state(ids.shape[1]), lm.model.initial_state(ids.shape[1]), None
    with torch.no_grad():
        for window in ids.split(8):
            outputs, state = lm.model.hidden(window, state)
            wanted, theirs = original(window, theirs)
            found = lm.model.head.log_probabilities(outputs.dropped)
            assert (found - wanted).abs().max() < TOLERANCE
            for row, each in zip(window, wanted, strict=True):
                found, stepped = lm.model.step(row, stepped)
                assert (found - each).abs().max() < TOLERANCE
    return lm


@pytest.fixture
def model_and_words(write):
    """Writes a saved model and its vocabulary, and returns their paths."""

    def files(value, *, new=True, vocabulary=VOCABULARY):
        return [write("model.pt", saved(value, new=new)), write("vocab.txt", vocabulary)]

    return files


def test_every_format_has_a_reader():
    assert list(FORMATS) == list(READERS)


@pytest.mark.parametrize("new", [True, False])
def test_a_storage_that_tensors_share_is_read_once_and_not_kept(write, monkeypatch, new):
    """As `flatten_parameters` of a GPU saves the weights of an LSTM: each is a view of one buffer."""
    buffer = torch.arange(60.0)
    state = {"a": buffer[:12].view(4, 3), "b": buffer[12:60].view(8, 6).T, "c": torch.zeros(0, 3), "d": torch.ones(2)}
    read = []
    for form in (torch_file._Zip, torch_file._Legacy):

        def counted(self, storage, content=form.content):
            read.append(storage.key)
            return content(self, storage)

        monkeypatch.setattr(form, "content", counted)
    with tensors_of(write("model.pt", saved(state, new=new))) as tensors:
        found = {name: tensors.read(name, *shape) for name, shape in (("a", (4, 3)), ("b", (6, 8)), ("d", (2,)))}
    for name, tensor in found.items():
        assert torch.equal(tensor, state[name]) and tensor.is_contiguous()
        assert tensor.untyped_storage().nbytes() == tensor.nbytes
    assert len(read) == len(set(read)) == 2


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_word_language_model(model_and_words, tmp_path, new, whole, tied):
    torch.manual_seed(1)
    model = WordModel(hidden=5 if tied else 6, tied=tied)
    files = model_and_words(model if whole else model.state_dict(), new=new)
    report = import_model("word-language-model", files, tmp_path / "run")
    lm = equal(tmp_path / "run", model)
    assert list(lm.vocabulary) == WORDS
    assert lm.config["model"]["tied"] == tied and report["hidden_sizes"] == [5, 5] if tied else [6, 6]
    assert lm.vocabulary.encode("the  dog\né\n") == [0, 1, 3, 5, 3]


def test_a_model_in_a_dict_or_by_data_parallel(model_and_words, tmp_path):
    model = WordModel()
    wrapped = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    import_model("word-language-model", model_and_words({"epoch": 3, "state_dict": wrapped}), tmp_path / "run")
    equal(tmp_path / "run", model)


@pytest.mark.parametrize("before", ["_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_checkpoint_with_a_tensor_beside_a_compiled_model(model_and_words, tmp_path, before):
    """As PyTorch's tutorial saves it, with the loss as a tensor."""
    model = WordModel()
    state = {before + name: tensor for name, tensor in model.state_dict().items()}
    beside = {"epoch": 3, "model_state_dict": state, "optimizer_state_dict": {"state": {}}, "loss": torch.tensor(1.5)}
    import_model("word-language-model", model_and_words(beside), tmp_path / "run")
    equal(tmp_path / "run", model)


def test_a_compiled_part_of_a_model(model_and_words, tmp_path):
    model = WordModel()
    state = {name.replace("rnn.", "rnn._orig_mod."): tensor for name, tensor in model.state_dict().items()}
    import_model("word-language-model", model_and_words(state), tmp_path / "run")
    equal(tmp_path / "run", model)


def test_a_model_of_half_precision_is_read_as_float32(model_and_words, tmp_path):
    model = WordModel().half()
    import_model("word-language-model", model_and_words(model.state_dict()), tmp_path / "run")
    equal(tmp_path / "run", model.float())


class Optimizer:
    """The layout of an optimiser of torch 0.4, whose state has parameters as keys."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters), "lr": 30.0}]
        self.state = {each: {"step": 3, "ax": each.detach().clone()} for each in self.param_groups[0]["params"]}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("dropped", [True, False])
def test_awd_lstm(model_and_words, tmp_path, new, dropped):
    torch.manual_seed(1)
    model = Awd(dropped=dropped)
    # what awd-lstm-lm saves
    value = [model, nn.CrossEntropyLoss(), Optimizer(model.parameters())]
    report = import_model("awd-lstm", model_and_words(value, new=new), tmp_path / "run")
    assert report["hidden_sizes"] == [6, 6, 4]
    assert equal(tmp_path / "run", model).config["model"]["tied"]


def test_awd_lstm_after_training(model_and_words, tmp_path):
    """Some versions of awd-lstm-lm register the weight after weight drop beside the raw one, which is the model's."""
    model = Awd()
    for rnn in model.rnns:
        rnn.module.register_parameter("weight_hh_l0", nn.Parameter(2 * rnn.module.weight_hh_l0_raw.detach()))
    import_model("awd-lstm", model_and_words(model.state_dict()), tmp_path / "run")
    equal(tmp_path / "run", model)


def test_a_module_of_torch_1_0_with_its_backend(model_and_words, tmp_path, monkeypatch):
    """Modules had a `_backend`, which is pickled as a call of a function that later versions do not have."""
    backends = types.ModuleType("torch.nn.backends.thnn")

    def _get_thnn_function_backend():
        raise AssertionError("was called")

    class Backend:
        def __reduce__(self):
            return _get_thnn_function_backend, ()

    _get_thnn_function_backend.__module__ = backends.__name__
    _get_thnn_function_backend.__qualname__ = "_get_thnn_function_backend"
    backends._get_thnn_function_backend = _get_thnn_function_backend
    for name in ("torch.nn.backends", backends.__name__):
        monkeypatch.setitem(sys.modules, name, backends)
    model = WordModel()
    model.__dict__["_backend"] = Backend()
    files = model_and_words(model, new=False)
    assert b"_get_thnn_function_backend" in files[0].read_bytes()
    import_model("word-language-model", files, tmp_path / "run")
    equal(tmp_path / "run", model)


def test_a_mixture_of_softmaxes(model_and_words, tmp_path):
    torch.manual_seed(1)
    model = Awd(last=5, experts=3)
    with torch.no_grad():
        # rare words, for which the constant of mos matters
        model.decoder.bias[:3] -= 12
    report = import_model("awd-lstm", model_and_words(model), tmp_path / "run")
    assert "1e-8" in report["notes"][0]

    class WithoutConstant(nn.Module):
        def forward(self, ids, state=None):
            found, state = model.double()(ids, state)
            return (found.exp() - 1e-8).log(), state

    lm = equal(tmp_path / "run", WithoutConstant())
    assert lm.config["model"]["head"]["components"] == 3


def test_a_vocabulary_from_the_training_text(write, tmp_path):
    lines = {"train": "the cat\nsat a\n\n", "valid": "<unk> the\n", "test": "a é cat\n"}
    for split, text in lines.items():
        write(f"text/{split}.txt", text)
    # as awd-lstm-lm counts: by first occurrence, over train, valid and test
    words = ["the", "cat", "<eos>", "sat", "a", "<unk>", "é"]
    model = Awd(words=len(words))
    files = [write("model.pt", saved(model, new=True)), tmp_path / "text"]
    import_model("awd-lstm", files, tmp_path / "run")
    lm = equal(tmp_path / "run", model)
    assert list(lm.vocabulary) == words
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["data"]["splits"]["train"]["tokens"] == 7


def tokens_of(path):
    """The tokens of a file as word_language_model and awd-lstm-lm read it."""
    found = []
    with open(path, encoding="utf8") as file:
        for line in file:
            found += [*line.split(), "<eos>"]
    return found


TEXTS = {
    "blanks and tabs": (b"b  a\tb\r\n\nc <unk>\r\n", True),
    "carriage returns alone": (b"b a\rc <unk>\r", True),
    "a line without an end": (b"b a\nc <unk>", True),
    "a carriage return within a line": (b"a b\rc d\n<unk>\n", False),
    "two before a newline": (b"a b\r\r\nc\n<unk>\n", False),
    "a no-break space": ("a\u00a0b c\n<unk>\n".encode(), False),
    "a form feed": (b"a\x0cb c\n\x0c\n<unk>\n", False),
    "a separator of files": (b"a\x1cb\n<unk>\n", False),
    "a next line": ("a\u0085b \u2028 c\n<unk>\n".encode(), False),
    "a byte order mark": ("\ufeffa b\n\ufeffc\n<unk> a\n".encode(), False),
    "an end that is spelled": (b"a b <eos>\nc <unk>\n", False),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_vocabulary_from_a_text_is_that_of_the_program(write, tmp_path, monkeypatch, name):
    monkeypatch.setattr("refrain.data.text.files.BLOCK_BYTES", 3)
    content, same = TEXTS[name]
    for split, text in {"train": content, "valid": b"e a\n", "test": b"f \xc3\xa9\n"}.items():
        write(f"text/{split}.txt", text)
    tokens = [token for split in ("train", "valid", "test") for token in tokens_of(tmp_path / f"text/{split}.txt")]
    words = list(dict.fromkeys(tokens))
    model = WordModel(words=len(words))
    files = [write("model.pt", saved(model.state_dict(), new=True)), tmp_path / "text"]
    notes = import_model("word-language-model", files, tmp_path / "run")["notes"]
    lm = refrain.load(tmp_path / "run")
    assert list(lm.vocabulary) == words
    assert len(notes) == (0 if same else 1) and all("reads the text otherwise" in note for note in notes)
    splits = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]["splits"]
    assert list(splits) == ["train", "valid", "test"] and splits["valid"]["tokens"] == 3
    assert not same or sum(each["tokens"] for each in splits.values()) == len(tokens)


def test_a_vocabulary_from_a_text_without_unknown_words(write, tmp_path):
    for split in ("train", "valid", "test"):
        write(f"text/{split}.txt", "a b\n")
    files = [write("model.pt", saved(WordModel(words=3), new=True)), tmp_path / "text"]
    notes = import_model("word-language-model", files, tmp_path / "run")["notes"]
    assert list(refrain.load(tmp_path / "run").vocabulary) == ["a", "b", "<eos>", "<unk>"]
    assert len(notes) == 1 and "no word for unknown words" in notes[0]


def test_a_folder_of_text_with_its_list_of_words(write, tmp_path):
    """As colorlessgreenRNNs keeps it; its words are in the order of the list."""
    write("text/vocab.txt", VOCABULARY)
    write("text/train.txt", "cat the <eos>\n")
    model = WordModel()
    files = [write("model.pt", saved(model, new=True)), tmp_path / "text"]
    import_model("word-language-model", files, tmp_path / "run")
    lm = refrain.load(tmp_path / "run")
    assert list(lm.vocabulary) == WORDS and lm.config["data"]["corpus"] == str(tmp_path / "text")
    assert lm.vocabulary.encode("cat the <eos>\n") == [2, 0, 3]


class Dictionary:
    """The layout of the dictionary of word_language_model."""

    def __init__(self, words):
        self.idx2word = words
        self.word2idx = {word: index for index, word in enumerate(words)}


class Corpus:
    """The layout of its corpus."""

    def __init__(self, words):
        self.dictionary = Dictionary(words)
        self.train = torch.zeros(9, dtype=torch.int64)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("form", [Corpus, Dictionary, list])
def test_a_vocabulary_from_a_saved_corpus(model_and_words, tmp_path, new, form):
    model = Awd()
    files = model_and_words(model, vocabulary="")
    files[1].write_bytes(saved(form(WORDS), new=new))
    import_model("awd-lstm", files, tmp_path / "run")
    assert list(equal(tmp_path / "run", model).vocabulary) == WORDS


def test_a_word_with_white_space_of_unicode_has_a_line_of_its_own(model_and_words, tmp_path):
    words = ["<eos>", "<unk>", "a\u00a0b"]
    model = WordModel(words=3)
    import_model("word-language-model", model_and_words(model, vocabulary="\n".join(words)), tmp_path / "run")
    assert list(refrain.load(tmp_path / "run").vocabulary) == words


def test_a_vocabulary_without_unknown_words(model_and_words, tmp_path):
    model = WordModel(words=3)
    files = model_and_words(model, vocabulary="a\n<eos>\nb\n")
    report = import_model("word-language-model", files, tmp_path / "run")
    assert report["vocabulary"] == 4 and "no word for unknown words" in report["notes"][0]
    lm = refrain.load(tmp_path / "run")
    ids = IDS % 3
    with torch.no_grad():
        outputs, _ = lm.model.hidden(ids, lm.model.initial_state(3))
        found = lm.model.head.log_probabilities(outputs.dropped)
        wanted, _ = model.eval()(ids)
    assert (found[..., :3] - wanted).abs().max() < TOLERANCE and found[..., 3].max() < -9000


TOKENS = ["<blk>", "<sos/eos>", "<unk>", "▁the", "s", "#"]


@pytest.mark.parametrize("tied", [True, False])
def test_icefall(write, tmp_path, tied):
    torch.manual_seed(1)
    model = Recogniser(len(TOKENS), hidden=4 if tied else 5, tied=tied).eval()
    checkpoint = {"model": model.state_dict(), "optimizer": None, "sos_id": 1, "eos_id": 1, "params": {"lr": 1e-3}}
    # recognisers add symbols for their graphs, and a token may be a sign that these begin with
    table = "".join(f"{token} {index}\n" for index, token in enumerate([*TOKENS, "#0", "#1"]))
    files = [write("epoch-3.pt", saved(checkpoint, new=True)), write("tokens.txt", table)]
    import_model("icefall-rnn-lm", files, tmp_path / "run")
    # without the token that begins a sentence, at which this library sets the state to zero
    equal(tmp_path / "run", model, (IDS[:, :2] % 4 + 2))
    lm = refrain.load(tmp_path / "run", kind="language-model")
    assert list(lm.vocabulary) == ["<blk>", "<eos>", *TOKENS[2:]]
    # each sentence from the zero state: the nats of its tokens and of the token that ends it
    sentences = [[3, 4, 4], [5], [2, 3]]
    nats = 0.0
    for sentence in sentences:
        found = model(torch.tensor([1, *sentence])[:, None])[0].detach()
        nats -= float(found[torch.arange(len(sentence) + 1), 0, torch.tensor([*sentence, 1])].sum())
    text = "\n".join(" ".join(TOKENS[index] for index in sentence) for sentence in sentences)
    ids = torch.tensor([1, *lm.vocabulary.encode(text), 1])[:, None]
    found, _ = lm.model.token_nats(ids[:-1], ids[1:], lm.model.initial_state(1))
    assert abs(float(found.sum()) - nats) < TOLERANCE * 10
    assert lm.config["training"]["state"] == "reset-per-document"


@pytest.mark.parametrize("tied", [True, False])
def test_a_recogniser_whose_sentences_begin_and_end_with_two_tokens(write, tmp_path, tied):
    torch.manual_seed(1)
    tokens = ["<pad>", "<sos>", "<eos>", "<unk>", "▁the", "s"]
    model = Recogniser(len(tokens), hidden=4 if tied else 5, tied=tied).eval()
    files = [
        write("epoch-3.pt", saved({"model": model.state_dict()}, new=True)),
        write("bpe.vocab", "".join(f"{token}\t{-index}\n" for index, token in enumerate(tokens))),
    ]
    import_model("icefall-rnn-lm", files, tmp_path / "run")
    lm = refrain.load(tmp_path / "run", kind="language-model")
    sentences = [[4, 5, 5], [3]]
    nats = 0.0
    for sentence in sentences:
        found = model(torch.tensor([1, *sentence])[:, None])[0].detach()
        nats -= float(found[torch.arange(len(sentence) + 1), 0, torch.tensor([*sentence, 2])].sum())
    ids = torch.tensor([2, *lm.vocabulary.encode("▁the s s\n<unk>\n")])[:, None]
    found, _ = lm.model.token_nats(ids[:-1], ids[1:], lm.model.initial_state(1))
    assert list(lm.vocabulary) == tokens and abs(float(found.sum()) - nats) < TOLERANCE * 10


def test_the_vocabulary_of_sentencepiece(write, tmp_path):
    model = Recogniser(len(TOKENS))
    table = "".join(f"{token}\t{-index / 2}\n" for index, token in enumerate(TOKENS))
    files = [write("pretrained.pt", saved({"model": model.state_dict()}, new=True)), write("bpe.vocab", table)]
    import_model("icefall-rnn-lm", files, tmp_path / "run")
    assert list(refrain.load(tmp_path / "run").vocabulary) == ["<blk>", "<eos>", *TOKENS[2:]]


NAMES = """
embedding = "embed.weight"
lstm = {lstm}
head_weight = "out.weight"
head_bias = "out.bias"
"""


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_pytorch_lstm(write, tmp_path, ending):
    torch.manual_seed(1)
    embed, first, second = nn.Embedding(7, 3), nn.LSTM(3, 4, 2), nn.LSTM(4, 6, bias=False)
    out = nn.Linear(6, 7)
    parts = {"embed": embed, "first": first, "deep.second": second, "out": out}
    tensors = {f"{name}.{key}": t for name, part in parts.items() for key, t in part.state_dict().items()}
    content = to_bytes(tensors) if ending == "safetensors" else saved(tensors, new=True)

    class Model(nn.Module):
        def forward(self, ids, state=None):
            one, two = state or (None, None)
            outputs, one = first(embed(ids), one)
            outputs, two = second(outputs, two)
            return out(outputs).log_softmax(-1), (one, two)

    names = NAMES.format(lstm='["first", "deep.second"]') + 'line_end = "the"\nunknown = "cat"\nlowercase = true\n'
    words = ["the", "one", "cat", "two", "sat", "é", "a"]
    files = [
        write(f"model.{ending}", content), write("names.toml", names), write("vocab.txt", "\n".join(words))
    ]  # fmt: skip
    report = import_model("pytorch-lstm", files, tmp_path / "run")
    lm = equal(tmp_path / "run", Model())
    assert report["hidden_sizes"] == [4, 4, 6]
    assert list(lm.vocabulary) == ["<eos>", "one", "<unk>", *words[3:]]
    assert lm.vocabulary.encode("SAT xyz\n") == [4, 2, 0]


def test_the_head_of_a_tied_state_dict_is_named_like_any_other(write, tmp_path):
    model = WordModel(words=256, hidden=5, layers=1, tied=True)
    names = 'embedding = "encoder.weight"\nlstm = "rnn"\nhead_bias = "decoder.bias"\nunit = "byte"\n'
    files = [write("names.toml", names), write("model.pt", saved(model.state_dict(), new=True))]
    with pytest.raises(CheckpointError, match=r"decoder\.weight") as refused:
        import_model("pytorch-lstm", files, tmp_path / "run")
    remedy = 'decoder.weight equals the embedding: add head_weight = "decoder.weight"'
    assert str(refused.value).endswith(f"cannot express: decoder.weight; {remedy}")
    write("names.toml", names + remedy.partition("add ")[2] + "\n")
    import_model("pytorch-lstm", files, tmp_path / "run")
    lm = equal(tmp_path / "run", model, IDS)
    assert lm.model.head.tied and lm.model.head.weight is lm.model.embedding.weight


def test_pytorch_lstm_of_bytes_without_a_head_of_its_own(write, tmp_path):
    model = WordModel(words=256, hidden=5, layers=1, tied=True)
    names = 'embedding = "encoder.weight"\nlstm = "rnn"\nhead_bias = "decoder.bias"\nunit = "byte"\n'
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "decoder.weight"}
    files = [write("names.toml", names), write("model.safetensors", to_bytes(tensors))]
    import_model("pytorch-lstm", files, tmp_path / "run")
    equal(tmp_path / "run", model, IDS)


def test_a_gru_with_both_biases(model_and_words, tmp_path):
    """The bias of the candidate that the reset gate multiplies; a layer in which it is zero has it, too."""
    model = WordModel(rnn=nn.GRU)
    with torch.no_grad():
        model.rnn.bias_hh_l1[12:] = 0
    import_model("word-language-model", model_and_words(model), tmp_path / "run")
    lm = refrain.load(tmp_path / "run")
    torch.testing.assert_close(lm.model.stack.layers[0].bias_hn, model.rnn.bias_hh_l0[12:])
    assert not lm.model.stack.layers[1].bias_hn.any()
    assert lm.config["model"]["cell"] == {"kind": "gru", "recurrent_bias": True}
    equal(tmp_path / "run", model)


def test_a_gru_of_a_state_dict_with_both_biases(write, tmp_path):
    model = WordModel(words=256, hidden=5, layers=1, tied=True, rnn=nn.GRU)
    names = 'embedding = "encoder.weight"\nlstm = "rnn"\nhead_bias = "decoder.bias"\nunit = "byte"\n'
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name != "decoder.weight"}
    files = [write("names.toml", names), write("model.safetensors", to_bytes(tensors))]
    import_model("pytorch-lstm", files, tmp_path / "run")
    equal(tmp_path / "run", model, IDS)


def test_a_gru_whose_second_candidate_bias_is_zero(model_and_words, tmp_path):
    model = WordModel(rnn=nn.GRU)
    with torch.no_grad():
        for layer in range(2):
            getattr(model.rnn, f"bias_hh_l{layer}")[12:] = 0
    import_model("word-language-model", model_and_words(model), tmp_path / "run")
    equal(tmp_path / "run", model)
    assert refrain.load(tmp_path / "run").model.stack.layers[0].bias_hn is None


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_byte_mlstm(tmp_path, as_folder):
    arrays = sentiment_arrays()
    (tmp_path / "model").mkdir()
    for number, array in enumerate(arrays):
        np.save(tmp_path / "model" / f"{number}.npy", array)
    # in the order in which a shell lists them, 10 before 2
    files = [tmp_path / "model"] if as_folder else sorted((tmp_path / "model").iterdir())
    import_model("openai-mlstm", files, tmp_path / "run")
    lm = refrain.load(tmp_path / "run", kind="language-model")
    review = "A <b>fine</b> film &amp; é\nmore"
    text = "\n A <b>fine</b> film & é more ".encode()
    wanted, cell = sentiment_forward(arrays, text)
    state, found = lm.model.initial_state(1), []
    for byte in torch.tensor(list(text))[:, None]:
        log_probabilities, state = lm.model.step(byte, state)
        found.append(log_probabilities)
    assert (torch.cat(found).double() - torch.from_numpy(wanted)).abs().max() < TOLERANCE
    # the published features are the cell after the last byte of the cleaned text, which a newline begins
    assert f"\n{lm.prepare(review)}".encode() == text
    assert (state[0].cell[0].double() - torch.from_numpy(cell)).abs().max() < TOLERANCE


def test_the_run_records_where_it_comes_from(model_and_words, tmp_path):
    files = model_and_words(WordModel())
    report = import_model("word-language-model", files, tmp_path / "run")
    wanted = [
        {"file": str(f), "bytes": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files
    ]
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["imported"] == {"format": "word-language-model", "files": wanted}
    assert report["files"] == wanted == json.loads((tmp_path / "run" / "summary.json").read_text())["files"]
    card = (tmp_path / "run" / "README.md").read_text()
    assert all(each["sha256"] in card for each in wanted) and "word_language_model" in card


@pytest.mark.parametrize("known", [True, False])
def test_the_commands_on_the_card_can_be_copied(model_and_words, write, tmp_path, known):
    corpus = {"data": str(write("text/train.txt", "the cat\n").parent)} if known else {}
    report = import_model("word-language-model", model_and_words(WordModel()), tmp_path / "a run", **corpus)
    text = "" if known else " --data PATH/TO/TEXT"
    assert f"\nrefrain evaluate '{tmp_path / 'a run'}'{text}\n" in (tmp_path / "a run" / "README.md").read_text()
    assert f"\nrefrain generate '{tmp_path / 'a run'}' --tokens 50\n" in (tmp_path / "a run" / "README.md").read_text()
    assert report["corpus"] == corpus.get("data")


def test_a_single_path_is_a_list_of_one(tmp_path):
    for given in (tmp_path / "m.pt", str(tmp_path / "m.pt")):
        with pytest.raises(UserError, match=r"m\.pt: no such file$"):
            import_model("awd-lstm", given, tmp_path / "run")
    with pytest.raises(UserError, match=r"^each file: must be a path \(got 3\)$"):
        import_model("awd-lstm", [3], tmp_path / "run")
    with pytest.raises(UserError, match=r"^out: must be a path \(got None\)$"):
        import_model("awd-lstm", tmp_path / "m.pt", None)


@pytest.mark.parametrize("beside", [{"model": "LSTM"}, {"net": None}, {"model": {"nlayers": 2}}])
@pytest.mark.parametrize("flat", [True, False])
def test_what_lies_beside_the_tensors_is_not_taken_for_the_model(model_and_words, tmp_path, beside, flat):
    model = WordModel()
    state = dict(model.state_dict()) if flat else {"state_dict": model.state_dict()}
    import_model("word-language-model", model_and_words({**beside, **state}), tmp_path / "run")
    equal(tmp_path / "run", model)
