"""The retraining pipeline, how it compiles and runs, and the `goodsight` command.

    pipelines      retrain (the whole way), bulk; on a cluster: pods, compile, submit
    here           local, live, runners, events, cache, reasons
    retraining     watch, observe, decisions, platforms, leader, announce, reference, replay
    across rooms   audit, erasure, feedback, feedback_plan
    the command    command, options, one <noun>_command for each noun, and <noun>_report for what it prints
"""
