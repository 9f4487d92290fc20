"""The one code file of a model archive: TorchServe needs a class of its own module, everything else is the installed package."""

from serving.handler import Handler


class GoodsightHandler(Handler):
    """The handler that TorchServe finds."""
