"""What a run has shown, as data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cli.chaos.evidence import Evidence
from cli.chaos.judge import Finding
from cli.chaos.plan import Plan, scaling


@dataclass
class Report:
    """One run and its verdict."""

    plan: Plan
    findings: list[Finding] = field(default_factory=list)
    operations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How many of each kind ended how."""
    sagas_ended: int = 0
    """Operations that came to an end, and accounts at Stripe that can be used."""
    requests: int = 0
    attempts: int = 0
    unknown: int = 0
    """Requests of which their client never learned what came."""
    refused: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    """How often each kind has struck."""
    ways: Mapping[str, int] = field(default_factory=dict)
    """How often the network was struck between which parts."""
    snapshots: int = 0
    audit_rows: int = 0
    replayed: int = 0
    workflows: int = 0
    healed_in: float = 0.0
    """Seconds from the last fault until nothing waited any more."""
    seconds: float = 0.0
    """Of everything."""
    cores: int = 0
    busy: float = 0.0
    """Share of the cores' time that was used while faults struck, from 0 to 1."""
    stolen: float = 0.0
    """Share of it that the machine's host took away meanwhile."""

    @property
    def well(self) -> bool:
        """The judge has found nothing."""
        return not self.findings

    def take(self, evidence: Evidence) -> None:
        """What of the evidence is told."""
        kinds: dict[str, Counter[str]] = {}
        for operation in evidence.operations.all.values():
            kinds.setdefault(operation["kind"], Counter())[operation["status"]] += 1
        self.operations = {kind: dict(statuses) for kind, statuses in kinds.items()}
        self.sagas_ended = sum(
            operation["closed_at"] is not None or operation["status"] == "active"
            for operation in evidence.operations.all.values()
        )
        self.requests = len(evidence.requests)
        self.unknown = sum(request.unknown for request in evidence.requests)
        self.refused = sum(request.refused for request in evidence.requests)
        self.faults = dict(evidence.fired_faults)
        self.snapshots = evidence.snapshots.taken
        self.audit_rows = len(evidence.audit)
        self.replayed = evidence.replayed
        self.workflows = len(evidence.workflows)

    def as_json(self) -> dict[str, Any]:
        """For machines: units are seconds."""
        told = asdict(self)
        plan = told.pop("plan")
        plan["faults"] = sorted(plan["faults"])
        scaled = {name: {"default": usual, "here": here} for name, (usual, here) in scaling().items()}
        return {"ok": self.well, "plan": plan, "scaled": scaled, **told}
