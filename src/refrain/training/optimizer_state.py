"""Restores the state of an optimiser from a checkpoint, and checks that it fits the parameters."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Restore the state of an optimiser. Its settings stay as they are, except for the learning rate.

    Args:
        optimizer: the optimiser, changed in place.
        saved: the state from its `state_dict`.

    Raises:
        ValueError: when the state does not fit the optimiser or its parameters.
    """
    groups = optimizer.param_groups
    settings = [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]
    optimizer.load_state_dict(dict(saved))
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        rate = group.get("lr")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < math.inf:
            raise ValueError("optimizer: the learning rate is not a number of at least 0")
        group.update(own)
    parameters = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    for parameter, state in optimizer.state.items():
        if parameter not in parameters:
            raise ValueError("optimizer: has a state for a parameter that does not exist")
        _check_state(optimizer, parameter, state)
    _complete_momentum(optimizer)


def _check_state(optimizer: torch.optim.Optimizer, parameter: Tensor, state: Mapping[str, Any]) -> None:
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if isinstance(optimizer, torch.optim.Adam) and not {"step", "exp_avg", "exp_avg_sq"} <= set(tensors):
        raise ValueError(f"optimizer: the state of a parameter has only {', '.join(tensors) or 'nothing'}")
    # SGD without momentum has None in the place of the last update
    if any(value is not None for name, value in state.items() if name not in tensors):
        raise ValueError("optimizer: the state of a parameter is not made of tensors")
    for name, value in tensors.items():
        if value.shape != (torch.Size() if name == "step" else parameter.shape):
            raise ValueError(
                f"optimizer: {name} has shape {tuple(value.shape)}, the parameter has shape {tuple(parameter.shape)}"
            )


def _complete_momentum(optimizer: torch.optim.Optimizer) -> None:
    """Give parameters without a last update one of zeros, where others have one: torch takes all or none."""
    states = optimizer.state
    parameters = [
        parameter for group in optimizer.param_groups if group.get("momentum") for parameter in group["params"]
    ]
    if any(states[parameter].get("momentum_buffer") is not None for parameter in parameters if parameter in states):
        for parameter in parameters:
            if states[parameter].get("momentum_buffer") is None:
                states[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
