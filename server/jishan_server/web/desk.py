"""The desk: what a coordinator, an approver or an estate's secretary does today."""

from flask import render_template
from flask.typing import ResponseReturnValue

from jishan_server.api.asking import actor
from jishan_server.people import staff
from jishan_server.reading import reading
from jishan_server.web.ground import for_staff, pages

desk = pages("desk", "/desk", is_staff=True)


@desk.get("")
@for_staff
def home() -> ResponseReturnValue:
    """Today's work."""
    return render_template("desk/home.html", person=staff.view(reading(), actor()))
