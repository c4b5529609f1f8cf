"""Machines: registering and claim codes, products, planograms, stock, opening and closing."""

import secrets
from typing import Any
from urllib.parse import urlsplit

from flask import Response, request

from jishan_protocol import claim_codes
from jishan_protocol.errors import ProtocolError
from jishan_server.api import schemas
from jishan_server.api.asking import actor, change, operation_id, parts
from jishan_server.api.blueprints import Blueprint
from jishan_server.api.paging import page
from jishan_server.errors import DomainError
from jishan_server.organizations.roles import Permission, permit
from jishan_server.reading import reading
from jishan_server.vending import machines as vending

machines = Blueprint("machines", "Machines and what they sell")


@machines.post("/machines")
@machines.takes(schemas.NewMachine)
@machines.answers(201, schemas.Machine)
def create_machine(body: dict[str, Any]) -> dict[str, Any]:
    """Register a machine; it enrols with a claim code."""
    return change("create_machine", vending.CreateMachine(actor=actor(), **body))


@machines.get("/machines")
@machines.answers(200, schemas.page_of(schemas.Machine))
def list_machines() -> dict[str, Any]:
    """The machines in one's scope, with their state."""
    return page(vending.machines_of(reading(), actor()))


@machines.get("/machines/<id:machine_id>")
@machines.answers(200, schemas.Machine)
def get_machine(machine_id: str) -> dict[str, Any]:
    """One machine: its state, its last heartbeat and what it reported."""
    return _seen(machine_id)


@machines.post("/machines/<id:machine_id>/claim-code")
@machines.answers(201, schemas.ClaimCode)
def make_claim_code(machine_id: str) -> dict[str, Any]:
    """A code by which the machine enrols, once, within a day. Older codes of the machine end."""
    id = operation_id()
    secret = claim_codes.secret_of(parts().hashing.drawn("claim code", id))
    made = change("make_claim_code", vending.MakeClaimCode(actor(), machine_id, vending.hash_of(secret)), id=id)
    return made | {"claim_code": claim_codes.write(claim_codes.ClaimCode(secret, parts().authority))}


@machines.post("/enroll")
@machines.takes(schemas.Enrolment)
@machines.answers(201, schemas.Enrolled)
@machines.public
def enroll(body: dict[str, str]) -> dict[str, Any]:
    """What a machine asks, once, with its claim code: who it is, its keys, and where the broker is."""
    try:
        code = claim_codes.read(body["claim_code"])
    except ProtocolError:
        raise DomainError("claim_code_unknown") from None
    wanted = vending.Enroll(vending.hash_of(code.secret), body["journal_id"])
    let_in = change("enroll", wanted, id=secrets.token_hex(16))
    return vending.credentials_of(parts().vending.keys, parts().hashing.card_key, **let_in) | {
        "mqtt_url": _broker_url(),
        "site_url": parts().config.site_url,
    }


@machines.get("/ca.pem")
@machines.answers(200)
@machines.public
def get_authority() -> Response:
    """The certificate of the server's own authority; a claim code carries its fingerprint."""
    path = parts().config.pki_dir / "ca.crt"
    if not path.is_file():
        raise DomainError("not_found")
    return Response(path.read_bytes(), content_type="application/x-pem-file")


@machines.post("/products")
@machines.takes(schemas.NewProduct)
@machines.answers(201, schemas.Product)
def create_product(body: dict[str, Any]) -> dict[str, Any]:
    """Register a product."""
    return change("create_product", vending.CreateProduct(actor=actor(), **body))


@machines.get("/machines/<id:machine_id>/planogram")
@machines.answers(200, schemas.Planogram)
def get_planogram(machine_id: str) -> dict[str, Any]:
    """The planogram in force, with stock."""
    _seen(machine_id)
    return vending.planogram(reading(), machine_id)


@machines.put("/machines/<id:machine_id>/planogram")
@machines.takes(schemas.NewPlanogram)
@machines.answers(200, schemas.Planogram)
def put_planogram(body: dict[str, Any], machine_id: str) -> dict[str, Any]:
    """Put a new planogram in force."""
    slots = tuple(vending.SlotPlan(**slot) for slot in body["slots"])
    return change("publish_planogram", vending.PublishPlanogram(actor(), machine_id, body["replaces"], slots))


@machines.put("/machines/<id:machine_id>/stock")
@machines.takes(schemas.NewStock)
@machines.answers(200, schemas.Planogram)
def put_stock(body: dict[str, Any], machine_id: str) -> dict[str, Any]:
    """Set the stock of slots to what was counted."""
    counts = tuple((one["selection"], one["stock"]) for one in body["counts"])
    return change("count_stock", vending.CountStock(actor(), machine_id, counts))


@machines.put("/machines/<id:machine_id>/state")
@machines.takes(schemas.OpenOrClose)
@machines.answers(200, schemas.Machine)
def put_state(body: dict[str, Any], machine_id: str) -> dict[str, Any]:
    """Let a machine sell, or close it."""
    return change("set_machine_open", vending.SetMachineOpen(actor(), machine_id, body["is_open"], body["reason"]))


@machines.put("/machines/<id:machine_id>/slots/<int:selection>/state")
@machines.takes(schemas.OpenOrClose)
@machines.answers(200, schemas.Planogram)
def put_slot_state(body: dict[str, Any], machine_id: str, selection: int) -> dict[str, Any]:
    """Open or close one selection."""
    wanted = vending.SetSlotOpen(actor(), machine_id, selection, body["is_open"], body["reason"])
    return change("set_slot_open", wanted)


@machines.post("/machines/<id:machine_id>/lose")
@machines.takes(schemas.Why)
@machines.answers(200, schemas.Machine)
def lose_machine(body: dict[str, str], machine_id: str) -> dict[str, Any]:
    """Give a machine up; its open redemptions go to a person."""
    return change("lose_machine", vending.LoseMachine(actor(), machine_id, body["reason"]))


def _seen(machine_id: str) -> dict[str, Any]:
    """A machine in one's scope; refusals: machine_unknown, forbidden."""
    found = vending.view(reading(), machine_id)
    permit(reading(), actor(), Permission.MACHINE_READ, found["estate_id"])
    return found


def _broker_url() -> str:
    """Where machines find the broker: as set, or at the host that this one reached, without anybody's password."""
    config = parts().config
    if config.mqtt_public_url:
        return config.mqtt_public_url
    if config.mqtt_url:
        broker = urlsplit(config.mqtt_url)
        return f"{broker.scheme}://{broker.netloc.rpartition('@')[2]}"
    host = urlsplit(f"//{request.host}").hostname or ""
    scheme = "mqtts" if config.mqtt_tls else "mqtt"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{config.mqtt_port}"
