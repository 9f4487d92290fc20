"""One Kubeflow component a file: a thin KFP shell over the plain typed function of the same name in `components/steps`.

Two modules, since kfp hides `dsl.component` from code that runs inside a component.
"""
