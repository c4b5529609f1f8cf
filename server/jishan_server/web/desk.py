"""The desk: what a coordinator, an approver or an estate's secretary does. Each module is one part of it."""

from jishan_server.web import (
    desk_activities,
    desk_approving,
    desk_attendance,
    desk_figures,
    desk_home,
    desk_imports,
    desk_papers,
    desk_people,
    desk_sheets,
    desk_tasks,
    desk_todo,
)
from jishan_server.web.desk_ground import desk

PARTS = (
    desk_home,
    desk_todo,
    desk_approving,
    desk_activities,
    desk_attendance,
    desk_sheets,
    desk_people,
    desk_papers,
    desk_tasks,
    desk_figures,
    desk_imports,
)
"""Importing a part gives the desk its pages."""

__all__ = ["PARTS", "desk"]
