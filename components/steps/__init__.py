"""The ten steps and the exit handler as plain typed functions: the same one runs in a test, in a debugger and in a pod."""
