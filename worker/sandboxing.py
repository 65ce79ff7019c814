"""Temporal's workflow sandbox: what it need not import anew for each workflow.

It guards workflow code against what would not replay, by importing it anew for each run: its globals are its own, and
what it finds of `time`, `random` and their like is refused. All of ours is shared with the process all the same. The
domain is pure, activities are only named by workflows; and `workflows` imports nothing that would be refused and keeps
nothing in its modules: `tests/architecture/test_shared_workflows.py` holds it to that before it runs. Imported anew, it
would cost 8 ms of CPU a saga, half of that to compile it again where Python writes no bytecode. What is built in, like
`open`, is refused as ever.
"""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("domain", "activities", "workflows", "pydantic")
)
"""For workers, and for replays."""
