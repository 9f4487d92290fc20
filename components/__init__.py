"""One Kubeflow component a file: a plain typed function that does the step, and the thin KFP shell that calls it."""
