"""Load by Locust on a stack that runs: `docs/performance.md` says how. pytest finds nothing here."""
