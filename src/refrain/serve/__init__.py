"""Trained models and runs over HTTP: a server of models, and the page of runs that train."""

from typing import TYPE_CHECKING

from refrain._lazy import lazily

if TYPE_CHECKING:
    from .http import application as application
    from .limits import Limits as Limits
    from .served import Models as Models
    from .served import serve_model as serve_model
    from .service import Service as Service
    from .starting import listen as listen
    from .starting import serve as serve
    from .stdio import serve_lines as serve_lines
else:
    # standard input needs no package for HTTP
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "Limits": "limits",
            "Models": "served",
            "Service": "service",
            "application": "http",
            "listen": "starting",
            "serve": "starting",
            "serve_lines": "stdio",
            "serve_model": "served",
        },
    )
