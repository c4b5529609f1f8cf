"""The read side of the web: one session for each request, on the engine that the app was given.

Writes never go this way: they are operations of the writer.
"""

from typing import Any

from flask import current_app
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import Connection, Engine

from jishan_server.db import metadata
from jishan_server.parts import Parts


class _AppSession(Session):
    """Reads through the engine of the app's parts, which has each connection's settings."""

    def get_bind(self, *_: Any, **__: Any) -> Engine:
        parts: Parts = current_app.extensions["jishan"]
        return parts.engine


db = SQLAlchemy(metadata=metadata, session_options={"class_": _AppSession})


def reading() -> Connection:
    """The request's connection for reading; it ends with the request."""
    return db.session.connection()
