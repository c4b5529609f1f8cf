"""Every operation that people and programs may ask of the writer: from its name to its body and its use case.

The gateway's own kind, one message from a machine, is not here: it comes over the link only.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from jishan_server import attachments, demo_loading
from jishan_server.ledger import operations as ledger
from jishan_server.organizations import calendar, groups, tree
from jishan_server.people import (
    auditing,
    consents,
    duplicates,
    memberships,
    merging,
    privacy,
    residents,
    sessions,
    staff,
)
from jishan_server.vending import alerts, clock, decisions, machines, reports
from jishan_server.vending.rules import Rules
from jishan_server.volunteering import (
    activities,
    adjustments,
    appeals,
    claims,
    corrections,
    crediting,
    credits,
    notice,
    recording,
    reviewing,
    rule_versions,
    session_credits,
    signing_up,
    tasks,
    trainings,
)
from jishan_server.volunteering import sessions as planning
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Kind, Operation, Outcome

RunOne = Callable[[Connection, Operation, datetime], Any]

BODIES: Final[dict[str, type]] = {
    "create_organization": tree.CreateOrganization,
    "create_organizations": tree.CreateOrganizations,
    "change_organization": tree.ChangeOrganization,
    "move_organization": tree.MoveOrganization,
    "create_group": groups.CreateGroup,
    "change_group": groups.ChangeGroup,
    "add_membership": memberships.AddMembership,
    "end_membership": memberships.EndMembership,
    "set_calendar_day": calendar.SetCalendarDay,
    "clear_calendar_day": calendar.ClearCalendarDay,
    "load_calendar": calendar.LoadCalendar,
    "create_staff": staff.CreateStaff,
    "edit_staff": staff.EditStaff,
    "set_roles": staff.SetRoles,
    "set_staff_active": staff.SetStaffActive,
    "reset_password": staff.ResetPassword,
    "change_password": staff.ChangePassword,
    "log_in": staff.LogIn,
    "log_out": staff.LogOut,
    "resident_log_in": sessions.ResidentLogIn,
    "resident_log_out": sessions.ResidentLogOut,
    "create_resident": residents.CreateResident,
    "give_consent": consents.GiveConsent,
    "withdraw_consent": consents.WithdrawConsent,
    "publish_consent_text": consents.PublishConsentText,
    "erase_resident": privacy.EraseResident,
    "dismiss_duplicate": duplicates.DismissDuplicate,
    "edit_resident": residents.EditResident,
    "freeze_resident": residents.FreezeResident,
    "merge_residents": merging.MergeResidents,
    "close_resident": merging.CloseResident,
    "bind_card": residents.BindCard,
    "block_card": residents.BlockCard,
    "replace_card": residents.ReplaceCard,
    "set_pin": residents.SetPin,
    "put_activity_type": activities.PutActivityType,
    "create_template": activities.CreateTemplate,
    "change_template": activities.ChangeTemplate,
    "create_activity": activities.CreateActivity,
    "change_activity": activities.ChangeActivity,
    "publish_activity": activities.PublishActivity,
    "cancel_activity": activities.CancelActivity,
    "create_sessions": planning.CreateSessions,
    "change_session": planning.ChangeSession,
    "cancel_session": planning.CancelSession,
    "sign_up": signing_up.SignUp,
    "cancel_sign_up": signing_up.CancelSignUp,
    "record_attendances": recording.RecordAttendances,
    "check_one": recording.CheckOne,
    "check_by_code": recording.CheckByCode,
    "confirm_attendance": reviewing.ConfirmAttendance,
    "correct_attendance": reviewing.CorrectAttendance,
    "void_attendance": reviewing.VoidAttendance,
    "record_credit": credits.RecordCredit,
    "approve_credit": credits.DecideCredit,
    "reject_credit": credits.DecideCredit,
    "reverse_credit": credits.ReverseCredit,
    "correct_credit": corrections.CorrectCredit,
    "record_session": session_credits.RecordSession,
    "approve_session": session_credits.ApproveSession,
    "file_objection": notice.FileObjection,
    "decide_objection": notice.DecideObjection,
    "file_appeal": appeals.FileAppeal,
    "decide_appeal": appeals.DecideAppeal,
    "propose_adjustment": adjustments.ProposeAdjustment,
    "decide_adjustment": adjustments.DecideAdjustment,
    "make_rules": rule_versions.MakeRules,
    "create_machine": machines.CreateMachine,
    "make_claim_code": machines.MakeClaimCode,
    "enroll": machines.Enroll,
    "create_product": machines.CreateProduct,
    "publish_planogram": machines.PublishPlanogram,
    "count_stock": machines.CountStock,
    "set_slot_open": machines.SetSlotOpen,
    "set_machine_open": machines.SetMachineOpen,
    "lose_machine": machines.LoseMachine,
    "resolve": decisions.Resolve,
    "reverse": decisions.Reverse,
    "give_up": decisions.GiveUp,
    "record_entry": trainings.RecordEntry,
    "withdraw_entry": trainings.WithdrawEntry,
    "make_claim": claims.MakeClaim,
    "decide_claim": claims.DecideClaim,
    "make_task": tasks.MakeTask,
    "confirm_task": tasks.ConfirmTask,
    "make_report": reports.MakeReport,
    "decide_report": reports.DecideReport,
    "reopen_report": reports.ReopenReport,
    "mark_alert": alerts.MarkAlert,
    "confirm_date": clock.ConfirmDate,
    "load_demo": demo_loading.LoadDemo,
}
"""The body of each kind, for those who read operations from JSON."""

TIMED: Final = (ledger.DAYS, planning.CLOSE, crediting.FINALISE, privacy.RETAIN)
"""Kinds that the server asks of itself every `WATCH_INTERVAL_S`, with no body: each finds out what is due by the clock
of its transaction, does a bounded piece of it, and is quick where nothing is.
"""


def kinds(credit_rules: CreditRules, rules: Rules, access_log_months: int = 24) -> dict[str, Kind]:
    """The use case of each kind, with the rules it goes by."""
    one_by_one: dict[str, RunOne] = {
        "create_organization": tree.create_organization,
        "create_organizations": tree.create_organizations,
        "change_organization": tree.change_organization,
        "move_organization": partial(tree.move_organization, zone=rules.zone),
        "create_group": groups.create_group,
        "change_group": groups.change_group,
        "add_membership": memberships.add_membership,
        "end_membership": memberships.end_membership,
        "set_calendar_day": calendar.set_calendar_day,
        "clear_calendar_day": calendar.clear_calendar_day,
        "load_calendar": calendar.load_calendar,
        "create_staff": staff.create_staff,
        "edit_staff": staff.edit_staff,
        "set_roles": staff.set_roles,
        "set_staff_active": staff.set_staff_active,
        "reset_password": staff.reset_password,
        "log_out": staff.log_out,
        "resident_log_out": sessions.log_out,
        "create_resident": partial(residents.create_resident, zone=rules.zone),
        "give_consent": partial(consents.give_consent, zone=rules.zone),
        "withdraw_consent": consents.withdraw_consent,
        "publish_consent_text": partial(consents.publish_text, zone=rules.zone),
        "erase_resident": privacy.erase,
        "dismiss_duplicate": duplicates.dismiss,
        "edit_resident": partial(residents.edit_resident, zone=rules.zone),
        "freeze_resident": residents.freeze_resident,
        "merge_residents": partial(merging.merge_residents, zone=rules.zone),
        "close_resident": partial(merging.close_resident, zone=rules.zone),
        "bind_card": residents.bind_card,
        "block_card": residents.block_card,
        "replace_card": residents.replace_card,
        "set_pin": residents.set_pin,
        "attach": attachments.attach,
        "record_entry": trainings.record_entry,
        "withdraw_entry": trainings.withdraw_entry,
        "make_claim": partial(claims.make_claim, rules=credit_rules),
        "decide_claim": partial(claims.decide_claim, rules=credit_rules),
        "make_task": tasks.make_task,
        "step_task": tasks.step_task,
        "confirm_task": partial(tasks.confirm_task, rules=credit_rules),
        "put_activity_type": activities.put_activity_type,
        "create_template": activities.create_template,
        "change_template": activities.change_template,
        "create_activity": activities.create_activity,
        "change_activity": activities.change_activity,
        "publish_activity": activities.publish_activity,
        "cancel_activity": partial(activities.cancel_activity, zone=rules.zone),
        "create_sessions": partial(planning.create_sessions, zone=rules.zone),
        "change_session": partial(planning.change_session, zone=rules.zone),
        "cancel_session": partial(planning.cancel_session, zone=rules.zone),
        "sign_up": partial(signing_up.sign_up, zone=rules.zone),
        "cancel_sign_up": partial(signing_up.cancel_sign_up, zone=rules.zone),
        "record_attendances": partial(recording.record_attendances, zone=rules.zone),
        "check_one": partial(recording.check_one, zone=rules.zone),
        "confirm_attendance": reviewing.confirm_attendance,
        "correct_attendance": partial(reviewing.correct_attendance, zone=rules.zone),
        "void_attendance": reviewing.void_attendance,
        "record_credit": partial(credits.record_credit, rules=credit_rules),
        "reject_credit": credits.reject_credit,
        "reverse_credit": partial(credits.reverse_credit, rules=credit_rules),
        "correct_credit": corrections.correct_credit,
        "record_session": partial(session_credits.record_session, settings=credit_rules),
        "approve_session": partial(session_credits.approve_session, settings=credit_rules),
        "file_objection": notice.file_objection,
        "decide_objection": partial(notice.decide_objection, settings=credit_rules),
        "file_appeal": partial(appeals.file_appeal, settings=credit_rules),
        "decide_appeal": partial(appeals.decide_appeal, settings=credit_rules),
        "propose_adjustment": partial(adjustments.propose_adjustment, settings=credit_rules),
        "decide_adjustment": partial(adjustments.decide_adjustment, settings=credit_rules),
        "make_rules": partial(rule_versions.make_rules, settings=credit_rules),
        "create_machine": machines.create_machine,
        "make_claim_code": partial(machines.make_claim_code, rules=rules),
        "enroll": partial(machines.enroll, rules=rules),
        "create_product": machines.create_product,
        "publish_planogram": machines.publish_planogram,
        "count_stock": machines.count_stock,
        "set_slot_open": machines.set_slot_open,
        "set_machine_open": machines.set_machine_open,
        "lose_machine": partial(machines.lose_machine, rules=rules),
        "resolve": partial(decisions.resolve, rules=rules),
        "reverse": partial(decisions.reverse, rules=rules),
        "give_up": partial(decisions.give_up, rules=rules),
        "make_report": partial(reports.make_report, rules=rules),
        "decide_report": partial(reports.decide_report, rules=rules),
        "reopen_report": partial(reports.reopen_report, rules=rules),
        "mark_alert": alerts.mark_alert,
        "confirm_date": partial(clock.confirm_date, rules=rules),
        "load_demo": partial(demo_loading.load_demo, settings=credit_rules),
    }
    mass = {
        # Before anything is booked in the same transaction: on PostgreSQL it waits for the bookings of others.
        ledger.DAYS: Kind(run_batch=partial(ledger.days, zone=rules.zone)),
        "ping": Kind(run_batch=_ping),
        # Tries to log in are counted even when they are refused, so they are no savepoint's business.
        "log_in": Kind(run_batch=staff.log_in),
        "change_password": Kind(run_batch=staff.change_password),
        "note_access": Kind(run_batch=privacy.note_accesses),
        "note_refusal": Kind(run_batch=auditing.note_refusals),
        privacy.RETAIN: Kind(run_batch=partial(privacy.retain, months=access_log_months)),
        "resident_log_in": Kind(run_batch=sessions.log_in),
        # Wrong codes are counted even when they are refused.
        "check_by_code": Kind(run_batch=partial(recording.check_by_code, zone=rules.zone)),
        # Before credits become final.
        planning.CLOSE: Kind(run_batch=planning.close_sessions),
        crediting.FINALISE: Kind(run_batch=partial(crediting.finalise_due, settings=credit_rules)),
        "approve_credit": Kind(run_batch=partial(credits.approve_credits, rules=credit_rules)),
    }
    return mass | {name: Kind(run_one=run) for name, run in one_by_one.items()}


def _ping(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Show that the writer commits."""
    return [Outcome() for _ in operations]
