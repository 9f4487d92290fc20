"""Lineage: what happened, what was decided and why. No torch.

    the record     ledger, event, checkpoints, record (what the steps tell it), history (read without the rest), database
    trust          keys, envelopes, signing
    the gate       gate, policy, evaluation, comparisons, statistics, checks, overrides; in words and plots: referee, plots
    the registry   registry, champion
    documents      documents, facts, card, mlbom, provenance, environment, scope, wording; of every step: openlineage
    runs           runs, training_run; while they go on on a cluster: cluster_runs; how all of it stands: status
    answers        predictions (the log), answered (read again), uses, costs
    the passport   passport, graph, sources, kept, behind_model, behind_verdict, behind_data, drawing; to take away: audit_bundle,
                   verify_audit_bundle
"""
