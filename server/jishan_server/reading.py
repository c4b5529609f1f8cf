"""The read side of the web: one session for each request, on the engine that the app was given.

Writes never go this way: they are operations of the writer.
"""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection

from jishan_server.db import metadata

db = SQLAlchemy(metadata=metadata)


def reading() -> Connection:
    """The request's connection for reading; it ends with the request."""
    return db.session.connection()
