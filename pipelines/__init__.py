"""The retraining pipeline, how it compiles and runs, and the `goodsight` command."""
