"""Lineage: what happened, what was decided and why - the ledger, the gate's verdicts, the model registry. No torch."""
