"""What the ranks of a run must agree on before its first step, and what each of them does on its own."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch

from refrain._version import __version__
from refrain.assembly.model import build_device
from refrain.config import AnyExperiment
from refrain.config.toml_text import toml_of
from refrain.errors import CheckpointError, DataError, MachineError, UserError
from refrain.nn.dropout import DropoutOfColumns
from refrain.parallel import Ranks
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_folder import RunFolder
from refrain.training import PlainProgress
from refrain.training.progress import Progress

from .kinds import AnyCorpus

Found = TypeVar("Found")


def report_of(ranks: Ranks, progress: Progress | None) -> Progress:
    """Return the progress report of this rank: ranks that follow are silent.

    Args:
        ranks: the ranks.
        progress: the report that was asked for; None prints lines of text.
    """
    return (progress or PlainProgress()) if ranks.first else PlainProgress(quiet=True)


def first_then_others(ranks: Ranks, read: Callable[[], Found]) -> Found:
    """Read something in rank 0 first, which prepares it for the others on its machine.

    Args:
        ranks: the ranks.
        read: reads it.
    """
    if not ranks.first:
        ranks.wait()
    found = read()
    if ranks.first:
        ranks.wait()
    return found


def check_columns(ranks: Ranks, experiment: AnyExperiment) -> None:
    """Check that every rank has something to compute.

    Raises:
        UserError: when there are more ranks than columns.
    """
    if experiment.training.batch_size < ranks.size:
        raise UserError(
            f"{ranks.size} processes are more than training.batch_size ({experiment.training.batch_size}), of which "
            "each process needs at least one sequence; start fewer processes, or raise training.batch_size"
        )


def check_gpus(ranks: Ranks, experiment: AnyExperiment) -> None:
    """Check that each rank that trains on a GPU has one of its own, which NCCL needs.

    Raises:
        MachineError: when ranks share a GPU.
    """
    if ranks.size == 1:
        return
    gpu = None
    if build_device(experiment.training.device).type == "cuda":
        index = torch.cuda.current_device()
        # ranks may each see another GPU under the same index
        gpu = str(getattr(torch.cuda.get_device_properties(index), "uuid", index))
    every: list[list[str | None]] = ranks.gathered([socket.gethostname(), gpu])
    for host in dict.fromkeys(host for host, _ in every):
        gpus = [own for other, own in every if other == host and own is not None]
        if (count := len(set(gpus))) < len(gpus):
            raise MachineError(
                f"{host} has fewer GPUs than the {len(gpus)} ranks on it, each of which needs one of its own; start "
                f"{count} there (--processes {count}, or torchrun --nproc-per-node={count}), or train on the "
                "processors with training.device=cpu"
            )


def check_same(ranks: Ranks, experiment: AnyExperiment, corpus: AnyCorpus) -> None:
    """Check that all ranks have the same settings, text and programs.

    Args:
        ranks: the ranks.
        experiment: the settings of this rank.
        corpus: the corpus of this rank.

    Raises:
        UserError: when settings or programs differ; the message names rank and difference.
        DataError: when the text differs.
    """
    if ranks.size == 1:
        return
    settings = experiment.model_copy(update={"data": experiment.data.model_copy(update={"corpus": ""})})
    vocabulary = repr(corpus.vocabulary.document()).encode()
    own: dict[str, Any] = {
        "refrain": __version__,
        "torch": torch.__version__,
        "the settings": toml_of(settings),
        **{f"the text of {name}": list(_size(split)) for name, split in corpus.splits.items()},
        "the vocabulary": hashlib.sha256(vocabulary).hexdigest(),
    }
    every = ranks.gathered(own)
    for rank, other in enumerate(every):
        for name in own:
            if other.get(name) != every[0].get(name):
                kind = DataError if "text" in name or "vocabulary" in name else UserError
                raise kind(
                    f"rank {rank}: {name} {'differ' if name.endswith('s') else 'differs'} from rank 0"
                    f"{_shown(every[0].get(name), other.get(name))}; every rank must be given the same"
                )


def _size(split: Any) -> tuple[Any, ...]:
    return len(split.tokens), getattr(split, "sha256", None), getattr(split, "layout", "")


def _shown(here: Any, there: Any) -> str:
    lines = [set(str(each).splitlines()) for each in (here, there)]
    old, new = (sorted(lines[0] - lines[1])[:1], sorted(lines[1] - lines[0])[:1])
    if old and new and len(old[0]) + len(new[0]) < 120:
        return f" ({new[0]} instead of {old[0]})"
    return ""


def check_shared(ranks: Ranks, run: RunFolder) -> None:
    """Check that all ranks see the run folder, from which they read checkpoints.

    Args:
        ranks: the ranks.
        run: the run folder, in which rank 0 has written `config.json`.

    Raises:
        CheckpointError: when a rank does not see it.
    """
    if ranks.size == 1:
        return
    ranks.wait()
    file = run.path / "config.json"
    digests = ranks.gathered(_digest(file))
    for rank, digest in enumerate(digests):
        if digest != digests[0]:
            raise CheckpointError(
                f"{run.path.resolve()}: rank {rank} does not see what rank 0 has written there; choose an --out in a "
                "folder that all machines share"
            )


def check_same_checkpoint(ranks: Ranks, checkpoint: Checkpoint) -> None:
    """Check that all ranks resume the same checkpoint; the file system of a machine may show older files for a while.

    Args:
        ranks: the ranks.
        checkpoint: the newest checkpoint that this rank has found.

    Raises:
        CheckpointError: when a rank has found another one.
    """
    names = ranks.gathered(checkpoint.folder.name)
    for rank, name in enumerate(names):
        if name != names[0]:
            raise CheckpointError(
                f"{checkpoint.folder.parent}: rank {rank} finds {name} as the newest complete checkpoint, and rank 0 "
                f"finds {names[0]}; wait until all machines see the same files, and resume again"
            )


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def share_network(ranks: Ranks, network: torch.nn.Module) -> None:
    """Give every rank the weights of rank 0, and let torch's dropouts draw the masks of all columns. In place.

    Args:
        ranks: the ranks.
        network: the network, which may be a user's own.
    """
    if ranks.size == 1:
        return
    for module in network.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = DropoutOfColumns
    ranks.same_weights(network)
