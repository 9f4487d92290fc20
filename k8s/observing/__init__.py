"""What operators see and are told: objectives, rules and dashboards, made here and kept in k8s/monitoring (`python k8s/observe.py`).

    slos          what is promised, and how fast its budget may burn
    rules         Prometheus' rules: recordings of the objectives, and the alerts
    dashboards    Grafana's dashboards, by grafana-foundation-sdk
    files         all of them as the files that are kept
    names         the metrics that an expression names
"""
