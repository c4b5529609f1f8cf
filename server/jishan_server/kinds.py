"""Every operation that people and programs may ask of the writer: from its name to its body and its use case.

The gateway's own kind, one message from a machine, is not here: it comes over the link only.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from jishan_server import attachments
from jishan_server.ledger import operations as ledger
from jishan_server.organizations import calendar, tree
from jishan_server.people import consents, residents, sessions, staff
from jishan_server.vending import alerts, clock, decisions, machines
from jishan_server.vending.rules import Rules
from jishan_server.volunteering import crediting, credits
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Kind, Operation, Outcome

RunOne = Callable[[Connection, Operation, datetime], Any]

BODIES: Final[dict[str, type]] = {
    "create_organization": tree.CreateOrganization,
    "create_organizations": tree.CreateOrganizations,
    "change_organization": tree.ChangeOrganization,
    "move_organization": tree.MoveOrganization,
    "set_calendar_day": calendar.SetCalendarDay,
    "clear_calendar_day": calendar.ClearCalendarDay,
    "load_calendar": calendar.LoadCalendar,
    "create_staff": staff.CreateStaff,
    "log_in": staff.LogIn,
    "log_out": staff.LogOut,
    "resident_log_in": sessions.ResidentLogIn,
    "resident_log_out": sessions.ResidentLogOut,
    "create_resident": residents.CreateResident,
    "give_consent": consents.GiveConsent,
    "withdraw_consent": consents.WithdrawConsent,
    "publish_consent_text": consents.PublishConsentText,
    "edit_resident": residents.EditResident,
    "freeze_resident": residents.FreezeResident,
    "bind_card": residents.BindCard,
    "block_card": residents.BlockCard,
    "replace_card": residents.ReplaceCard,
    "set_pin": residents.SetPin,
    "record_credit": credits.RecordCredit,
    "approve_credit": credits.DecideCredit,
    "reject_credit": credits.DecideCredit,
    "reverse_credit": credits.ReverseCredit,
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
    "mark_alert": alerts.MarkAlert,
    "confirm_date": clock.ConfirmDate,
}
"""The body of each kind, for those who read operations from JSON."""

TIMED: Final = (ledger.DAYS, crediting.FINALISE)
"""Kinds that the server asks of itself every `WATCH_INTERVAL_S`, with no body: each finds out what is due by the clock
of its transaction, does a bounded piece of it, and is quick where nothing is.
"""


def kinds(credit_rules: CreditRules, rules: Rules) -> dict[str, Kind]:
    """The use case of each kind, with the rules it goes by."""
    one_by_one: dict[str, RunOne] = {
        "create_organization": tree.create_organization,
        "create_organizations": tree.create_organizations,
        "change_organization": tree.change_organization,
        "move_organization": partial(tree.move_organization, zone=rules.zone),
        "set_calendar_day": calendar.set_calendar_day,
        "clear_calendar_day": calendar.clear_calendar_day,
        "load_calendar": calendar.load_calendar,
        "create_staff": staff.create_staff,
        "log_out": staff.log_out,
        "resident_log_out": sessions.log_out,
        "create_resident": partial(residents.create_resident, zone=rules.zone),
        "give_consent": partial(consents.give_consent, zone=rules.zone),
        "withdraw_consent": consents.withdraw_consent,
        "publish_consent_text": partial(consents.publish_text, zone=rules.zone),
        "edit_resident": partial(residents.edit_resident, zone=rules.zone),
        "freeze_resident": residents.freeze_resident,
        "bind_card": residents.bind_card,
        "block_card": residents.block_card,
        "replace_card": residents.replace_card,
        "set_pin": residents.set_pin,
        "attach": attachments.attach,
        "record_credit": partial(credits.record_credit, rules=credit_rules),
        "reject_credit": credits.reject_credit,
        "reverse_credit": partial(credits.reverse_credit, rules=credit_rules),
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
        "mark_alert": alerts.mark_alert,
        "confirm_date": partial(clock.confirm_date, rules=rules),
    }
    mass = {
        # Before anything is booked in the same transaction: on PostgreSQL it waits for the bookings of others.
        ledger.DAYS: Kind(run_batch=partial(ledger.days, zone=rules.zone)),
        "ping": Kind(run_batch=_ping),
        # Tries to log in are counted even when they are refused, so they are no savepoint's business.
        "log_in": Kind(run_batch=staff.log_in),
        "resident_log_in": Kind(run_batch=sessions.log_in),
        crediting.FINALISE: Kind(run_batch=partial(crediting.finalise_due, settings=credit_rules)),
        "approve_credit": Kind(run_batch=partial(credits.approve_credits, rules=credit_rules)),
    }
    return mass | {name: Kind(run_one=run) for name, run in one_by_one.items()}


def _ping(connection: Connection, operations: Sequence[Operation], now: datetime) -> list[Outcome]:
    """Show that the writer commits."""
    return [Outcome() for _ in operations]
