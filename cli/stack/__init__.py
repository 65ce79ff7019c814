"""The embedded stack: Postgres, Temporal, the Stripe sandbox, the API and the worker as supervised child processes."""
