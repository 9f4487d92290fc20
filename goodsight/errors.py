"""Errors a user meets: one clear sentence, a hint with the next step, and an exit code that says whether a retry helps."""

EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2  # a retry with the same input fails again
EXIT_REFUSED = 3  # the data or the model did not pass its checks
EXIT_RETRY = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later


class GoodsightError(Exception):
    """Something failed that the user can act on: `message` says what and with which value, `hint` says what to do next."""

    exit_code = EXIT_FAILURE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class InputError(GoodsightError):
    """An argument, a file or a request is malformed."""

    exit_code = EXIT_BAD_INPUT


class NotFoundError(InputError):
    """What a request names is not there."""


class RefusedError(GoodsightError):
    """A check said no: too many bad rows, a verdict below the floor, a smoke test that failed."""

    exit_code = EXIT_REFUSED


class IntegrityError(GoodsightError):
    """Bytes on disk are not the bytes their digest promises."""

    exit_code = EXIT_REFUSED


class BusyError(GoodsightError):
    """Another process holds what this one needs; the same command may succeed later."""

    exit_code = EXIT_RETRY


class ConflictError(BusyError):
    """Another process was first: what this one saw when it began is no longer so."""


class PreemptedError(BusyError):
    """The machine was asked to stop; what was done is kept, and the same command goes on from there."""


KINDS = (GoodsightError, InputError, NotFoundError, RefusedError, IntegrityError, BusyError, ConflictError, PreemptedError)
ERRORS = {cls.__name__: cls for cls in KINDS}
