"""The command `refrain recipes`."""

from .options import JsonOption


def recipes(name: str | None = None, /, *, json: JsonOption = False) -> None:
    """List the recipes, or show the settings and results of one.

    Parameters
    ----------
    name
        The name of a recipe.
    """
    from refrain.config.schema import as_set, flatten
    from refrain.recipes import RECIPES, description

    from .output import print_json, table

    if name is None:
        first = {known: description(known).splitlines()[0] for known in RECIPES}
        if json:
            print_json({"recipes": [{"name": known, "description": line} for known, line in first.items()]})
        else:
            print(table([["recipe", "what it is"], *[[known, line] for known, line in first.items()]]))
            print("\nrefrain recipes NAME shows the settings; refrain train NAME trains.")
        return
    text = description(name)
    experiment = RECIPES[name]()
    if json:
        print_json(experiment.model_dump(mode="json"))
        return
    print(text, end="\n\n")
    root = type(experiment)
    for name, value in flatten(experiment.model_dump(mode="json"), root=root):
        # the name and the task are not settings
        if "." in name:
            print(f"{as_set(name, root)} = {_spelled(value)}")


def _spelled(value: object) -> str:
    """A value as the command line reads it."""
    from json import dumps

    match value:
        case None:
            return "none"
        case str():
            return value
    return dumps(value, separators=(",", ":"))
