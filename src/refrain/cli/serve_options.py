"""Options of `refrain serve` that exclude each other."""


def check_stdio(json: bool, host: str, port: int, token: str | None) -> None:
    """Refuse options that have no effect on standard input and output.

    Args:
        json: whether `--json` is given.
        host: the name or address to listen at.
        port: the port.
        token: the token, if one is given.

    Raises:
        UserError: when one of them is given.
    """
    from refrain.errors import UserError

    if json:
        raise UserError("--json cannot take effect with --stdio, whose output is JSON in any case")
    given = {"--host": host != "127.0.0.1", "--port": port != 8000, "--token": token is not None}
    if named := [option for option, is_given in given.items() if is_given]:
        raise UserError(f"{', '.join(named)} cannot take effect with --stdio, which opens no port")
