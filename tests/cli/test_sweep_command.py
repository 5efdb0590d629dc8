"""`refrain sweep`: cells, their results, the best recipe, more seeds, and mistakes found before any training."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from blocked_modules import lacks
from processes import Command
from short_runs import assert_same_bits, quiet, trace

from refrain import runs
from refrain.cli.app import main
from refrain.config import resolve
from refrain.errors import UserError
from refrain.recipes import RECIPES
from refrain.runs.sweeps import cell_run
from refrain.runs.sweeps.cell_run import FATAL_CLAIMS, Options
from refrain.runs.sweeps.claims import claim, folder_of
from refrain.runs.sweeps.folder import SweepFolder
from refrain.runs.sweeps.plan import Sweep
from refrain.runs.sweeps.worker import work, work_on
from refrain.storage.run_layout import steps_in

TEXT = """extends = "zaremba-small"
data.corpus = "{corpus}"
model.embedding_size = 4
training.epochs = 1
training.batch_size = 4
training.window_steps = 20
training.sample_tokens = 0
training.validation = "exact"
training.device = "cpu"

[sweep]
{options}

[sweep.space]
model.hidden_sizes = [[4], [6]]
"""


@pytest.fixture
def file(tiny_corpus, write):
    return lambda options="", name="small.toml": write(name, TEXT.format(corpus=tiny_corpus, options=options))


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_corpus):
    """A sweep of two seeds that has ended; its file and its folder."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "small.toml").write_text(TEXT.format(corpus=tiny_corpus, options="seeds = [1, 2]"))
    assert main(["sweep", str(folder / "small.toml"), "--out", str(folder / "out"), "--quiet"]) == 0
    return folder / "small.toml", folder / "out"


@pytest.fixture
def sweep_folder(file, tmp_path):
    """A sweep that is opened and not trained."""

    def make(options=""):
        folder = SweepFolder(tmp_path / "out", Sweep(file(options), RECIPES))
        folder.open()
        return folder

    return make


def options(**more):
    given = {"progress": quiet, "log": lambda line: None} | more
    return Options(**given)


def test_each_cell_is_the_run_that_it_would_be_alone(refrain, done, tmp_path):
    file, out = done
    cells = refrain("sweep", file, "--out", out, "--status", "--json").json["cells"]
    assert [(cell["cell"], cell["state"]) for cell in cells] == [(number, "done") for number in range(1, 5)]
    assert cells[2]["settings"] == {"model.hidden_sizes": [4], "training.seed": 2}
    experiment = resolve(str(file), ["model.hidden_sizes=[4]", "training.seed=2"], RECIPES)
    runs.train(experiment, tmp_path / "alone", progress=quiet())
    assert_same_bits(trace(out / "cells" / "0003"), trace(tmp_path / "alone"))
    summary = json.loads((out / "cells" / "0003" / "summary.json").read_text())
    assert cells[2]["valid"]["perplexity"] == summary["valid"]["perplexity"]


def test_the_best_settings_are_a_recipe(refrain, done, tmp_path):
    file, out = done
    found = refrain("sweep", file, "--out", out, "--status", "--json").json
    means = {}
    for cell in found["cells"]:
        means.setdefault(str(cell["settings"]["model.hidden_sizes"]), []).append(cell["valid"]["perplexity"])
    best = min(means, key=lambda name: sum(means[name]))
    assert str(found["best"]["settings"]["model.hidden_sizes"]) == best
    assert found["best"]["valid"]["mean"] == pytest.approx(sum(means[best]) / 2)
    recipe = tmp_path / "best.toml"
    written = refrain("sweep", file, "--out", out, "--best", recipe, "--json").json
    assert written["recipe"] == str(recipe)
    again = resolve(str(recipe), [], RECIPES)
    assert again == resolve(str(file), [f"model.hidden_sizes={best}", "training.seed=1"], RECIPES)


def test_a_sweep_of_characters_shows_perplexities(refrain, file, write, tmp_path):
    # characters of ASCII have a byte each, so that their figures agree with those of bytes
    text = file().read_text().replace("training.device", 'data.unit = "character"\ntraining.device')
    given, out = write("characters.toml", text.replace("[[4], [6]]", "[[4]]")), tmp_path / "out"
    trained = refrain("sweep", given, "--out", out)
    assert "done, perplexity " in trained.err
    state = refrain("sweep", given, "--out", out, "--status", "--json").json
    assert state["cells"][0]["unit"] == "character" and state["cells"][0]["valid"]["bits_per_byte"] is not None
    assert state["best"]["valid"]["name"] == state["best"]["test"]["name"] == "perplexity"
    assert (
        refrain("sweep", given, "--out", out, "--best", tmp_path / "best.toml", "--json").json["valid"]["name"]
        == "perplexity"
    )


def test_nothing_is_trained_again_and_more_seeds_train_what_is_missing(refrain, mistake, file, tmp_path, monkeypatch):
    out, trained = tmp_path / "out", []
    train = cell_run.train
    monkeypatch.setattr(cell_run, "train", lambda e, path, **k: (trained.append(path.name), train(e, path, **k))[1])
    for seeds, wanted in (
        ("[1, 2]", ["0001", "0002", "0003", "0004"]),
        ("[1, 2]", []),
        ("[1, 2, 3]", ["0005", "0006"]),
    ):
        trained.clear()
        assert refrain("sweep", file(f"seeds = {seeds}"), "--out", out, "--quiet").status == 0
        assert trained == wanted
    assert "seeds = [1, 2, 3]" in (out / "sweep.toml").read_text()
    for seeds in ("seeds = [1, 2]", "seeds = [3, 1, 2]", ""):
        mistake(4, ["sweep", file(seeds), "--out", out], "seeds can only be added at the end of the list")


def test_a_changed_file_is_refused_and_a_comment_is_no_change(refrain, mistake, done, write):
    file, out = done
    text = file.read_text()
    other = write("other.toml", text.replace("[[4], [6]]", "[[4], [7]]"))
    mistake(4, ["sweep", other, "--out", out], "is the folder of a sweep with other cells (sha256 ", "sweep.toml")
    mistake(4, ["sweep", other, "--out", out, "--status"], "is the folder of a sweep with other cells")
    changed = write("changed.toml", text.replace("training.epochs = 1", "training.epochs = 2"))
    mistake(4, ["sweep", changed, "--out", out], "is the folder of a sweep with other cells")
    assert refrain("sweep", write("same.toml", f"# a comment\n{text}"), "--out", out).status == 0


def test_a_sweep_goes_on_with_the_command_of_the_message(refrain, mistake, file, write, tmp_path, tiny_corpus):
    base = file(name="base.toml")
    base.write_text(base.read_text().partition("[sweep]")[0])
    text = 'extends = "base.toml"  # beside it\n[sweep.space]\nmodel.hidden_sizes = [[4], [{}]]\n'
    one, other = (write(f"{size}.toml", text.format(size)) for size in (6, 7))
    out = tmp_path / "the out"
    assert refrain("sweep", one, "--out", out, "--index", "1", "--quiet").status == 0
    line = mistake(
        4, ["sweep", other, "--out", out], "choose another --out, or go on with that sweep, with the --data "
    )
    words = shlex.split(line.partition("if any: ")[2])
    assert words == ["refrain", "sweep", str(out / "sweep.toml"), "--out", str(out)]
    state = refrain(*words[1:], "--status", "--json").json
    assert [cell["state"] for cell in state["cells"]] == ["done", "waiting"]
    # that of an earlier version is not absolute
    (out / "sweep.toml").write_text(one.read_text())
    assert refrain("sweep", one, "--out", out, "--status").status == 0
    assert refrain("sweep", one, "--out", out, "--index", "1").status == 0
    assert refrain("sweep", out / "sweep.toml", "--out", out, "--status").status == 0
    line = mistake(
        4, ["sweep", other, "--out", tmp_path / "new", "--data", tiny_corpus, "--status"], "no sweep was started"
    )
    assert line.endswith(f"start it with: refrain sweep {other} --out {tmp_path / 'new'} --data {tiny_corpus}")


def test_a_sweep_that_was_begun_before_its_settings_were_refused_goes_on(refrain, mistake, file, monkeypatch, tmp_path):
    given, out = file(), tmp_path / "out"
    with monkeypatch.context() as before:
        before.setattr("refrain.runs.sweeps.plan.OTHER_TEXT", ())
        assert refrain("sweep", given, "--out", out, "--index", "1", "--quiet").status == 0
    monkeypatch.setattr("refrain.runs.sweeps.plan.OTHER_TEXT", ("model.hidden_sizes",))
    mistake(
        2, ["sweep", given, "--out", tmp_path / "new"], "changes the text or the words whose perplexity is compared"
    )
    done = refrain("sweep", given, "--out", out, "--index", "2", "--quiet")
    assert done.status == 0 and "note: " in done.err and "whose perplexity is compared" in done.err


def test_a_damaged_result_is_named_with_what_to_do(mistake, sweep_folder):
    folder = sweep_folder()
    words = ["sweep", folder.sweep.path, "--out", folder.path, "--status"]
    remedy = "; restore the file from a copy, or remove it; the next worker writes it again"
    for text, cause in (("{", "is not JSON ("), ("{}", "cell: field required")):
        folder.result_path(1).write_text(text)
        assert mistake(4, words, f"{folder.result_path(1)}: {cause}").endswith(remedy)


def test_one_cell_of_an_array(refrain, mistake, file, tmp_path):
    out, given = tmp_path / "out", file()
    assert refrain("sweep", given, "--out", out, "--index", "2", "--quiet").out == ""
    assert [path.name for path in (out / "results").iterdir()] == ["0002.json"]
    assert "cell 2 has ended already; nothing is trained" in refrain("sweep", given, "--out", out, "--index", "2").err
    found = refrain("sweep", given, "--out", out, "--index", "2", "--json").json
    assert (found["cell"], found["state"], found["run"]) == (2, "done", str(out / "cells" / "0002"))
    assert found["settings"] == {"model.hidden_sizes": [6]} and found["test"]["perplexity"] > 1
    for index in ("0", "3", "-1"):
        mistake(2, ["sweep", given, "--out", out, "--index", index], "--index must be from 1 to 2")
    state = refrain("sweep", given, "--out", out, "--status", "--json").json
    assert [cell["state"] for cell in state["cells"]] == ["waiting", "done"] and state["counts"]["waiting"] == 1


def test_a_cell_that_fails_is_reported_and_the_others_are_trained(refrain, mistake, file, tmp_path, monkeypatch):
    train = cell_run.train

    def fail(experiment, path, **more):
        if path.name == "0001":
            raise UserError("training stopped in epoch 1: the loss is nan")
        return train(experiment, path, **more)

    monkeypatch.setattr(cell_run, "train", fail)
    done = refrain("sweep", file(), "--out", tmp_path / "out")
    assert "2 cells: 1 done, 1 failed" in done.out and "the loss is nan" in done.out
    monkeypatch.setattr(cell_run, "train", train)
    # a failed cell has ended, and is not trained again
    cells = refrain("sweep", file(), "--out", tmp_path / "out", "--status", "--json").json["cells"]
    assert [cell["state"] for cell in cells] == ["failed", "done"]
    mistake(2, ["sweep", file(), "--out", tmp_path / "out", "--index", "1"], "cell 1 has failed: training stopped")


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_the_state_of_a_cell_that_is_trained(refrain, sweep_folder):
    folder = sweep_folder()
    held = claim(folder.claims, 2, 1, {"step": 0})

    def states():
        words = ["sweep", folder.sweep.path, "--out", folder.path, "--status", "--json"]
        return [cell["state"] for cell in refrain(*words).json["cells"]]

    with held.held():
        assert states() == ["waiting", "running"]
        table = refrain("sweep", folder.sweep.path, "--out", folder.path, "--status").out
        assert "2 cells: 1 running, 1 waiting" in table and f"process {os.getpid()} on " in table
    assert states() == ["waiting", "stopped"]


def test_the_cell_of_a_worker_on_another_machine_is_taken_over_when_its_heart_stops(sweep_folder):
    folder = sweep_folder()
    claim(folder.claims, 1, 1, {})
    beat = folder_of(folder.claims, 1, 1) / "heartbeat.json"
    beat.write_text(json.dumps({"machine": "elsewhere", "locked": True, "beat": 4, "ended": False}))
    begun = time.monotonic()
    assert work(folder, options(patience=0.5)) == 2
    assert time.monotonic() - begun > 0.5
    assert sorted(path.name for path in folder.claims.iterdir()) == ["0001.1", "0001.2", "0002.1"]


def test_a_worker_that_has_lost_its_cell_stops_and_writes_nothing(sweep_folder, tiny_corpus):
    folder = sweep_folder()
    text = folder.sweep.path.read_text()
    folder.sweep.path.write_text(text.replace("epochs = 1", "epochs = 100000"))
    folder = SweepFolder(folder.path.with_name("long"), Sweep(folder.sweep.path, RECIPES))
    folder.open()
    lines = []

    def log(line):
        lines.append(line)
        if line.startswith("cell 1 of 2"):
            # as one would that takes this worker for dead
            claim(folder.claims, 1, 2, {})

    assert not work_on(folder, 1, options(log=log, beat_seconds=0.01))
    assert lines[-1] == "cell 1: another worker has taken it over"
    assert not list((folder.path / "results").iterdir())
    # besides the one before the first step, no checkpoint: the other worker may have written one
    assert [path.name for path in steps_in(folder.run(1) / "checkpoints")] == ["step-000000000"]


def test_a_cell_in_which_every_worker_is_killed_fails(sweep_folder):
    folder = sweep_folder()
    for generation in range(1, FATAL_CLAIMS + 1):
        held = claim(folder.claims, 1, generation, {})
        (held.folder / "heartbeat.json").write_text(json.dumps({"step": 0, "machine": "elsewhere", "beat": 1}))
    assert work(folder, options(patience=0.05)) == 2
    result = folder.result(1)
    assert result.state == "failed" and "3 workers in a row were killed in this cell" in result.error
    assert folder.result(2).state == "done"


def test_no_cell_is_begun_after_the_minutes(refrain, file, tmp_path):
    done = refrain("sweep", file("minutes = 0"), "--out", tmp_path / "out")
    assert "0 minutes are over; no other cell is begun" in done.err and "2 cells: 2 waiting" in done.out


def test_a_recipe_that_is_meant_to_continue_from_a_run_is_named(refrain, file, tmp_path, monkeypatch):
    monkeypatch.setattr(cell_run, "train", lambda experiment, path, **more: None)
    given = file()
    assert "meant to continue" not in refrain("sweep", given, "--out", tmp_path / "one").err
    given.write_text(given.read_text().replace("zaremba-small", "zaremba-medium-iss"))
    words = ["sweep", given, "--out", tmp_path / "two"]
    note = f"{given} is meant to continue from a trained run (--from RUN); refrain sweep has no --from, and starts its"
    assert note in refrain(*words).err and "meant to" not in refrain(*words, "--quiet").err


def test_a_file_of_a_sweep_is_also_the_recipe_of_its_settings(refrain, file, tmp_path):
    refrain("train", file(), "--out", tmp_path / "run", "--quiet")
    assert refrain("runs", tmp_path / "run", "--json").json["runs"][0]["model"] == "lstm 4-200-200"


def test_watching_ends_with_the_sweep(refrain, done):
    file, out = done
    assert "4 cells: 4 done" in refrain("sweep", file, "--out", out, "--watch").out
    assert refrain("sweep", file, "--out", out, "--watch", "--json").json["counts"]["done"] == 4


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_from_the_terminal_stops_workers_after_a_checkpoint(file, tmp_path, own_environment):
    given, out = file(), tmp_path / "out"
    given.write_text(given.read_text().replace("epochs = 1", "epochs = 100000"))
    words = [sys.executable, "-m", "refrain", "sweep", given, "--out", out, "--workers", "2"]
    cells = [out / "cells" / f"000{number}" for number in (1, 2)]
    # a shell that runs the tests in the background lets them ignore Ctrl-C
    streams = {"stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts}
    with Command(words, env=own_environment, start_new_session=True, **streams) as process:
        end = time.monotonic() + 100
        while not all((cell / "metrics.jsonl").exists() for cell in cells):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.05)
        # Ctrl-C reaches every process of the terminal
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    beats = [json.loads((out / "claims" / f"000{number}.1" / "heartbeat.json").read_text()) for number in (1, 2)]
    assert all(beat["ended"] for beat in beats) and said.count("continue with: refrain sweep ") == 2, said
    assert "Traceback" not in said


def test_workers_are_stopped_with_the_command_that_has_started_them(file, tmp_path, own_environment, monkeypatch):
    from processes import command_process

    monkeypatch.setenv("REFRAIN_CACHE", own_environment["REFRAIN_CACHE"])
    given = file()
    given.write_text(given.read_text().replace("epochs = 1", "epochs = 100000"))
    out = tmp_path / "out"
    beats = [out / "claims" / f"000{number}.1" / "heartbeat.json" for number in (1, 2)]
    said = tmp_path / "said"
    with command_process(["sweep", given, "--out", out, "--workers", "2"], stderr=said) as process:
        end = time.monotonic() + 100
        while not all(steps_in(out / "cells" / f"000{number}" / "checkpoints") for number in (1, 2)):
            assert time.monotonic() < end and process.is_alive(), said.read_text()
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGTERM)
        process.join(60)
    assert process.exitcode == 143, said.read_text()
    found = [json.loads(beat.read_text()) for beat in beats]
    assert all(beat["ended"] for beat in found) and len({process.pid, *(beat["pid"] for beat in found)}) == 3
    assert "Traceback" not in said.read_text()


def test_the_commands_that_come_next_are_quoted(refrain, done, tmp_path):
    given, out = done
    blank = tmp_path / "my sweep.toml"
    blank.write_text(given.read_text())
    printed = refrain("sweep", blank, "--out", out, "--status").out
    assert f"next:  refrain sweep '{blank}' --out {out} --best best.toml" in printed
    best = tmp_path / "the best.toml"
    assert f"next:  refrain train '{best}'" in refrain("sweep", blank, "--out", out, "--best", best).out


def test_mistakes(mistake, file, write, tmp_path, done):
    given, _ = done
    mistake(2, ["sweep", tmp_path / "gone.toml"], "gone.toml: No such file")
    mistake(2, ["sweep", given, "--status", "--worker"], "--worker and --status exclude each other")
    mistake(2, ["sweep", given, "--workers", "0"], "--workers must be at least 1")
    mistake(2, ["sweep", given, "--takeover", "0"], "--takeover must be greater than 0")
    mistake(2, ["sweep", given, "--takeover", "nan"], "--takeover must be greater than 0 (got nan)")
    mistake(2, ["sweep", given, "--takeover", "9", "--status"], "--takeover cannot take effect with --status")
    mistake(2, ["sweep", given, "--quiet", "--best", tmp_path / "b.toml"], "--quiet cannot take effect with --best")
    mistake(2, ["sweep", given, "--json", "--worker"], "--json cannot take effect with --worker; --status --json")
    mistake(2, ["sweep", given, "--force"], "--force cannot take effect without --best")
    mistake(2, ["sweep", given, "--best", tmp_path / "best.json"], "--best must end in .toml")
    mistake(4, ["sweep", given, "--out", tmp_path / "new", "--status"], "no sweep was started here")
    (tmp_path / "taken").mkdir()
    write("taken/mine", "mine")
    mistake(4, ["sweep", given, "--out", tmp_path / "taken"], "holds other files than those of a sweep")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]
    mistake(4, ["sweep", given, "--out", tmp_path / "taken" / "mine" / "x"], "cannot be written (Not a directory)")
    fresh = file(name="fresh.toml")
    mistake(3, ["sweep", fresh, "--data", tmp_path / "nothing", "--out", tmp_path / "x"], "nothing: no such file")
    assert not (tmp_path / "x").exists()
    refused = write("refused.toml", fresh.read_text().replace("[[4], [6]]", "[[4], [-6]]"))
    mistake(2, ["sweep", refused, "--out", tmp_path / "x"], "model.hidden_sizes")
    assert not (tmp_path / "x").exists()


def test_the_package_of_a_sampler_is_named_before_any_cell(mistake, file, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from refrain.runs.sweeps import optuna_search

    monkeypatch.setattr(optuna_search, "find_spec", lambda name: None)
    for sampler, package in (("cmaes", "cmaes"), ("qmc", "scipy"), ("gp", "scipy")):
        words = ["sweep", file(f'method = "optuna"\ncells = 2\nsampler = "{sampler}"'), "--out", tmp_path / "x"]
        mistake(2, words, f'sweep.sampler = "{sampler}" needs another package: pip install {package}, or use sampler =')
        assert not (tmp_path / "x").exists()


def test_optuna_is_named_where_it_is_missing(mistake, file, tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *more):
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    words = ["sweep", file('method = "optuna"\ncells = 2'), "--out", tmp_path / "x"]
    mistake(2, words, "needs optuna: pip install 'refrain-lm[sweep]', or use grid or random")
    assert not (tmp_path / "x").exists()
