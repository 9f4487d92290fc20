"""Monitoring: what moved since the champion was made, whether that is a reason to retrain, what it costs, and who is told. No torch.

    the policy     policy (retraining.yaml), observation (what it is judged on), triggers, decision
    drift          drift (the tests), drift_report
    cost           prices, energy
    telling        metrics, notify, rules and dashboards (k8s/monitoring)
"""
