"""Redemptions and what people decide about them; alerts, contradictions, rejected messages."""

from typing import Any

from jishan_protocol.redemption import State
from jishan_server.api import schemas
from jishan_server.api.asking import actor, change, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.reading import reading
from jishan_server.vending import alerts, anomalies, daily, decisions
from jishan_server.vending import reading as vending

redemptions = Blueprint("redemptions", "Redemptions, decisions, alerts")


@redemptions.get("/redemptions")
@redemptions.takes(schemas.RedemptionsWanted, location="query")
@redemptions.answers(200, schemas.page_of(schemas.Redemption))
def list_redemptions(wanted: dict[str, Any]) -> dict[str, Any]:
    """Redemptions in one's scope, newest first, without their history."""
    state = State(wanted.pop("state")) if wanted["state"] else wanted.pop("state")
    return page(vending.redemptions(reading(), actor(), state=state, **wanted))


@redemptions.get("/redemptions/open-list")
@redemptions.takes(schemas.OpenListWanted, location="query")
@redemptions.answers(200, schemas.page_of(schemas.OpenRedemption))
def list_open_redemptions(wanted: dict[str, Any]) -> dict[str, Any]:
    """What has been open for more than a day: now, or on the morning of a day."""
    rules = parts().vending.rules
    return page(daily.open_list(reading(), actor(), wanted["day"], parts().clock(), rules))


@redemptions.get("/redemptions/<id:redemption_id>")
@redemptions.answers(200, schemas.RedemptionStory)
def get_redemption(redemption_id: str) -> dict[str, Any]:
    """One redemption with every event and decision."""
    return vending.redemption(reading(), actor(), redemption_id)


@redemptions.post("/redemptions/<id:redemption_id>/resolve")
@redemptions.takes(schemas.Resolution)
@redemptions.answers(200, schemas.RedemptionStory)
def resolve_redemption(body: dict[str, Any], redemption_id: str) -> dict[str, Any]:
    """Decide one in doubt: `dispensed` takes the points, `not_dispensed` gives them back."""
    return change("resolve", decisions.Resolve(actor(), redemption_id, **body), key_required=True)


@redemptions.post("/redemptions/<id:redemption_id>/reverse")
@redemptions.takes(schemas.Why)
@redemptions.answers(200, schemas.RedemptionStory)
def reverse_redemption(body: dict[str, str], redemption_id: str) -> dict[str, Any]:
    """Give the points of a captured redemption back."""
    return change("reverse", decisions.Reverse(actor(), redemption_id, body["reason"]), key_required=True)


@redemptions.post("/redemptions/<id:redemption_id>/give-up")
@redemptions.takes(schemas.Why)
@redemptions.answers(200, schemas.RedemptionStory)
def give_up_redemption(body: dict[str, str], redemption_id: str) -> dict[str, Any]:
    """Say that its machine will never tell how it ended: it becomes in doubt."""
    return change("give_up", decisions.GiveUp(actor(), redemption_id, body["reason"]), key_required=True)


@redemptions.get("/alerts")
@redemptions.takes(schemas.AlertsWanted, location="query")
@redemptions.answers(200, schemas.page_of(schemas.Alert))
def list_alerts(wanted: dict[str, Any]) -> dict[str, Any]:
    """Alerts in one's scope, newest first."""
    return page(vending.alerts_of(reading(), actor(), is_open=wanted["open"]))


@redemptions.post("/alerts/<int:number>/acknowledge")
@redemptions.answers(200, schemas.Alert)
def acknowledge_alert(number: int) -> dict[str, Any]:
    """Somebody looks after it."""
    return change("mark_alert", alerts.MarkAlert(actor(), number, "acknowledged"))


@redemptions.post("/alerts/<int:number>/resolve")
@redemptions.answers(200, schemas.Alert)
def resolve_alert(number: int) -> dict[str, Any]:
    """It is over."""
    return change("mark_alert", alerts.MarkAlert(actor(), number, "resolved"))


@redemptions.get("/contradictions")
@redemptions.answers(200, schemas.page_of(schemas.Contradiction))
def list_contradictions() -> dict[str, Any]:
    """What machines said against redemptions that had ended otherwise. Nothing moved."""
    return page(anomalies.contradictions_of(reading(), actor()))


@redemptions.get("/rejected-messages")
@redemptions.answers(200, schemas.page_of(schemas.RejectedMessage))
def list_rejected() -> dict[str, Any]:
    """Messages of machines that could not be applied, whole."""
    return page(anomalies.rejected_of(reading(), actor()))
