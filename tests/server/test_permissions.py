"""The permission walk: every endpoint, asked by every role at every place of the tree, by residents, and by nobody.

`ENDPOINTS` says for each endpoint what it takes; one without a row fails. Who does not hold what the row says is
refused as `forbidden` (or told that there is no such thing, where the row says `hidden`), and nothing has changed.

A new endpoint needs one line in `ENDPOINTS`: its rule, and a body that reaches the use case. `{resident}` and the like
are filled from what `MAKERS` made; so are the arguments of the path, by their names (`<id:resident_id>` from
`resident_id`), unless `at` says from where. A new kind of thing needs a line or two in a maker.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from sqlalchemy import insert, select
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

sys.path.append(str(Path(__file__).parent))

from link_world import World
from office import Office, opened

from jishan_protocol.messages import OutcomeUnknown
from jishan_server.attachments import for_keeping
from jishan_server.db import all_tables, writing
from jishan_server.organizations.groups import CreateGroup
from jishan_server.organizations.roles import PERMISSIONS, SYSTEM, Permission, Role
from jishan_server.organizations.tree import CreateOrganization
from jishan_server.people.hashing import token_hash
from jishan_server.people.memberships import AddMembership
from jishan_server.people.message_tables import message_sendings
from jishan_server.people.messages import DisputeMessage
from jishan_server.people.sessions import RESIDENT_PREFIX
from jishan_server.people.staff import CreateStaff, Grant
from jishan_server.people.tables import resident_tokens, staff_tokens
from jishan_server.vending.machines import CreateMachine
from jishan_server.vending.reports import MakeReport
from jishan_server.vending.voucher_tables import vouchers
from jishan_server.volunteering.credit_tables import objections
from jishan_server.volunteering.rules import CreditRules
from jishan_server.writer import Operation


class Anybody(Enum):
    """What needs no role."""

    PUBLIC = auto()
    """Takes no token."""
    OWN = auto()
    """Any token: it is about oneself."""
    MYSELF = auto()
    """A resident's token only."""
    STAFF = auto()
    """Any token of staff."""


PUBLIC, OWN, MYSELF, STAFF = Anybody.PUBLIC, Anybody.OWN, Anybody.MYSELF, Anybody.STAFF


class Listed(NamedTuple):
    """A list for everybody who holds `permission` somewhere: of other estates it shows nothing of ours."""

    permission: Permission


class Everywhere(NamedTuple):
    """What concerns the scheme as one: `permission` must be held for the whole tree."""

    permission: Permission


class Row(NamedTuple):
    """What an endpoint takes, and a request that would be done."""

    rule: Permission | Listed | Everywhere | Anybody
    body: Any = None
    query: str = ""
    at: Mapping[str, str] = {}
    # What refuses somebody of another estate, if not `forbidden`.
    elsewhere: str = "forbidden"
    # Who may not see it is told that there is no such thing.
    hidden: bool = False
    # A resident may do it about themselves.
    resident: bool = False
    # It is about a thing of `{resident}`: another resident is refused.
    owned: bool = False


P = Permission
WHY: Final = {"reason": "x"}
ACTIVITY: Final = {"title": "x", "activity_type": "walk", "place": "x", "person_in_charge": "x"}

ENDPOINTS: Final[dict[str, Row]] = {
    # auth, staff
    "auth.create_token": Row(PUBLIC, {"login": "nobody", "password": "x"}),
    "auth.delete_token": Row(STAFF),
    "auth.begin_second_factor": Row(STAFF),
    "auth.confirm_second_factor": Row(STAFF, {"code": "000000"}),
    "auth.end_second_factor": Row(STAFF, {"code": "000000"}),
    "auth.list_sessions": Row(STAFF),
    "auth.end_session": Row(STAFF),
    "auth.change_password": Row(STAFF, {"old_password": "x", "password": "long enough"}),
    "auth.create_resident_token": Row(PUBLIC, {"member_number": "10000001", "pin": "x"}),
    "auth.delete_resident_token": Row(MYSELF),
    # oneself
    "me.get_me": Row(OWN),
    "me.put_me": Row(MYSELF, {"language": "en"}),
    "me.get_my_balance": Row(MYSELF),
    "me.get_my_statement": Row(MYSELF),
    "me.get_my_month": Row(MYSELF, query="month=2026-03"),
    "me.get_my_month_csv": Row(MYSELF, query="month=2026-03"),
    "me.get_my_consents": Row(MYSELF),
    "me.give_my_consent": Row(MYSELF, {"text_version": 1}),
    "me.withdraw_my_consent": Row(MYSELF),
    "me.list_my_accesses": Row(MYSELF),
    "me.export_me": Row(MYSELF),
    "me.block_my_card": Row(MYSELF, {"reason": "lost"}, owned=True),
    "me.close_me": Row(MYSELF, WHY),
    # messages
    "messages.list_my_messages": Row(MYSELF),
    "messages.read_my_message": Row(MYSELF, at={"number": "{message}"}, owned=True),
    "messages.dispute_my_message": Row(MYSELF, {"words": "x"}, at={"number": "{second_message}"}, owned=True),
    "messages.list_messages": Row(P.MESSAGE_READ),
    "messages.list_disputed_messages": Row(Listed(P.MESSAGE_READ)),
    "messages.answer_dispute": Row(P.MESSAGE_READ, {"words": "x"}, at={"number": "{message}"}),
    "messages.get_my_preferences": Row(MYSELF),
    "messages.put_my_preferences": Row(MYSELF, {"channels": []}),
    "messages.get_preferences": Row(P.MESSAGE_READ),
    "messages.put_preferences": Row(P.RESIDENT_WRITE, {"channels": []}),
    "messages.list_failed_messages": Row(Listed(P.MESSAGE_READ)),
    "messages.resend_message": Row(P.MESSAGE_READ, at={"number": "{sending}"}),
    # consent, privacy, double records
    "personal.list_consent_texts": Row(Listed(P.RULES_READ)),
    "personal.create_consent_text": Row(
        Everywhere(P.RULES_WRITE), {"zh": "x" * 50, "en": "x" * 50, "from_day": "2026-08-01"}
    ),
    "personal.list_consents": Row(P.RESIDENT_READ),
    "personal.give_consent": Row(P.CONSENT_WRITE, {"how": "desk"}),
    "personal.withdraw_consent": Row(P.CONSENT_WRITE, {"how": "desk"}),
    "personal.list_accesses": Row(P.AUDIT_READ),
    "personal.export_resident": Row(P.PERSONAL_EXPORT),
    "personal.erase_resident": Row(P.PERSONAL_ERASE, {"reason": "left", "cannot_be_undone": True}),
    "personal.list_duplicates": Row(Listed(P.RESIDENT_WRITE)),
    "personal.dismiss_duplicate": Row(P.RESIDENT_WRITE, {"first_id": "{resident}", "second_id": "{second_resident}"}),
    # staff
    "staff.create_staff": Row(
        P.STAFF_WRITE,
        {
            "login": "{fresh}",
            "name": "x",
            "password": "long enough",
            "roles": [{"role": "refiller", "organization_id": "{estate}"}],
        },
    ),
    "staff.list_staff": Row(Listed(P.STAFF_READ)),
    "staff.get_staff": Row(P.STAFF_READ),
    "staff.put_staff": Row(P.STAFF_WRITE, {"name": "x"}),
    "staff.put_roles": Row(P.STAFF_WRITE, {"roles": [{"role": "refiller", "organization_id": "{estate}"}]}),
    "staff.put_staff_state": Row(P.STAFF_WRITE, {"is_active": False}),
    "staff.end_second_factor": Row(P.STAFF_WRITE),
    "staff.reset_password": Row(P.STAFF_WRITE, {"password": "long enough"}),
    "audit.list_audit": Row(Listed(P.AUDIT_READ)),
    # tree, calendar
    "estates.create_estate": Row(P.ESTATE_WRITE, {"parent_id": "{estate}", "name": "x", "level": "building"}),
    "estates.list_estates": Row(Listed(P.ESTATE_READ)),
    "estates.get_estate": Row(P.ESTATE_READ),
    "estates.put_estate": Row(P.ESTATE_WRITE, {"name": "x"}, at={"estate_id": "{building}"}),
    "estates.list_children": Row(P.ESTATE_READ),
    "estates.get_path": Row(P.ESTATE_READ),
    "estates.list_moves": Row(P.ESTATE_READ),
    "estates.move_estate": Row(P.ESTATE_WRITE, {"parent_id": "{unit}", "reason": "x"}, at={"estate_id": "{building}"}),
    "estates.create_nodes": Row(P.ESTATE_WRITE, {"nodes": [{"code": "{fresh}", "name": "x", "level": "building"}]}),
    "calendar.list_calendar": Row(Listed(P.ESTATE_READ), query="year=2026"),
    "calendar.put_calendar_day": Row(
        Everywhere(P.CALENDAR_WRITE), {"is_working": True, "name": "x"}, at={"day": "2026-08-01"}
    ),
    "calendar.delete_calendar_day": Row(Everywhere(P.CALENDAR_WRITE), at={"day": "2026-08-02"}),
    "calendar.load_calendar": Row(Everywhere(P.CALENDAR_WRITE), at={"name": "china-2026"}),
    # residents
    "residents.create_resident": Row(P.RESIDENT_WRITE, {"estate_id": "{estate}", "name": "x"}),
    "residents.list_residents": Row(Listed(P.RESIDENT_READ)),
    "residents.get_resident": Row(P.RESIDENT_READ),
    "residents.put_resident": Row(P.RESIDENT_WRITE, {"building": "3"}),
    "residents.freeze_resident": Row(P.RESIDENT_FREEZE, WHY),
    "residents.unfreeze_resident": Row(P.RESIDENT_FREEZE, WHY),
    "residents.merge_residents": Row(P.RESIDENT_MERGE, WHY | {"into_id": "{resident}"}),
    "residents.close_resident": Row(P.RESIDENT_FREEZE, WHY, at={"resident_id": "{third_resident}"}),
    "residents.put_pin": Row(P.RESIDENT_WRITE, {"pin": "471108"}),
    "residents.bind_card": Row(P.RESIDENT_WRITE, {"uid": "A1B2C3D4"}),
    "residents.block_card": Row(P.RESIDENT_WRITE, {"reason": "lost"}),
    "residents.replace_card": Row(P.RESIDENT_WRITE, {"uid": "A1B2C3D5", "reason": "lost"}),
    "residents.get_balance": Row(P.RESIDENT_READ),
    "residents.get_statement": Row(P.RESIDENT_READ),
    # files
    "attachments.create_attachment": Row(
        P.REPORT_WRITE, query="subject_type=resident&subject_id={resident}", resident=True
    ),
    "attachments.list_attachments": Row(
        Listed(P.RECORD_READ), query="subject_type=resident&subject_id={resident}", resident=True
    ),
    "attachments.get_attachment": Row(P.RECORD_READ, resident=True),
    # groups
    "memberships.create_group": Row(P.ACTIVITY_WRITE, {"organization_id": "{estate}", "kind": "x", "name": "x"}),
    "memberships.create_group#whole": Row(Everywhere(P.ACTIVITY_WRITE), {"kind": "x", "name": "x"}),
    "memberships.list_groups": Row(Listed(P.ESTATE_READ)),
    "memberships.get_group": Row(P.ESTATE_READ),
    "memberships.put_group": Row(P.ACTIVITY_WRITE, {"name": "y"}),
    "memberships.list_members": Row(P.RESIDENT_READ, query="organization_id={estate}"),
    "memberships.list_members#group": Row(P.RESIDENT_READ, query="group_id={group_id}"),
    "memberships.list_memberships": Row(P.RESIDENT_READ),
    "memberships.create_membership": Row(P.RESIDENT_WRITE, {"group_id": "{group_id}", "from_day": "2026-03-02"}),
    "memberships.end_membership": Row(P.RESIDENT_WRITE, {"to_day": "2026-03-02"}),
    # credits
    "credits.record_credit": Row(
        P.CREDIT_RECORD,
        {"resident_id": "{resident}", "points": 1, "activity": "x", "reason": "x"},
        elsewhere="resident_elsewhere",
    ),
    "credits.list_credits": Row(Listed(P.CREDIT_READ)),
    "credits.get_credit": Row(P.CREDIT_READ),
    "credits.approve_credit": Row(P.CREDIT_APPROVE, {"reason": "x"}),
    "credits.reject_credit": Row(P.CREDIT_APPROVE, WHY),
    "credits.reverse_credit": Row(P.CREDIT_REVERSE, WHY, at={"credit_id": "{approved_credit}"}),
    "credits.correct_credit": Row(
        P.CREDIT_REVERSE, {"reason": "x", "points": 9}, at={"credit_id": "{approved_credit}"}
    ),
    "credits.list_waiting_credits": Row(Listed(P.CREDIT_APPROVE)),
    "credits.list_overdue_credits": Row(Listed(P.CREDIT_READ)),
    "credits.preview_session": Row(P.CREDIT_RECORD),
    "credits.record_session": Row(P.CREDIT_RECORD, {}),
    "credits.approve_session": Row(P.CREDIT_APPROVE, {}),
    "credits.list_service_records": Row(P.RECORD_READ),
    "credits.list_my_credits": Row(MYSELF),
    "credits.list_my_service_records": Row(MYSELF),
    # notice, objections, appeals, adjustments
    "notices.list_notices": Row(PUBLIC, query="estate={estate}"),
    # certificates and other papers
    "certificates.issue_certificate": Row(P.CERTIFICATE_ISSUE, {}),
    "certificates.issue_my_certificate": Row(MYSELF, {}),
    "certificates.list_certificates": Row(P.RECORD_READ),
    "certificates.list_my_certificates": Row(MYSELF),
    "certificates.list_register": Row(Listed(P.RECORD_READ)),
    "certificates.get_certificate": Row(P.RECORD_READ, at={"number": "{certificate}"}),
    "certificates.get_certificate_pdf": Row(P.RECORD_READ, at={"number": "{certificate}"}),
    "certificates.get_my_certificate_pdf": Row(MYSELF, at={"number": "{certificate}"}, owned=True),
    "certificates.revoke_certificate": Row(P.CERTIFICATE_REVOKE, WHY, at={"number": "{certificate}"}),
    "certificates.check_certificate": Row(PUBLIC, at={"number": "{certificate}"}),
    "prints.get_notice_sheet": Row(P.ACTIVITY_READ),
    "prints.get_poster": Row(P.ACTIVITY_READ),
    "prints.get_attendance_sheet": Row(P.ATTENDANCE_WRITE),
    "prints.get_session_of_sheet": Row(P.ATTENDANCE_WRITE, at={"code": "{sheet_code}"}, hidden=True),
    "prints.get_passbook": Row(P.RESIDENT_READ),
    "prints.get_my_passbook": Row(MYSELF),
    "prints.get_card": Row(P.RESIDENT_READ),
    "prints.get_my_card": Row(MYSELF),
    "prints.get_cards": Row(P.RESIDENT_WRITE),
    "prints.get_why_not_page": Row(P.RESIDENT_READ, query="first_day=2026-03-01&last_day=2026-03-31"),
    "prints.get_my_why_not_page": Row(MYSELF, query="first_day=2026-03-01&last_day=2026-03-31"),
    "notices.file_objection": Row(P.OBJECTION_WRITE, WHY),
    "notices.file_my_objection": Row(MYSELF, {"credit_id": "{credit_id}", "reason": "x"}),
    "notices.list_objections": Row(Listed(P.OBJECTION_DECIDE)),
    "notices.decide_objection": Row(P.OBJECTION_DECIDE, {"is_upheld": False, "reason": "x"}),
    "notices.file_appeal": Row(P.APPEAL_WRITE, WHY),
    "notices.file_my_appeal": Row(MYSELF, {"credit_id": "{credit_id}", "reason": "x"}),
    "notices.list_appeals": Row(Listed(P.APPEAL_DECIDE)),
    "notices.list_my_appeals": Row(MYSELF),
    "notices.decide_appeal": Row(P.APPEAL_DECIDE, {"is_accepted": False, "reason": "x"}),
    "notices.propose_adjustment": Row(
        P.ADJUSTMENT_PROPOSE,
        {"resident_id": "{resident}", "points": 1, "reason_code": "goodwill", "reason": "x"},
    ),
    "notices.list_adjustments": Row(Listed(P.ADJUSTMENT_APPROVE)),
    "notices.decide_adjustment": Row(P.ADJUSTMENT_APPROVE, {"decision": "approve"}),
    # rules
    "rules.list_rules": Row(Listed(P.RULES_READ)),
    "rules.get_rules": Row(Listed(P.RULES_READ), query="day=2026-03-02"),
    "rules.list_presets": Row(Listed(P.RULES_READ)),
    "rules.make_rules": Row(Everywhere(P.RULES_WRITE), {"document": {}, "from_day": "2026-03-03", "note": "x"}),
    "rules.simulate_rules": Row(
        P.RULES_READ,
        {
            "document": CreditRules().document(),
            "first_day": "2026-03-01",
            "last_day": "2026-03-31",
            "estate_id": "{estate}",
        },
    ),
    # what numbers are made of, why there are no points
    "explaining.get_explained": Row(P.RESIDENT_READ),
    "explaining.get_explained_text": Row(P.RESIDENT_READ),
    "explaining.get_my_explained": Row(MYSELF),
    "explaining.get_my_explained_text": Row(MYSELF),
    "explaining.get_why_not": Row(P.RESIDENT_READ, query="first_day=2026-03-01&last_day=2026-03-31"),
    "explaining.get_why_not_text": Row(P.RESIDENT_READ, query="first_day=2026-03-01&last_day=2026-03-31"),
    "explaining.get_my_why_not_text": Row(MYSELF, query="first_day=2026-03-01&last_day=2026-03-31"),
    "explaining.get_my_why_not": Row(MYSELF, query="first_day=2026-03-01&last_day=2026-03-31"),
    # what looks odd
    "anomalies.list_anomalies": Row(Listed(P.ANOMALY_READ), query="first_day=2026-01-01&last_day=2026-03-31"),
    "anomalies.list_anomalies#node": Row(
        P.ANOMALY_READ, query="first_day=2026-01-01&last_day=2026-03-31&organization_id={estate}"
    ),
    "anomalies.look_at_anomaly": Row(
        P.ANOMALY_DECIDE,
        {"kind": "long_day", "day": "2026-03-02", "reason": "x"},
        at={"anomaly_id": "unknown"},
        hidden=True,
    ),
    # figures
    "figures.get_service_figures": Row(
        Listed(P.STATISTICS_READ), query="first_day=2026-01-01&last_day=2026-03-31&by=estate"
    ),
    "figures.get_people_figures": Row(
        Listed(P.STATISTICS_READ), query="first_day=2026-01-01&last_day=2026-03-31&by=estate"
    ),
    "figures.get_people_figures#node": Row(
        P.STATISTICS_READ, query="first_day=2026-01-01&last_day=2026-03-31&organization_id={estate}"
    ),
    "figures.get_reviews_figures": Row(Listed(P.STATISTICS_READ)),
    "figures.get_service_sheet": Row(
        Listed(P.STATISTICS_READ), query="first_day=2026-01-01&last_day=2026-03-31", at={"format": "csv"}
    ),
    "figures.get_people_sheet": Row(
        Listed(P.STATISTICS_READ), query="first_day=2026-01-01&last_day=2026-03-31", at={"format": "csv"}
    ),
    "figures.get_reviews_sheet": Row(P.STATISTICS_READ, query="organization_id={estate}", at={"format": "xlsx"}),
    # points that end
    "expiry.preview_expiry": Row(Everywhere(P.EXPIRY_RUN), query="day=2026-12-31"),
    "expiry.run_expiry": Row(Everywhere(P.EXPIRY_RUN), {"day": "2026-03-02"}),
    "expiry.list_expiry_runs": Row(Everywhere(P.EXPIRY_RUN)),
    "expiry.get_expiry_run": Row(Everywhere(P.EXPIRY_RUN)),
    # machines
    "machines.create_machine": Row(P.MACHINE_WRITE, {"machine_id": "box-2", "estate_id": "{estate}", "name": "x"}),
    "machines.list_machines": Row(Listed(P.MACHINE_READ)),
    "machines.get_machine": Row(P.MACHINE_READ),
    "machines.make_claim_code": Row(P.MACHINE_WRITE, at={"machine_id": "{new_machine}"}),
    "machines.enroll": Row(PUBLIC, {"claim_code": "x", "journal_id": "x"}),
    "machines.get_authority": Row(PUBLIC),
    "machines.create_product": Row(
        P.MACHINE_WRITE, {"product_id": "towel", "estate_id": "{estate}", "name_zh": "x", "name_en": "x"}
    ),
    "machines.get_planogram": Row(P.MACHINE_READ),
    "machines.put_planogram": Row(P.MACHINE_WRITE, {"replaces": 1, "slots": []}),
    "machines.put_stock": Row(P.MACHINE_WRITE, {"counts": [{"selection": 13, "stock": 2}]}),
    "machines.put_state": Row(P.MACHINE_WRITE, {"is_open": False, "reason": "x"}),
    "machines.put_slot_state": Row(P.MACHINE_WRITE, {"is_open": False, "reason": "x"}, at={"selection": "13"}),
    "machines.lose_machine": Row(P.MACHINE_WRITE, WHY),
    # redemptions, alerts
    # vouchers
    "vouchers.issue_my_voucher": Row(
        MYSELF, {"machine_id": "{machine_id}", "selection": 13, "product_id": "soap", "points": 2}
    ),
    "vouchers.list_my_vouchers": Row(MYSELF),
    "vouchers.give_my_voucher_back": Row(MYSELF, owned=True),
    "vouchers.issue_voucher": Row(
        P.VOUCHER_WRITE, {"machine_id": "{machine_id}", "selection": 13, "product_id": "soap", "points": 2}
    ),
    "vouchers.list_vouchers": Row(P.VOUCHER_READ),
    "vouchers.give_voucher_back": Row(P.VOUCHER_WRITE),
    "vouchers.get_voucher_book": Row(P.MACHINE_READ),
    "vouchers.put_voucher_book": Row(P.MACHINE_WRITE, {"most": 3}),
    "redemptions.list_redemptions": Row(Listed(P.REDEMPTION_READ)),
    # trainings, claims
    "trainings.create_entry": Row(
        P.RECORD_WRITE,
        {
            "resident_id": "{resident}",
            "kind": "training",
            "title": "x",
            "unit_name": "x",
            "first_day": "2026-02-01",
            "attachment_ids": ["{attachment_id}"],
        },
    ),
    "trainings.list_entries": Row(Listed(P.RECORD_READ)),
    "trainings.list_own_entries": Row(MYSELF),
    "trainings.withdraw_entry": Row(P.RECORD_WRITE, WHY),
    "trainings.list_skilled": Row(Listed(P.RESIDENT_READ), query="skill=x"),
    "trainings.create_own_claim": Row(
        MYSELF, {"title": "x", "day": "2026-02-01", "minutes": 60, "attachment_ids": ["{attachment_id}"]}
    ),
    "trainings.list_own_claims": Row(MYSELF),
    "trainings.create_claim": Row(
        P.APPEAL_WRITE,
        {
            "resident_id": "{resident}",
            "title": "x",
            "day": "2026-02-01",
            "minutes": 60,
            "attachment_ids": ["{attachment_id}"],
        },
    ),
    "trainings.list_claims": Row(Listed(P.RECORD_READ)),
    "trainings.get_claim": Row(P.RECORD_READ),
    "trainings.decide_claim": Row(P.CREDIT_RECORD, {"verdict": "refuse", "reason": "x"}),
    # tasks
    "tasks.create_task": Row(P.TASK_WRITE, {"organization_id": "{estate}", "title": "x", "need": "x"}),
    "tasks.list_tasks": Row(Listed(P.TASK_READ)),
    "tasks.get_task": Row(P.TASK_READ),
    "tasks.step_task": Row(P.TASK_WRITE, {"event": "assigned"}),
    "tasks.step_task#sent_back": Row(P.TASK_CONFIRM, {"event": "sent_back", "note": "x"}),
    "tasks.confirm_task": Row(P.TASK_CONFIRM, {}),
    # a phone at a machine
    "phone.get_my_code": Row(MYSELF),
    "phone.open_claim": Row(PUBLIC, {"machine_id": "{machine_id}", "screen_code": "abcdefghijkl2345"}),
    "phone.get_opened_claim": Row(PUBLIC),
    "phone.offer_claim": Row(
        MYSELF, {"selection": 13, "product_id": "soap", "points": 2, "planogram_version": 1}, owned=True
    ),
    "phone.get_my_claim": Row(MYSELF, owned=True),
    "phone.get_my_redemption": Row(MYSELF, owned=True),
    # reports
    "reports.list_own_redemptions": Row(MYSELF),
    "reports.create_own_report": Row(MYSELF, {"kind": "other", "words": "x"}),
    "reports.list_own_reports": Row(MYSELF),
    "reports.reopen_own_report": Row(MYSELF, WHY, at={"number": "{report}"}, owned=True),
    "reports.list_candidates": Row(P.REPORT_WRITE, query="resident_id={resident}"),
    "reports.create_report": Row(P.REPORT_WRITE, {"resident_id": "{resident}", "kind": "other", "words": "x"}),
    "reports.list_reports": Row(Listed(P.REPORT_READ)),
    "reports.get_report": Row(P.REPORT_READ, at={"number": "{report}"}),
    "reports.get_evidence": Row(P.MACHINE_READ, at={"number": "{report}"}),
    "reports.decide_report": Row(P.REPORT_DECIDE, {"verdict": "refuse", "reason": "x"}, at={"number": "{report}"}),
    "reports.reopen_report": Row(P.REPORT_WRITE, WHY, at={"number": "{report}"}),
    "redemptions.list_open_redemptions": Row(Listed(P.REDEMPTION_READ)),
    "redemptions.get_redemption": Row(P.REDEMPTION_READ),
    "redemptions.resolve_redemption": Row(
        P.REDEMPTION_RESOLVE_FOR, {"verdict": "not_dispensed", "reason": "x", "evidence": ""}
    ),
    "redemptions.resolve_redemption#against": Row(
        P.REDEMPTION_RESOLVE_AGAINST, {"verdict": "dispensed", "reason": "x", "evidence": "x"}
    ),
    "redemptions.reverse_redemption": Row(P.REDEMPTION_REVERSE, WHY, at={"redemption_id": "{captured}"}),
    "redemptions.give_up_redemption": Row(P.REDEMPTION_RESOLVE_FOR, WHY),
    "redemptions.list_alerts": Row(Listed(P.MACHINE_READ)),
    "redemptions.acknowledge_alert": Row(P.MACHINE_WRITE, at={"number": "{alert}"}),
    "redemptions.resolve_alert": Row(P.MACHINE_WRITE, at={"number": "{alert}"}),
    "redemptions.list_contradictions": Row(Listed(P.MACHINE_READ)),
    "redemptions.list_rejected": Row(Listed(P.MACHINE_READ)),
    # imports
    "imports.create_import": Row(P.IMPORT, query="kind=people&organization_id=jiangpan"),
    "imports.list_imports": Row(Listed(P.IMPORT)),
    "imports.get_import": Row(P.IMPORT),
    "imports.list_import_problems": Row(P.IMPORT),
    "imports.get_import_errors": Row(P.IMPORT),
    "imports.put_import_mapping": Row(P.IMPORT, {"mapping": {}}),
    "imports.book_import": Row(P.IMPORT),
    "imports.undo_import": Row(P.PERSONAL_ERASE, WHY),
    "exports.get_export": Row(P.EXPORT, query="organization_id=jiangpan", at={"what": "people", "format": "csv"}),
    "exports.get_yearly_report": Row(
        P.STATISTICS_READ, query="organization_id=jiangpan&year=2026", at={"format": "csv"}
    ),
    "imports.get_import_template": Row(Listed(P.IMPORT), at={"import_kind": "people", "format": "csv"}),
    # activities, sessions, sign-ups
    "activities.list_activity_types": Row(Listed(P.ACTIVITY_READ)),
    "activities.put_activity_type": Row(
        Everywhere(P.RULES_WRITE),
        {"name_zh": "x", "name_en": "x", "category": "x", "counts_as_service": True},
        at={"code": "walked"},
    ),
    "activities.create_template": Row(P.ACTIVITY_WRITE, {"organization_id": "{estate}"} | ACTIVITY),
    "activities.list_templates": Row(P.ACTIVITY_READ, query="organization_id=jiangpan"),
    "activities.put_template": Row(P.ACTIVITY_WRITE, {"place": "x"}),
    "activities.create_activity": Row(P.ACTIVITY_WRITE, {"organization_id": "{estate}"} | ACTIVITY),
    "activities.list_activities": Row(Listed(P.ACTIVITY_READ)),
    "activities.get_activity": Row(P.ACTIVITY_READ),
    "activities.put_activity": Row(P.ACTIVITY_WRITE, {"place": "x"}),
    "activities.publish_activity": Row(P.ACTIVITY_WRITE, WHY),
    "activities.cancel_activity": Row(P.ACTIVITY_WRITE, WHY, at={"activity_id": "{second_activity}"}),
    "activities.create_sessions": Row(
        P.ACTIVITY_WRITE, {"starts_at": "2026-03-05T04:00:00Z", "ends_at": "2026-03-05T06:00:00Z"}
    ),
    "activities.list_sessions": Row(Listed(P.ACTIVITY_READ)),
    "activities.get_session": Row(P.ACTIVITY_READ),
    "activities.put_session": Row(
        P.ACTIVITY_WRITE,
        {"starts_at": "2026-03-03T04:00:00Z", "ends_at": "2026-03-03T06:00:00Z"},
        at={"session_id": "{coming_session}"},
    ),
    "activities.cancel_session": Row(P.ACTIVITY_WRITE, WHY, at={"session_id": "{second_session}"}),
    "activities.create_sign_up": Row(
        P.SIGN_UP, {"resident_id": "{second_resident}"}, at={"session_id": "{coming_session}"}
    ),
    "activities.list_sign_ups": Row(P.ACTIVITY_READ, at={"session_id": "{coming_session}"}),
    "activities.cancel_sign_up": Row(P.SIGN_UP),
    "activities.list_my_activities": Row(MYSELF),
    "activities.list_my_sign_ups": Row(MYSELF),
    "activities.create_my_sign_up": Row(MYSELF, {"session_id": "{coming_session}"}),
    "activities.cancel_my_sign_up": Row(MYSELF, owned=True),
    # attendance
    "attendance.get_code": Row(P.ATTENDANCE_WRITE),
    "attendance.check_in": Row(P.ATTENDANCE_WRITE, {"resident_id": "{second_resident}"}),
    "attendance.check_out": Row(P.ATTENDANCE_WRITE, {"resident_id": "{resident}"}),
    "attendance.record_attendances": Row(P.ATTENDANCE_WRITE, {"rows": [{"resident_id": "{second_resident}"}]}),
    "attendance.list_attendances": Row(P.ACTIVITY_READ),
    "attendance.list_suggested_people": Row(P.ATTENDANCE_WRITE),
    "attendance.get_sheet": Row(P.ATTENDANCE_WRITE),
    "attendance.list_overdue": Row(Listed(P.ACTIVITY_READ), query="before=2026-06-01"),
    "attendance.list_to_review": Row(Listed(P.ACTIVITY_READ)),
    "attendance.get_attendance": Row(P.ACTIVITY_READ),
    "attendance.confirm_attendance": Row(P.ATTENDANCE_WRITE),
    "attendance.put_attendance": Row(P.ATTENDANCE_WRITE, {"minutes": 5, "reason": "x"}),
    "attendance.void_attendance": Row(P.ATTENDANCE_WRITE, WHY),
    "attendance.check_me_in": Row(MYSELF, {"session_id": "{session_id}", "code": "x"}),
    "attendance.check_me_out": Row(MYSELF, {"session_id": "{session_id}", "code": "x"}),
    "attendance.list_my_attendances": Row(MYSELF),
}
"""Endpoint (and `#variant`) -> what it takes."""

ROOT: Final = "hongya"
OURS: Final = "jiangpan"
OTHER: Final = "other"


def people_of(office: Office, known: dict[str, str]) -> None:
    """Two residents and a card of our estate, and the estate beside it."""
    body = CreateOrganization(SYSTEM, "qingyijiang", "estate", "x", OTHER)
    office.parts.writer.call(Operation("walk-other", "create_organization", body))
    for id, above in (("building", OURS), ("second-building", OURS), ("unit-1", "second-building")):
        body = CreateOrganization(SYSTEM, above, "building", "x", id)
        office.parts.writer.call(Operation(f"walk-{id}", "create_organization", body))
    known |= {"building": "building", "unit": "unit-1"}
    known |= {"estate": OURS, "estate_id": OURS, "resident": office.people.residents[0].id}
    known |= {"resident_id": known["resident"], "second_resident": office.people.residents[1].id}
    known["third_resident"] = office.people.residents[2].id
    known["card_id"] = office.ok("GET", f"/residents/{known['resident']}")["cards"][0]["id"]
    known["staff_id"] = next(one.id for one in office.people.staff if one.login == "approver")


def groups_of(office: Office, known: dict[str, str]) -> None:
    """A group of our estate, and a resident in it."""
    body = CreateGroup(SYSTEM, OURS, "team", "x")
    known["group_id"] = office.parts.writer.call(Operation("walk-group", "create_group", body))["id"]
    member = AddMembership(SYSTEM, known["resident"], None, known["group_id"], "x", "2026-03-02")
    known["membership_id"] = office.parts.writer.call(Operation("walk-member", "add_membership", member))["id"]


def credits_of(office: Office, known: dict[str, str]) -> None:
    """A credit that waits, and one that was approved."""
    known["approved_credit"] = office.credit(0, 10)["id"]
    body = {"resident_id": known["resident"], "points": 1, "activity": "x", "reason": "x"}
    known["credit_id"] = office.ok("POST", "/credits", body)["id"]
    rejected = office.ok("POST", "/credits", body)["id"]
    office.ok("POST", f"/credits/{rejected}/reject", WHY, as_="approver")
    known["appeal_id"] = office.ok("POST", f"/credits/{rejected}/appeals", WHY)["id"]
    body = {"resident_id": known["resident"], "points": 1, "reason_code": "goodwill", "reason": "x"}
    known["adjustment_id"] = office.ok("POST", "/adjustments", body, as_="admin")["id"]
    known["objection_id"] = "objection-1"
    filed = {
        "id": "objection-1",
        "credit_id": known["credit_id"],
        "estate_id": OURS,
        "state": "open",
        "reason": "x",
    } | {"resident_id": known["resident"]}
    with writing(office.parts.engine) as connection:
        connection.execute(insert(objections).values(**filed, filed_by="x", filed_at=office.now))


def certificates_of(office: Office, known: dict[str, str]) -> None:
    """A certificate of the resident's hours, and the code of a sheet."""
    body = {"resident_id": known["resident"], "minutes": 60, "activity": "x", "reason": "x"}
    made = office.ok("POST", "/credits", body)
    office.ok("POST", f"/credits/{made['id']}/approve", {}, as_="approver")
    known["certificate"] = office.ok("POST", f"/residents/{known['resident']}/certificates", {})["number"]
    known["sheet_code"] = known["session_id"][:8]


def machines_of(office: Office, known: dict[str, str]) -> None:
    """A machine with a redemption in doubt and a captured one, and one that is not enrolled yet."""
    world = World(office.parts.engine)
    world.now = office.now
    box = world.machine()
    known["captured"] = box.vend()
    box.dispense(known["captured"])
    known["redemption_id"] = box.vend()
    box.say(OutcomeUnknown(known["redemption_id"], "restarted"))
    world.close()
    known["machine_id"], known["new_machine"] = "box-1", "box-0"
    body = CreateMachine(SYSTEM, "box-0", OURS, "x")
    office.parts.writer.call(Operation("walk-machine", "create_machine", body))
    known["alert"] = str(office.ok("GET", "/alerts", as_="operator")["items"][0]["number"])
    used = {
        "redemption_id": known["captured"],
        "machine_id": "box-1",
        "journal_id": "journal-box-1",
        "number": 1,
        "resident_id": known["resident"],
        "issued_by": "x",
        "expires_at": office.now,
        "taken_at": office.now,
        "recorded_at": office.now,
    }
    with writing(office.parts.engine) as connection:
        connection.execute(insert(vouchers).values(**used))
    known["voucher_id"] = known["captured"]


def expiry_of(office: Office, known: dict[str, str]) -> None:
    """A run."""
    known["run_id"] = office.ok("POST", "/expiry/runs", {"day": "2026-03-02"}, as_="admin")["id"]


def tasks_of(office: Office, known: dict[str, str]) -> None:
    """A need."""
    body = {"organization_id": OURS, "title": "x", "need": "x"}
    known["task_id"] = office.ok("POST", "/tasks", body)["id"]


def entries_of(office: Office, known: dict[str, str]) -> None:
    """A training and a claim, with a file as proof."""
    proof = {"resident_id": known["resident"], "title": "x", "attachment_ids": [known["attachment_id"]]}
    training = proof | {"kind": "training", "unit_name": "x", "first_day": "2026-02-01"}
    known["entry_id"] = office.ok("POST", "/trainings", training)["id"]
    known["claim_id"] = office.ok("POST", "/claims", proof | {"day": "2026-02-01", "minutes": 60})["id"]


def reports_of(office: Office, known: dict[str, str]) -> None:
    """A report about the captured redemption."""
    body = MakeReport(SYSTEM, known["resident"], "bad_item", "x", known["captured"])
    known["report"] = str(office.parts.writer.call(Operation("walk-report", "make_report", body))["number"])


def attachments_of(office: Office, known: dict[str, str]) -> None:
    """A file of a resident's, put there by the server itself."""
    body = for_keeping(SYSTEM, "resident", known["resident"], None, b"%PDF-1.7 x")
    known["attachment_id"] = office.parts.writer.call(Operation("walk-attachment", "attach", body))["id"]


def messages_of(office: Office, known: dict[str, str]) -> None:
    """Two messages of the resident's, one of them disputed, and one that could not be sent."""
    found = office.ok("GET", f"/residents/{known['resident']}/messages", as_="admin")["items"]
    known["message"], known["second_message"] = str(found[0]["number"]), str(found[1]["number"])
    body = DisputeMessage(SYSTEM, known["resident"], found[0]["number"])
    office.parts.writer.call(Operation("walk-dispute", "dispute_message", body))
    row = {"channel": "sms", "state": "failed", "is_urgent": False, "tries": 9, "problem": "unreachable"}
    at = {"planned_at": office.now, "due_at": office.now, "ended_at": office.now}
    with writing(office.parts.engine) as connection:
        place = {"message_number": found[0]["number"], "resident_id": known["resident"]}
        made = connection.execute(insert(message_sendings).values(row | at | place))
    known["sending"] = str(made.inserted_primary_key[0])


def imports_of(office: Office, known: dict[str, str]) -> None:
    """A previewed import."""
    raw = "姓名,电话\n周一,13800000001\n".encode()
    sent = office.send("POST", "/imports?kind=people&organization_id=jiangpan", data=raw)
    known["import_id"] = sent.get_json()["id"]


def activities_of(office: Office, known: dict[str, str]) -> None:
    """Two activities of our estate: a session that runs, with an attendance; one to come, with a sign-up."""
    kind = {"name_zh": "x", "name_en": "x", "category": "x", "counts_as_service": True}
    office.ok("PUT", "/activity-types/walk", kind, as_="admin")
    body = {"organization_id": OURS} | ACTIVITY
    known["template_id"] = office.ok("POST", "/activity-templates", body)["id"]

    def session(activity: str, starts: str, ends: str) -> str:
        times = {"starts_at": f"2026-03-{starts}:00:00Z", "ends_at": f"2026-03-{ends}:00:00Z"}
        made: str = office.ok("POST", f"/activities/{activity}/sessions", times)["sessions"][0]["id"]
        return made

    for name in ("activity_id", "second_activity"):
        known[name] = office.ok("POST", "/activities", body)["id"]
    known["session_id"] = session(known["activity_id"], "02T02", "02T06")
    known["coming_session"] = session(known["activity_id"], "03T02", "03T06")
    known["second_session"] = session(known["second_activity"], "04T02", "04T06")
    for name in ("activity_id", "second_activity"):
        office.ok("POST", f"/activities/{known[name]}/publish", WHY)
    sign_up = {"resident_id": known["resident"]}
    known["sign_up_id"] = office.ok("POST", f"/sessions/{known['coming_session']}/sign-ups", sign_up)["id"]
    row = {"resident_id": known["resident"], "minutes": 60}
    saved = office.ok("POST", f"/sessions/{known['session_id']}/attendances", {"rows": [row]})["saved"]
    known["attendance_id"] = saved[0]["attendance_id"]


MAKERS: Final[Sequence[Callable[[Office, dict[str, str]], None]]] = (
    people_of,
    groups_of,
    activities_of,
    credits_of,
    certificates_of,
    machines_of,
    attachments_of,
    reports_of,
    entries_of,
    tasks_of,
    expiry_of,
    messages_of,
    imports_of,
)
"""What fills the placeholders, in order; each may use what those before it made."""

NOT_A_CHANGE: Final = frozenset({"operations", "staff_tokens", "resident_tokens", "personal_accesses"})
"""Tables that a refusal may write: the writer's memory of its answers, and the tokens of this test. Who looked at whom
is written after the answer, so that a row of an earlier question may come late."""

NEVER: Final = frozenset(
    {"token_invalid", "fields_invalid", "json_invalid", "not_found", "bad_request", "internal_error"}
    | {"idempotency_key_required", "method_not_allowed"}
)
"""Answers which say that a row's example does not reach its use case."""


class Asker(NamedTuple):
    """Who asks: a role at a place of the tree."""

    role: Role
    place: str

    @property
    def name(self) -> str:
        return f"{self.role.value.replace('_', '-')}.{self.place}"


GRANTED: Final = [role for role in Role if role is not Role.RESIDENT]
STAFF_ASKERS: Final = [Asker(role, place) for role in GRANTED for place in (ROOT, OURS, OTHER)]
# The resident whom the rows are about, and another one of the same estate.
RESIDENTS: Final = {Asker(Role.RESIDENT, "self"): "resident", Asker(Role.RESIDENT, "another"): "second_resident"}
ASKERS: Final = [*STAFF_ASKERS, *RESIDENTS]


class Walk:
    """An office with everything that the rows speak of, and an account for each role at each place."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.known: dict[str, str] = {"fresh": "fresh"}
        for make in MAKERS:
            make(office, self.known)
        self.ids = {
            asker: self.office.parts.writer.call(
                Operation(
                    f"walk-{asker.name}",
                    "create_staff",
                    CreateStaff(SYSTEM, asker.name, "x", "no password", (Grant(asker.role, asker.place),)),
                )
            )["id"]
            for asker in STAFF_ASKERS
        }
        self.rules: dict[str, Rule] = rules_of(office)

    def tokens(self, name: str) -> dict[Asker, str]:
        """A fresh token for everybody."""
        made = {asker: f"{name} {asker.name}" for asker in STAFF_ASKERS}
        made |= {asker: f"{RESIDENT_PREFIX}{name} {asker.name}" for asker in RESIDENTS}
        lives = {"issued_at": self.office.now, "expires_at": datetime(2100, 1, 1, tzinfo=UTC)}
        hashes = {asker: token_hash(token) for asker, token in made.items()}
        with writing(self.office.parts.engine) as connection:
            connection.execute(
                insert(staff_tokens),
                [{"hash": hashes[asker], "staff_id": self.ids[asker], **lives} for asker in STAFF_ASKERS],
            )
            connection.execute(
                insert(resident_tokens),
                [{"hash": hashes[asker], "resident_id": self.known[who], **lives} for asker, who in RESIDENTS.items()],
            )
        return made

    def ask(self, name: str, token: str | None) -> TestResponse:
        """Send the request of a row."""
        row, rule = ENDPOINTS[name], self.rules[name.partition("#")[0]]
        [method] = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        places = {argument: self.filled(row.at.get(argument, f"{{{argument}}}")) for argument in rule.arguments}
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda found: places[found[1]], rule.rule)
        self.known["fresh"] = f"fresh{next(self.office.keys)}"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.office.send(
            method,
            path.removeprefix("/api/v1") + (f"?{self.filled(row.query)}" if row.query else ""),
            self.filled(row.body),
            as_=None,
            headers=headers,
            # PUT may require one too.
            key=f"walk-key-{next(self.office.keys)}",
        )

    def filled(self, value: Any) -> Any:
        """A body or path with its placeholders filled in; one that no maker fills is a KeyError."""
        if isinstance(value, dict):
            return {name: self.filled(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        return re.sub(r"\{(\w+)\}", lambda found: self.known[found[1]], value) if isinstance(value, str) else value

    def standing(self) -> dict[str, Any]:
        """Every row of every table but what a refusal may write: also a row of the audit log that says `refused`."""
        with self.office.parts.engine.connect() as connection:
            return {
                table.name: sorted(
                    repr(row)
                    for row in connection.execute(select(table))
                    if table.name != "audit_entries" or "refused" not in row
                )
                for table in all_tables().sorted_tables
                if table.name not in NOT_A_CHANGE
            }


def rules_of(office: Office) -> dict[str, Rule]:
    """The endpoints below /api/v1 that are not its documentation."""
    app = office.client.application
    return {
        rule.endpoint: rule
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/v1/") and not rule.endpoint.startswith(("docs.", "api-docs."))
    }


@pytest.fixture(scope="module")
def walk(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    with opened(sqlite_template, tmp_path_factory.mktemp("walk")) as office:
        yield Walk(office)


def is_allowed(row: Row, asker: Asker) -> bool:
    """What the table says of an asker."""
    if asker.role is Role.RESIDENT:
        is_theirs = asker.place == "self" or not row.owned
        is_seen = row.resident and (asker.place == "self" or isinstance(row.rule, Listed))
        return (row.rule in (PUBLIC, OWN, MYSELF) and is_theirs) or is_seen
    match row.rule:
        case Listed(permission):
            return asker.role in PERMISSIONS[permission]
        case Everywhere(permission):
            return asker.role in PERMISSIONS[permission] and asker.place == ROOT
        case Permission():
            return asker.role in PERMISSIONS[row.rule] and asker.place != OTHER
        case Anybody.MYSELF:
            return False
        case _:
            return True


def code_of(answer: TestResponse) -> str:
    """The code of a refusal, empty for an answer."""
    said = answer.get_json(silent=True) if answer.status_code >= 400 else None
    return said["code"] if said else ""


def test_every_endpoint_has_a_row_and_every_row_an_endpoint(walk: Walk) -> None:
    rows = {name.partition("#")[0] for name in ENDPOINTS}
    assert (sorted(set(walk.rules) - rows), sorted(rows - set(walk.rules))) == ([], [])


@pytest.mark.parametrize("name", ENDPOINTS)
def test_who_does_not_hold_it_is_refused_and_nothing_changes(walk: Walk, name: str) -> None:
    row, tokens, before = ENDPOINTS[name], walk.tokens(f"refused {name}"), walk.standing()
    if row.rule is PUBLIC:
        return
    for asker in ASKERS:
        if is_allowed(row, asker):
            continue
        answer = walk.ask(name, tokens[asker])
        expected = {(403, "forbidden")}
        if asker.place == OTHER:
            expected.add((403, row.elsewhere))
        if row.hidden or (row.owned and asker.place == "another"):
            assert answer.status_code in (403, 404), (asker, answer.text)
        else:
            assert (answer.status_code, code_of(answer)) in expected, (asker, answer.text)
    answer = walk.ask(name, None)
    assert (answer.status_code, code_of(answer)) == (401, "token_invalid")
    assert walk.standing() == before


@pytest.mark.parametrize("name", [name for name, row in ENDPOINTS.items() if isinstance(row.rule, Listed)])
def test_a_list_shows_nothing_of_another_estate(walk: Walk, name: str) -> None:
    row, tokens = ENDPOINTS[name], walk.tokens(f"listed {name}")
    ours = {walk.ids[asker] for asker in STAFF_ASKERS if asker.place == OURS}
    ours |= {value for key, value in walk.known.items() if key not in ("fresh", "alert", "staff_id")}
    for asker in ASKERS:
        if asker.place in (OTHER, "another") and is_allowed(row, asker):
            answer = walk.ask(name, tokens[asker])
            assert answer.status_code == 200, (asker, answer.text)
            assert not {one for one in ours if f'"{one}"' in answer.text}, (asker, answer.text)


@pytest.mark.parametrize("name", ENDPOINTS)
def test_who_holds_it_is_not_refused(walk: Walk, name: str) -> None:
    # Last, because what is allowed changes things: a later one may find them closed, but is never forbidden.
    row, tokens = ENDPOINTS[name], walk.tokens(f"allowed {name}")
    for asker in ASKERS:
        if is_allowed(row, asker):
            answer = walk.ask(name, tokens[asker])
            assert code_of(answer) != "forbidden", (asker, answer.text)
            if row.rule is not PUBLIC:
                assert code_of(answer) not in NEVER, (asker, answer.text)
