"""The tensors of a saved model by their names in PyTorch: from a state dict, a whole module, or a list with one."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from refrain.errors import CheckpointError, shown

from .records import Record, StoredTensor

MAX_DEPTH = 30
MAX_MODULES, MAX_TENSORS = 10_000, 100_000
# keys under which programs save the state dict beside other things
KEYS = ("model", "state_dict", "model_state_dict", "net")


class SavedState(NamedTuple):
    """The tensors of a saved model.

    Attributes:
        tensors: by name, as in a state dict.
        module: the record of the module, if the whole module was saved.
        beside: what was saved beside the model, by key, or by index in a list.
    """

    tensors: dict[str, StoredTensor]
    module: Record | None
    beside: dict[Any, Any]


def find_state(root: Any, path: Path) -> SavedState:
    """Find the tensors of the model in what was saved.

    Args:
        root: a module, a state dict, a list or tuple that begins with one of them, or a dict with one of them under
            `model` or `state_dict`.
        path: the file, for messages.

    Raises:
        CheckpointError: when there is none.
    """
    beside: dict[Any, Any] = {}
    for _ in range(4):
        if isinstance(root, list | tuple) and root:
            beside |= dict(enumerate(root[1:], 1))
            root = root[0]
            continue
        if isinstance(root, dict):
            key = next((key for key in KEYS if _may_hold_tensors(root.get(key))), None)
            if key is not None:
                beside |= {name: value for name, value in root.items() if name != key}
                root = root[key]
                continue
        break
    if isinstance(root, Record):
        tensors = dict(itertools.islice(_walk(root, path), MAX_TENSORS))
        module = root
    else:
        tensors = _entries(root, path)
        module = None
    if not tensors:
        what = f"an object of {root.name}" if isinstance(root, Record) else f"a {type(root).__name__}"
        raise CheckpointError(f"{path}: holds no model, but {what}; save the model or its state dict with torch.save")
    return SavedState(_without_wrapper(tensors), module, beside)


def _may_hold_tensors(value: Any) -> bool:
    """Whether what lies under a key may be a model: a module, a list with one, or a dict with tensors or such a key."""
    if isinstance(value, Record):
        return _tensor(value) is None and value.attribute("_modules") is not None
    if isinstance(value, dict):
        return any(_tensor(each) is not None or isinstance(each, Record) for each in value.values()) or any(
            isinstance(value.get(key), dict) for key in KEYS
        )
    return isinstance(value, list | tuple)


def _entries(root: Any, path: Path) -> dict[str, StoredTensor]:
    if not isinstance(root, dict):
        return {}
    found = {}
    for name, value in root.items():
        tensor = _tensor(value)
        if tensor is not None and not isinstance(name, str):
            raise CheckpointError(f"{path}: has a tensor under {shown(name)}, which is not a name")
        if tensor is not None:
            found[name] = tensor
    return found


def _walk(module: Record, path: Path) -> Iterator[tuple[str, StoredTensor]]:
    """The parameters and buffers of a module and of the modules in it."""
    waiting = [("", module, 0)]
    seen = 0
    while waiting:
        prefix, record, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_MODULES:
            raise CheckpointError(
                f"{path}: modules are nested more than {MAX_DEPTH} deep, or more than {MAX_MODULES:,}"
            )
        for group in ("_parameters", "_buffers"):
            for name, value in _group(record, group).items():
                tensor = _tensor(value)
                if tensor is not None:
                    yield f"{prefix}{name}", tensor
        for name, value in _group(record, "_modules").items():
            if isinstance(value, Record):
                waiting.append((f"{prefix}{name}.", value, depth + 1))


def _group(record: Record, name: str) -> dict[str, Any]:
    found = record.attribute(name)
    return {key: value for key, value in found.items() if isinstance(key, str)} if isinstance(found, dict) else {}


def _tensor(value: Any) -> StoredTensor | None:
    """A tensor, or the tensor of a parameter as torch 0.3 and earlier stored it: the first part of its state."""
    if isinstance(value, Record) and value.name.name in ("Parameter", "Variable"):
        state = value.state
        value = state[0] if isinstance(state, tuple) and state else None
    return value if isinstance(value, StoredTensor) else None


def _without_wrapper(tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Names without the `module.` that DataParallel puts before all of them, and `_orig_mod.` of torch.compile."""
    names = [name.replace("_orig_mod.", "") for name in tensors]
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    # a wrapper has no tensor of its own that would get the name of another
    return dict(zip(names, tensors.values(), strict=True)) if len(set(names)) == len(tensors) else tensors
