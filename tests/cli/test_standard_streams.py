"""Standard streams that are closed, full, left by their readers, terminals, or of another encoding: every command."""

import json
import multiprocessing
import os
import select
import shutil
import subprocess
import sys

import pytest
import torch
from processes import CLOSED, LEFT, PATIENCE, Command, command_process, command_status
from safetensors.torch import save as to_bytes
from tagged import write_tsv

from refrain.cli.app import COMMANDS, main

pty = pytest.importorskip("pty")

FULL = "/dev/full"
TAGGER = (
    "model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=1", "training.batch_size=8",
    "training.stop_window=none", "training.device=cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tagged")
    words = ["train", "pos-default", *TAGGER, "--data", write_tsv(folder / "toy"), "--out", folder / "run", "--quiet"]
    assert main([str(word) for word in words]) == 0
    return folder / "run"


def tensors_of_a_model():
    """A language model of three words as a safetensors file."""
    layer = torch.nn.LSTM(2, 2)
    return to_bytes({"embedding": torch.zeros(3, 2)} | {f"lstm.{name}": x for name, x in layer.state_dict().items()})


@pytest.fixture
def words_of(tiny_run, tagger, tiny_corpus, tiny_settings, write, tmp_path):
    """The words of a command that succeeds, by its name; {} is replaced by a number in paths that are written to."""
    text = write("text.txt", "ant bee\ncat\n")
    pairs = write("pairs.csv", "good,bad,phenomenon\nant bee,bee ant,order\n")
    plain_model = [
        "pytorch-lstm",
        write("model.safetensors", tensors_of_a_model()),
        write("names.toml", 'embedding = "embedding"\nlstm = "lstm"\n'),
        write("vocab.txt", "<eos>\n<unk>\nant\n"),
    ]
    sweep = write(
        "sweep.toml",
        f'extends = "zaremba-small"\ndata.corpus = "{tiny_corpus}"\nmodel.embedding_size = 4\ntraining.epochs = 1\n'
        'training.batch_size = 4\ntraining.window_steps = 5\ntraining.sample_tokens = 0\ntraining.device = "cpu"\n'
        "[sweep.space]\nmodel.hidden_sizes = [[4]]\n",
    )
    small = ["model.embedding_size=4", "model.hidden_sizes=[4]", "training.batch_size=2", "training.window_steps=3"]
    for split in ("train", "dev", "test"):
        write(
            f"reviews/{split}.csv", "label,sentence\n" + "0,ant ant bee\n1,cat dog\n0,ant bee ant\n1,dog cat cat\n" * 3
        )
    return {
        "train": ["train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", tmp_path / "run-{}"],
        "evaluate": ["evaluate", tiny_run],
        "evaluate a tagger": ["evaluate", tagger],
        "generate": ["generate", tiny_run, "--tokens", "3"],
        "score": ["score", tiny_run, text],
        "surprisal": ["surprisal", tiny_run, text],
        "pairs": ["pairs", tiny_run, pairs],
        "tag": ["tag", tagger, text],
        "features": ["features", tiny_run, text, "--out", tmp_path / "states-{}.npz"],
        "probe": ["probe", tiny_run, "--data", tmp_path / "reviews"],
        "sparsity": ["sparsity", tiny_run],
        "compress": ["compress", tiny_run, "--to", "parameters=200", "--force", "--out", tmp_path / "small-{}"],
        "import": ["import", *plain_model, "--out", tmp_path / "imported-{}"],
        "export": ["export", tiny_run, "--format", "c", "--no-proof", "--out", tmp_path / "exported-{}"],
        "serve": ["serve", tiny_run, "--stdio"],
        "recipes": ["recipes"],
        "runs": ["runs", tiny_run.parent],
        "watch": ["watch", tiny_run.parent],
        "sweep": ["sweep", sweep, "--out", tmp_path / "sweep-{}", "--quiet"],
        "compare": ["compare", tiny_run, "--split", "test", "--resamples", "10"],
        "report": ["report", tiny_run, "--out", tmp_path / "report-{}.html"],
        "plot": ["plot", tiny_run, "--out", tmp_path / "curves-{}.svg"],
        "data": ["data"],
        "models": ["models"],
        "models pack": ["models", "pack", tiny_run, "--out", tmp_path / "packed-{}.tar"],
        "data check": ["data", "check", tiny_corpus],
        "check": ["check", "zaremba-small", *tiny_settings, "--data", tiny_corpus],
        "bench": ["bench", "train", *small, "--windows", "1", "--repeats", "1", "--device", "cpu"],
        "help": ["--help"],
        "help of a command": ["train", "--help"],
        "version": ["--version"],
        "json": ["evaluate", tiny_run, "--json"],
    }


EVERY = (
    "train", "evaluate", "evaluate a tagger", "generate", "score", "surprisal", "pairs", "tag", "features", "probe",
    "sparsity", "compress", "import", "export", "serve", "recipes", "runs", "watch", "sweep", "compare", "report",
    "plot", "data", "data check", "models", "models pack", "check", "bench", "help", "help of a command", "version",
    "json",
)  # fmt: skip


def test_the_table_has_every_command(words_of):
    assert set(COMMANDS) <= set(EVERY) == set(words_of)


@pytest.mark.parametrize("name", EVERY)
def test_closed_full_and_left_streams(words_of, tmp_path, name):
    if name == "probe":
        pytest.importorskip("sklearn")
    if name == "plot":
        pytest.importorskip("matplotlib")
    words = words_of[name]
    err = tmp_path / "err"
    places = [({"stdout": LEFT, "stderr": LEFT}, 0)]
    # two take seconds, and one has nothing to answer without its input
    if name not in ("bench", "compress", "serve"):
        places.append(({"stdin": CLOSED, "stdout": CLOSED, "stderr": CLOSED}, 0))
    if name not in ("bench", "compress", "train", "sweep"):
        places.append(({"stdout": LEFT, "stderr": err}, 0))
    if os.path.exists(FULL):
        places.append(({"stdout": FULL, "stderr": err}, 4))
    if name == "serve":
        requests = tmp_path / "requests"
        requests.write_text('{"operation": "health"}\n')
        places = [({**streams, "stdin": requests}, status) for streams, status in places]
    for number, (streams, status) in enumerate(places):
        err.unlink(missing_ok=True)
        assert command_status([str(word).replace("{}", str(number)) for word in words], **streams) == status, streams
        said = err.read_text().splitlines() if err.exists() else []
        assert not any("Traceback" in line or "Exception" in line or "roken pipe" in line for line in said)
        complaints = [line for line in said if line.startswith("refrain: ")]
        assert len(complaints) == (status != 0)
        assert all(line.startswith("refrain: standard output: No space left on device; ") for line in complaints)
        if name == "train":
            assert json.loads((tmp_path / f"run-{number}" / "summary.json").read_text())["test"]["tokens"] > 0


@pytest.mark.parametrize("streams", [{"stdout": CLOSED, "stderr": CLOSED}, {"stdout": LEFT, "stderr": LEFT}])
def test_a_mistake_has_its_status_though_nobody_reads_of_it(tmp_path, streams):
    for status, words in ((2, ["trian"]), (2, ["train"]), (3, ["data", "check", tmp_path / "gone"])):
        assert command_status(words, **streams) == status
    assert command_status(["evaluate", tmp_path / "gone"], **streams) == 4


def test_standard_input_that_is_closed(tiny_run, tagger, tmp_path):
    err = tmp_path / "err"
    for words in (
        ["score", tiny_run],
        ["surprisal", tiny_run],
        ["tag", tagger, "-"],
        ["features", tiny_run, "--out", tmp_path / "x.npz"],
    ):
        err.unlink(missing_ok=True)
        assert command_status(words, stdin=CLOSED, stdout=tmp_path / "out", stderr=err) == 3
        (line,) = err.read_text().splitlines()
        assert line == "refrain: standard input is closed; give a text file, or a text through a pipe"
    assert (tmp_path / "out").read_text() == ""


def test_no_file_takes_the_place_of_a_closed_stream(tiny_corpus, tiny_settings, tmp_path):
    """Otherwise the first file that a command opens gets what the command prints."""
    words = ["train", "zaremba-small", *tiny_settings, "--data", tiny_corpus, "--out", tmp_path / "run", "--json"]
    assert command_status(words, stdin=CLOSED, stdout=CLOSED, stderr=CLOSED) == 0
    for path in (tmp_path / "run").rglob("*"):
        if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines()
            assert all(json.loads(line) for line in lines) if path.suffix == ".jsonl" else json.loads(path.read_text())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_end_of_a_process_is_quiet(own_environment):
    """What Python itself prints when it exits is seen in a process of its own only."""
    cases = [("--help", closing, "0") for closing in (">&-", "2>&-", "<&- >&- 2>&-", "| true", "2>&1 | true")]
    for words, closing, status in (*cases, ("trian", "2>&-", "2"), ("trian", "2>&1 | (sleep 0.01)", "2")):
        script = f'"$0" -m refrain {words} {closing}; echo "${{PIPESTATUS[0]}}" >&9'
        with Command(
            ["bash", "-c", f"exec 9>&1; {script}", sys.executable],
            env=own_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            out, err = process.communicate(timeout=PATIENCE)
        assert (out.splitlines()[-1], err) == (status, ""), (words, closing)


class Talk:
    """A command with pipes to its standard input and from its standard output."""

    def __init__(self, words, tmp_path, named=None):
        from_us, to_it = multiprocessing.Pipe(False)
        from_it, to_us = multiprocessing.Pipe(False)
        self.ends = [from_us, to_it, from_it, to_us]
        self.process = command_process(words, stdin=from_us, stdout=to_us, stderr=tmp_path / "err")
        self.sink = to_it.fileno() if named is None else named
        self.source = from_it.fileno()

    def ask(self, text):
        """Write a text, and wait for the first line of the answer."""
        os.write(self.sink, text.encode())
        found = b""
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([self.source], [], [], PATIENCE)
            assert ready, "no answer"
            found += os.read(self.source, 1 << 16)
        return found.decode()

    def __enter__(self):
        self.running = self.process.__enter__()
        return self

    def __exit__(self, *failure):
        self.process.__exit__(*failure)
        for end in self.ends:
            end.close()


def test_score_answers_each_line_before_it_waits_for_the_next(tiny_run, tmp_path):
    with Talk(["score", tiny_run, "-"], tmp_path) as talk:
        for line in ("ant bee", "cat", "", "zebra dog"):
            answer = talk.ask(f"{line}\n")
            assert answer.count("\n") == 1
            assert answer.endswith(f"\t{line}\n")
        # half a line is not answered
        os.write(talk.sink, b"ant")
        assert select.select([talk.source], [], [], 0.3)[0] == []
        assert talk.ask(" bee\n").endswith("\tant bee\n")


def test_a_named_pipe_is_scored_as_it_is_written(tiny_run, tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    named = os.open(path, os.O_RDWR)
    try:
        with Talk(["score", tiny_run, path], tmp_path, named) as talk:
            assert talk.ask("ant\n").endswith("\tant\n")
            assert talk.ask("bee\n").endswith("\tbee\n")
    finally:
        os.close(named)


def test_tag_answers_each_sentence_before_it_waits_for_the_next(tagger, tmp_path):
    with Talk(["tag", tagger, "-", "--tokenised"], tmp_path) as talk:
        for number in (1, 2):
            answer = talk.ask("the dogs barking .\n")
            assert f"# sent_id = {number}\n" in answer
            assert answer.endswith("\n\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_pipes_and_files_are_utf8_in_every_locale(tiny_run, tagger, write, tmp_path, encoding):
    text = write("text.txt", "Déjà vu — ह\n")
    for words in (["score", tiny_run, text], ["tag", tagger, text, "--tokenised"]):
        out, err = tmp_path / "out", tmp_path / "err"
        out.unlink(missing_ok=True)
        assert command_status(words, stdout=out, stderr=err, encoding=encoding) == 0
        assert "Déjà vu — ह\n".encode() in out.read_bytes()
        assert all(line.startswith(b"note: ") for line in err.read_bytes().splitlines())
        assert command_status(words, stdin=text, stdout=out, encoding=encoding) == 0
    for given, said in (("ह.toml", "ह.toml"), ("caf\udce9.toml", "caf\\udce9.toml")):
        err.unlink(missing_ok=True)
        assert command_status(["train", tmp_path / given], stderr=err, encoding=encoding) == 2
        assert f"/{said}: No such file".encode() in err.read_bytes()


def on_a_terminal(words, **streams):
    """What a command writes to a terminal that is its standard output."""
    ours, its = pty.openpty()
    try:
        assert command_status(words, stdout=os.ttyname(its), **streams) == 0
        return os.read(ours, 1 << 16)
    finally:
        os.close(ours)
        os.close(its)


def test_a_terminal_gets_no_control_characters(byte_run, tiny_run, tagger, write, tmp_path):
    prompt = "a\x1b[31m\x9b\u202e\tb"
    words = ["generate", byte_run, "--prompt", prompt, "--tokens", "1", "--temperature", "0"]
    text = write("text.txt", "ant\x1b[31m bee\n")
    assert on_a_terminal(words).startswith(b"a\\x1b[31m\\x9b\\u202e\tb")
    assert on_a_terminal([*words, "--samples", "2"]).startswith(b"--- 1\r\na\\x1b[31m\\x9b\\u202e\tb")
    assert b"ant\\x1b[31m bee" in on_a_terminal(["score", tiny_run, text])
    assert b"ant\\x1b[31m\t" in on_a_terminal(["tag", tagger, text, "--tokenised"])
    # what goes to a pipe or a file is the text itself
    assert command_status(words, stdout=tmp_path / "out") == 0
    assert (tmp_path / "out").read_text().startswith(prompt)


def test_a_terminal_of_another_encoding(byte_run):
    words = ["generate", byte_run, "--prompt", "é—", "--tokens", "1", "--temperature", "0"]
    assert on_a_terminal(words, encoding="ascii").startswith(b"??")
    assert on_a_terminal(words, encoding="latin-1").startswith(b"\xe9?")
