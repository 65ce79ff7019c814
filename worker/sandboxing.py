"""Temporal's workflow sandbox: what it need not import anew for each workflow.

It guards workflow code against what would not replay. The domain is pure, and activities are only named by workflows,
so both are shared with the process; only `workflows` itself is held to the sandbox's rules.
"""

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

RUNNER = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules("domain", "activities", "pydantic")
)
"""For workers, and for replays."""
